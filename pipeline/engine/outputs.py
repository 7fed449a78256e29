"""The data of all folds as tensors, and what a teacher, a run or a file, says of the rows that its students train on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline import cache, runs, training
from pipeline.config import InputError
from pipeline.corpus import UNLABELLED
from pipeline.engine.records import model_of, read_model
from pipeline.engine.tasks import answered, views_of
from pipeline.files import Stamp, stamp
from pipeline.images import samples as images
from pipeline.images.archive import Archive
from pipeline.losses import LossMix
from pipeline.losses.needs import Needs
from pipeline.models import Network, Outputs
from pipeline.models.based import Based
from pipeline.models.outputs import MAPS, chosen
from pipeline.runs.planned import Files
from pipeline.teacher_files import fitting
from pipeline.teacher_files.fitting import Clips
from pipeline.teacher_files.reading import read as read_file
from pipeline.training.from_files import on_device
from pipeline.training.teaching import File


def stamps(files: Files) -> tuple[Stamp, ...]:
    return tuple(map(stamp, [files.path] if isinstance(files, Archive) else files))


@functools.lru_cache(maxsize=2)  # a student's, and those of a teacher of other features
def loaded(
    files: Files, device: str, kind: str, _states: tuple[Stamp, ...] = (), features_in: str = "auto"
) -> tuple[cache.Data, torch.Tensor, torch.Tensor]:
    """``load`` by the values that it depends on, so that the packs of a process load once."""
    data = images.read(files) if isinstance(files, Archive) else cache.load(files, features_in)
    return data, *samples(data, torch.device(device), kind)


def samples(data: cache.Data, device: torch.device, kind: str = "float32") -> tuple[torch.Tensor, torch.Tensor]:
    """All views as one tensor (rows, feature, bin, frame) on the device, and their labels (rows,)."""
    clips, views = data.features.shape[:2]
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    labels = torch.from_numpy(data.labels).repeat_interleave(views).to(device)
    if isinstance(data.features, cache.OnDisk):
        return on_device(data.features, device, dtype), labels
    features = torch.from_numpy(data.features).reshape(clips * views, *data.features.shape[2:])
    return features.to(device=device, dtype=dtype), labels


@functools.lru_cache(maxsize=32)
def taught(
    folder: Path,
    files: Files,
    device: str,
    kind: str,
    epoch: str,
    names: tuple[str, ...],
    _states: tuple[Stamp, ...] = (),
    base: Path | None = None,
    features_in: str = "auto",
) -> Outputs:
    """The outputs ``names`` (rows, ...) of one teacher; NaN on rows that it was not trained on. ``base``: as ``teacher_of``."""
    data, values, _ = loaded(files, device, kind, stamps(files), features_in)
    network, fold = teacher_of(folder, epoch, base), read_model(folder)["fold"]
    with training.tuned(values.device, tf32=False):  # what is distilled is not rounded
        return training.outputs(network, values, answered(data, fold), names)


def teacher_of(folder: Path, epoch: str, base: Path | None = None) -> Network:
    """The network of a run that teaches; beside it the one of ``base``, whose misses are learned."""
    network = model_of(read_model(folder), epoch)
    if base is None:
        return network
    payload = read_model(base)
    key, layer = LossMix.parse(payload["mix"]).regressed[0]
    return Based(network, model_of(payload), layer, payload["adapters"][f"{key} linear.weight"][0])  # type: ignore[return-value]


def of_files(taught_by: Sequence[tuple[Path, int]], clips: Clips, needs: Needs, device: torch.device) -> File:
    """What each file says of the training rows of a fold (rows, ...), as far as terms read it; NaN on all others."""
    each = [fitting.outputs(read_file(path), fold, clips) for path, fold in taught_by]
    maps = [MAPS] if needs.reduced or needs.constants else []
    wanted = chosen(("embedding", "logits", *needs.names, *maps), each[0])
    laid = read_file(taught_by[0][0]).channels_last
    return File([{name: arrays[name] for name in wanted} for arrays in each], device, laid)


def crossed(folders: Sequence[Path], fold: int, data: cache.Data, values: torch.Tensor) -> Outputs:
    """Cross-fitted logits (rows, classes): of the clips of each fold from the teacher that was trained without it and without
    ``fold``; NaN on the clips of ``fold``, which are not read.

    ``InputError`` where no teacher left a fold out.
    """
    left_out = {other_fold(folder, fold): folder for folder in folders}
    whole: torch.Tensor | None = None
    left_out[UNLABELLED] = folders[0]  # the label of such a clip no teacher has seen
    for other in sorted(set(data.folds.tolist()) - {fold}):
        if other not in left_out:
            raise InputError(f"no teacher was trained without the folds {fold} and {other}; expected one for each pair")
        clips = np.flatnonzero(data.folds == other)
        rows_of_fold = torch.as_tensor(views_of(data, clips).reshape(-1), device=values.device)
        network = model_of(read_model(left_out[other]))
        with training.tuned(values.device, tf32=False):  # what is distilled is not rounded
            outputs = training.outputs(network, values, rows_of_fold, ("logits",))
        if whole is None:
            whole = torch.full((len(values), network.classes), torch.nan, device=values.device)
        whole.index_copy_(0, rows_of_fold, outputs.logits.index_select(0, rows_of_fold))
    return Outputs({} if whole is None else {"logits": whole})


def other_fold(folder: Path, fold: int) -> int | None:
    """Of a teacher's two folds that it was not trained on the one that is not ``fold``."""
    record = runs.read(folder)
    return record.without if record.fold == fold else record.fold
