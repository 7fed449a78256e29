"""Runs trained together: from cached features to finished run folders.

What is to be done is a ``Work`` of plain values, so that the same function does it in this process, in another
one, or on another machine that sees the same files.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline import (
    cache,
    config,
    runs,
    training,
)
from pipeline.config import InputError, Settings, TrainSettings
from pipeline.engine import teachers
from pipeline.engine.records import (
    model_of,
    read_model,
    run_config,
    write_run,
    write_start,
)
from pipeline.figures import ensembles
from pipeline.files import Stamp, stamp
from pipeline.images import samples as images
from pipeline.images.archive import Archive
from pipeline.images.samples import TRAIN, Pixels
from pipeline.losses import LossMix
from pipeline.models import Outputs
from pipeline.runs.planned import Cell, Files
from pipeline.training import (
    Run,
    Stored,
    Task,
    Trained,
    packing,
)
from pipeline.training.augmentation import crop_and_flip
from pipeline.training.inference import VECTORS
from pipeline.training.step import Augment

#: Fold → its training and test rows.
Split = dict[int, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Work:
    """A pack: cells that share a network and a schedule, and how they are trained; plain values, for any process."""

    cells: tuple[Cell, ...]
    settings: Settings
    features: Files
    """The folds' files: all folds of the corpus, those held out too; or an archive of images."""
    corpus: dict[str, Any]
    """What the run folders say of the corpus: corpus, dataset, synthetic, all_folds."""
    device: str
    layout: str
    checkpoint: Path
    checkpoint_seconds: float = 300.0
    threads: int = 0
    """CPU threads; 0: torch's own choice."""
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)
    """How pack size and layout were chosen, for the record."""

    @property
    def network(self) -> TrainSettings:
        return self.settings.teacher if self.cells[0].role == "teacher" else self.settings.student

    @property
    def note(self) -> Path:
        """Beside the checkpoint: which cells it is of, their layout, and how that was chosen."""
        return self.checkpoint.with_suffix(".json")


