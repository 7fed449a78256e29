"""A teacher file of our own runs: what each says of the clips that it was trained on, and of those that it was tested on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline import cache, class_subsets, models, runs, training
from pipeline.config import InputError, view_names
from pipeline.engine.outputs import samples
from pipeline.engine.records import model_of, read_model
from pipeline.engine.rerun import recorded_files
from pipeline.engine.tasks import rows, views_of
from pipeline.images import samples as images
from pipeline.images.archive import Archive
from pipeline.models import Network, Outputs
from pipeline.models.outputs import stage_maps
from pipeline.runs import Record
from pipeline.runs.folder import FOLDER
from pipeline.teacher_files.writing import require_target, write


def write_from_runs(
    folders: Sequence[Path], target: Path, *, maps: bool = False, other_features: bool = False
) -> list[str]:
    """Write ``target``: one run, or one per held-out fold as an axis in front. Returns a line on what is in it.

    ``maps``: stage maps too. ``other_features``: without the digests of the features, so that students of other features of
    the same clips and views may learn from it. Raises ``InputError`` for runs that are not finished or failed, two of one fold, of unlike corpora,
    classes or features, and features that are gone or changed since.
    """
    require_target(target)
    records = [checked(folder) for folder in folders]
    first = records[0]
    for record in records:
        for name in ("corpus", "classes", "data", "model"):
            if getattr(record, name) != getattr(first, name):
                raise InputError(
                    f"{record.folder} and {first.folder} differ in {name}; expected runs of one corpus in one state"
                )
        if (same := [other for other in records if other.fold == record.fold])[1:]:
            raise InputError(
                f"{same[0].folder} and {same[1].folder} are both of fold {record.fold}; expected one run per held-out fold: the "
                "members of an ensemble are a file each"
            )
    files = recorded_files(first, None)
    data = images.read(files) if isinstance(files, Archive) else cache.load(files, first.trained_by.features_in)
    each = [told(record, data, maps) for record in records]
    network = model_of(read_model(first.folder))
    x = samples(data, torch.device("cpu"))[0][rows(data, first.fold)[0][:1]]
    laid = [name for name, last in stages_of(network, x).items() if last and name in each[0]]
    arrays = arrays_of(records, each, data, laid)
    if other_features:
        del arrays["data"]
    write(target, arrays)
    size = target.stat().st_size / 1e6
    held = ", ".join(str(record.fold) for record in records)
    names = ", ".join(each[0])
    return [f"{target}: {names} of {len(data.clips):,} clips, held-out fold {held}; {size:.1f} MB"]


def in_folders(places: Sequence[Path]) -> list[Path]:
    """The runs that are named, and those in the folders of runs that are."""
    folders: list[Path] = []
    for place in places:
        inside = [] if runs.finished(place) or not place.is_dir() else sorted(place.iterdir())
        folders += [path for path in inside if FOLDER.fullmatch(path.name) and runs.finished(path)] or [place]
    return folders


def checked(folder: Path) -> Record:
    """The record of a finished run that has weights."""
    if not runs.finished(folder):
        raise InputError(
            f"{folder}: no finished run there (no result.json); expected runs such as runs/CORPUS/teacher-…/fold1-seed0"
        )
    record = runs.read(folder)
    if record.result.failed:
        raise InputError(f"{folder}: this run failed and has no weights; expected another")
    if reason := runs.outdated(record, teachers=True):
        raise InputError(f"{folder} {reason}; expected a run of today's teachers")
    return record


def told(record: Record, data: cache.Data, maps: bool) -> dict[str, np.ndarray]:
    """Name → (clips × views, ...) float32 of one run; NaN where it says nothing that students may learn from.

    A run of some of the classes speaks of the clips of all: students of others learn from its embeddings. Of the held-out fold it has
    the clean clips' logits alone, of its own classes: what students are compared with. A space in place of the classes has no logits.
    """
    values, _ = samples(data, torch.device("cpu"))
    network = model_of(read_model(record.folder))
    train, _ = rows(data, record.fold)
    _, test = rows(
        data, record.fold, classes=class_subsets.chosen(record.trained_by.classes, data.classes, record.seed)
    )
    train = np.concatenate([train, views_of(data, np.flatnonzero(data.labels < 0)).reshape(-1)])
    stages = tuple(stages_of(network, values[train[:1]])) if maps else ()
    with training.tuned(values.device, tf32=False):  # what is distilled is not rounded
        outputs: Outputs = training.outputs(network, values, train, ("logits", "embedding", "hidden", *stages))
    arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
    if models.width_of(record.model):
        del arrays["logits"]
    else:
        arrays["logits"][test] = runs.read_rows(record.folder).logits
    return arrays


def stages_of(network: Network, x: torch.Tensor) -> dict[str, bool]:
    """Stage map → whether its channels lie last in memory."""
    with torch.no_grad():
        stages = stage_maps(network(x))
    return {
        name: value.is_contiguous(memory_format=torch.channels_last) and not value.is_contiguous()
        for name, value in stages.items()
    }


def arrays_of(
    records: Sequence[Record], each: Sequence[dict[str, np.ndarray]], data: cache.Data, laid: Sequence[str]
) -> dict[str, np.ndarray]:
    """The arrays of a file, see ``pipeline.teacher_files``."""
    clips, views = data.features.shape[:2]
    folds = sorted(data.digests)
    seen = np.array([[fold for fold in folds if fold != record.fold] for record in records], np.int64)
    several = len(records) > 1
    arrays = {
        "clip": np.array(data.clips, dtype=np.str_),
        "view": np.array(view_names(views), dtype=np.str_),
        "classes": np.array(records[0].classes or data.classes, dtype=np.str_),
        "clip_fold": data.folds.astype(np.int64),
        "data": np.array(json.dumps({int(fold): digest for fold, digest in data.digests.items()}, sort_keys=True)),
    }
    if not any(record.trusted for record in records):  # what nobody said of their own teacher is not said of them
        arrays["trained_on"] = seen if several else seen[0]
    if laid:
        arrays["channels_last"] = np.array(laid, dtype=np.str_)
    if several:
        arrays["fold"] = np.array([record.fold for record in records], np.int64)
    for name in each[0]:
        whole = [one[name].reshape(clips, views, *one[name].shape[1:]) for one in each]
        arrays[f"maps/{name}" if name.startswith("map") else name] = np.stack(whole) if several else whole[0]
    return arrays