def rows(data: cache.Data, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows of a held-out fold; row = clip × views + view.

    Training: both views of every clip of the other folds. Test: the clean view of the fold's clips. The noisy
    view of the held-out fold is in neither, so nothing ever reads it.
    """
    views = data.features.shape[1]
    clips = np.arange(len(data.labels))
    others = clips[data.folds != fold]
    train = (others[:, None] * views + np.arange(views)).reshape(-1)
    return train, clips[data.folds == fold] * views


def load(work: Work) -> tuple[cache.Data, torch.Tensor, torch.Tensor]:
    """The data of all folds, and its ``samples``; kept as long as the files stay as they are."""
    return loaded(work.features, work.device, work.network.data, stamps(work.features))


def stamps(files: Files) -> tuple[Stamp, ...]:
    return tuple(map(stamp, [files.path] if isinstance(files, Archive) else files))


@functools.lru_cache(maxsize=1)
def loaded(
    files: Files, device: str, kind: str, _states: tuple[Stamp, ...] = ()
) -> tuple[cache.Data, torch.Tensor, torch.Tensor]:
    """``load`` by the values that it depends on, so that the packs of a process load once."""
    data = images.read(files) if isinstance(files, Archive) else cache.load(files)
    return data, *samples(data, torch.device(device), kind)


def samples(
    data: cache.Data, device: torch.device, kind: str = "float32"
) -> tuple[torch.Tensor, torch.Tensor]:
    """All views as one tensor (rows, feature, bin, frame) on the device, and their labels (rows,)."""
    clips, views = data.features.shape[:2]
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    features = torch.from_numpy(data.features).reshape(clips * views, *data.features.shape[2:])
    labels = torch.from_numpy(data.labels).repeat_interleave(views)
    return features.to(device=device, dtype=dtype), labels.to(device)


def trainings(cells: Sequence[Cell], data: cache.Data) -> list[Run]:
    """The cells as ``training.fit`` wants them; teachers are numbered in the order in which they come."""
    split = {fold: rows(data, fold) for fold in {cell.fold for cell in cells}}
    taught_by = teachers_of(cells)
    return [
        Run(cell.fold, cell.drawn, LossMix.parse(cell.mix), Task(*split[cell.fold]),
            teacher=taught_by.index(cell.teachers) if cell.teachers else 0)
        for cell in cells
    ]  # fmt: skip


def teachers_of(cells: Sequence[Cell]) -> list[tuple[Path, ...]]:
    """Each teacher once, as the runs that it consists of."""
    return list(dict.fromkeys(cell.teachers for cell in cells if cell.teachers))


# ---------------------------------------------------------------------------------------------- training


def train(work: Work, say: Callable[[str], None]) -> list[str]:
    """Train a pack and write its run folders. Returns a line for each run that failed.

    Only the training rows (both views) and the clean test rows of each cell's own fold are read. A stopped call
    leaves a checkpoint, and the same call goes on from there. What does not fit into the device's memory is
    trained in halves.
    """
    if work.threads:
        torch.set_num_threads(work.threads)
    data, values, labels = load(work)

    def train_cells(cells: list[Cell]) -> list[Trained]:
        own = work if len(cells) == len(work.cells) else part_of(work, cells)
        how = {"layout": own.layout, "measured": own.measured}
        runs.write_atomic(own.note, runs.json_bytes({"cells": [cell.noted() for cell in cells], **how}))
        log = EpochLog(own, say)
        records = [run_config(own, cell, data) for cell in cells]
        for cell, about in zip(cells, records):
            if not runs.finished(cell.folder):  # by a call that was killed while it wrote the pack's folders
                write_start(cell.folder, about)
        try:
            done = training.fit(
                values, labels, trainings(cells, data), own.network, classes=len(data.classes),
                teaching=teaching_of(own), device=values.device, layout=own.layout, checkpoint=own.checkpoint,
                checkpoint_seconds=own.checkpoint_seconds, on_epoch=log.keep, say=say,
                augment=augmentation(own.network, data, values.device), per=images.standardised_per(data),
            )  # fmt: skip
        except Exception as error:
            if packing.out_of_memory(error):  # its halves are packs of their own
                forget(own)
            raise
        log.flush()
        for cell, about, result in zip(cells, records, done):
            if not runs.finished(cell.folder):
                write_run(own, cell, about, data, result)
        forget(own)
        return done

    results = packing.in_halves(train_cells, work.cells, say)
    return [f"{cell.folder}: {one.failure}" for cell, one in zip(work.cells, results) if one.failure]


def pack_name(cells: Sequence[Cell]) -> str:
    """Of the files that an unfinished pack is kept in: the same cells, the same name."""
    return f"pack-{config.digest([str(cell.folder) for cell in cells])}"


def part_of(work: Work, cells: Sequence[Cell]) -> Work:
    """Some of a pack's cells as a pack of their own."""
    checkpoint = work.checkpoint.with_name(f"{pack_name(cells)}.pt")
    return dataclasses.replace(work, cells=tuple(cells), checkpoint=checkpoint)


def forget(work: Work) -> None:
    """Remove what a pack left to go on from."""
    for path in (work.checkpoint, work.note):
        path.unlink(missing_ok=True)


def teaching_of(work: Work) -> Stored | None:
    """What each teacher says of the training rows of its own fold, computed once for all of its students.

    Raises ``InputError`` for a teacher of another fold than the student's, or of other data: it may have seen the clips
    held out here.
    """
    for cell, folder in ((one, teacher) for one in work.cells for teacher in one.teachers):
        if (fold := read_model(folder)["fold"]) != cell.fold:
            raise InputError(f"{folder} is the teacher of fold {fold}, wanted for fold {cell.fold}: it was trained on "
                             f"the clips that are held out there; use the teacher of fold {cell.fold}")  # fmt: skip
    if any(cell.teachers for cell in work.cells):
        data = load(work)[0]
        spec = None if isinstance(work.features, Archive) else data.spec
        digests = {str(fold): digest for fold, digest in data.digests.items()}
        teachers.check(work.cells, digests, data.classes, spec)
    names = output_names(work.cells)
    how = (work.features, work.device, work.network.data, work.network.teacher_epoch, names)
    files = stamps(work.features)
    each = [
        ensembles.teacher([taught(folder, *how, (*files, stamp(folder / "model.pt"))) for folder in folders])
        for folders in teachers_of(work.cells)
    ]
    return Stored(ensembles.side_by_side(each)) if each else None


def output_names(cells: Sequence[Cell]) -> tuple[str, ...]:
    """The outputs of teachers that the cells' terms read, and the logits."""
    reads = [LossMix.parse(cell.mix).teacher_reads for cell in cells if cell.teachers]
    # A term that does not say what it reads sees what every network has.
    named = {name for each in reads for name in (VECTORS if each is None else each)}
    return tuple(sorted(named | {"logits", "embedding"}))


@functools.lru_cache(maxsize=32)
def taught(
    folder: Path,
    files: Files,
    device: str,
    kind: str,
    epoch: str,
    names: tuple[str, ...],
    _states: tuple[Stamp, ...] = (),
) -> Outputs:
    """The outputs ``names`` (rows, ...) of one teacher; NaN on rows that it was not trained on."""
    data, values, _ = loaded(files, device, kind, stamps(files))
    model = read_model(folder)
    with training.tuned(values.device, tf32=False):  # what is distilled is not rounded
        return training.outputs(model_of(model, epoch), values, rows(data, model["fold"])[0], names)


class EpochLog:
    """Keeps ``metrics.jsonl`` of every cell, and says one line an epoch for the whole pack."""

    def __init__(self, work: Work, say: Callable[[str], None]) -> None:
        self.work, self.say = work, say
        self.seen: set[int] = set()
        self.records: list[dict[str, Any]] = []
        self.times: list[tuple[int, float]] = []

    def keep(self, index: int, record: dict[str, Any]) -> None:
        folder, epoch = self.work.cells[index].folder, record["epoch"]
        if self.records and self.records[-1]["epoch"] != epoch:
            self.flush()
        if runs.finished(folder):
            return
        if index not in self.seen:
            # Lines past the checkpoint that this call goes on from would stand there twice.
            runs.restart_metrics(folder, [old for old in runs.read_metrics(folder) if old["epoch"] < epoch])
            self.seen.add(index)
        runs.append_metrics(folder, record)
        self.records.append(record)

    def flush(self) -> None:
        if self.records:
            epoch = self.records[-1]["epoch"]
            self.times = (
                [*self.times, (epoch, time.monotonic())]
                if not self.times or self.times[-1][0] < epoch
                else []
            )
            self.say(epoch_line(self.work.network, self.records, self.times))
            self.records = []


def epoch_line(network: TrainSettings, records: list[dict[str, Any]], times: list[tuple[int, float]]) -> str:
    """Epoch, accuracies and the terms, raw and weighted, each a mean over the pack's runs; time left."""
    epoch = records[-1]["epoch"]
    accuracies = [record["accuracy"] for record in records]
    terms: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, term in record["terms"].items():
            terms.setdefault(name, []).append((term["raw"], term["weighted"]))
    parts = [
        f"{name} {np.mean([w for _, w in both]):.4g} (raw {np.mean([r for r, _ in both]):.4g})"
        for name, both in sorted(terms.items())
    ]
    left = ""
    if len(times) > 1:
        pace = (times[-1][1] - times[0][1]) / (times[-1][0] - times[0][0])
        seconds = int(pace * (network.epochs - epoch))
        left = f"  {seconds // 60}:{seconds % 60:02d} left"
    spread = f" worst {min(accuracies):.3f}" if len(accuracies) > 1 else ""
    many = f"  {len(records)} runs" if len(records) > 1 else ""
    return (f"  {network.model}{many}  epoch {epoch}/{network.epochs}  accuracy {np.mean(accuracies):.3f}{spread}"
            f"  loss {np.mean([record['loss'] for record in records]):.4g} = {' + '.join(parts)}{left}")  # fmt: skip


def augmentation(settings: TrainSettings, data: cache.Data, device: torch.device) -> Augment | None:
    """What the settings ask for; the padding shows the training images' mean."""
    if settings.augment == "none":
        return None
    if not isinstance(data.spec, Pixels):
        raise InputError(
            f"augment = {settings.augment!r} is for images, {data.corpus} has sounds; expected 'none'"
        )
    fill: Tensor = torch.from_numpy(data.features[data.folds == TRAIN].mean((0, 1, 3, 4), dtype=np.float64))
    return partial(crop_and_flip, fill=fill.float().view(-1, 1, 1).to(device))
