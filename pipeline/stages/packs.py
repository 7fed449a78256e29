"""Runs trained together: from cached features to finished run folders.

What is to be done is a ``Work`` of plain values, so that the same function does it in this process, in another
one, or on another machine that sees the same files.
"""

from __future__ import annotations

import dataclasses
import functools
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import cache, ensembles, evaluation, models, packing, runs, training
from pipeline.config import InputError, Settings, TrainSettings
from pipeline.losses import LossMix
from pipeline.stages import images
from pipeline.stages.cells import Archive, Cell, Files
from pipeline.training import Run, TeacherOutputs, Trained

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
        """Beside the checkpoint: which cells it is of."""
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


@functools.lru_cache(maxsize=1)
def loaded(files: Files, device: str, kind: str) -> tuple[cache.Data, torch.Tensor, torch.Tensor]:
    """The data of all folds, and its ``samples``; kept, so that the packs of a process load once."""
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
    teachers = teachers_of(cells)
    return [
        Run(cell.fold, cell.drawn, LossMix.parse(cell.mix), *split[cell.fold],
            teacher=teachers.index(cell.teachers) if cell.teachers else 0)
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
    data, values, labels = loaded(work.features, work.device, work.network.data)
    runs.write_atomic(work.note, runs.json_bytes([str(cell.folder) for cell in work.cells]))

    def train_cells(cells: list[Cell]) -> list[Trained]:
        own = dataclasses.replace(work, cells=tuple(cells))
        whole = len(cells) == len(work.cells)
        log = EpochLog(own, say)
        for cell in cells:
            write_start(own, cell, data)
        done = training.fit(
            values, labels, trainings(cells, data), work.network, classes=len(data.classes),
            teacher=teacher_outputs(own), device=values.device, layout=work.layout, checkpoint_seconds=work.checkpoint_seconds,
            checkpoint=work.checkpoint if whole else work.checkpoint.with_name(f"{cells[0].folder.name}-{len(cells)}.pt"),
            on_epoch=log.keep, say=say, augment=images.augmentation(work.network, data, values.device),
        )  # fmt: skip
        log.flush()
        for cell, result in zip(cells, done):
            write_run(own, cell, data, result)
        return done

    results = packing.in_halves(train_cells, work.cells, say)
    for path in (work.checkpoint, work.note):
        path.unlink(missing_ok=True)
    return [f"{cell.folder}: {one.failure}" for cell, one in zip(work.cells, results) if one.failure]


def teacher_outputs(work: Work) -> TeacherOutputs | None:
    """What each teacher says of the training rows of its own fold, computed once for all of its students.

    Raises ``InputError`` for a teacher of another fold than the student's: it has seen the clips held out here.
    """
    for cell, folder in ((one, teacher) for one in work.cells for teacher in one.teachers):
        if (fold := read_model(folder)["fold"]) != cell.fold:
            raise InputError(f"{folder} is the teacher of fold {fold}, wanted for fold {cell.fold}: it was trained on "
                             f"the clips that are held out there; use the teacher of fold {cell.fold}")  # fmt: skip
    how = (work.features, work.device, work.network.data, work.network.teacher_epoch)
    found = [
        ensembles.teacher([taught(folder, *how) for folder in folders]) for folders in teachers_of(work.cells)
    ]
    if not found:
        return None
    embeddings = ensembles.padded([embedding for embedding, _ in found])
    return TeacherOutputs(torch.stack(embeddings), torch.stack([logits for _, logits in found]))


@functools.lru_cache(maxsize=32)
def taught(
    folder: Path, files: Files, device: str, kind: str, epoch: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embedding (rows, D) and logits (rows, classes) of one teacher; NaN on rows that it was not trained on."""
    data, values, _ = loaded(files, device, kind)
    model = read_model(folder)
    said = training.outputs(model_of(model, epoch), values, rows(data, model["fold"])[0])
    return said.embedding, said.logits


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


# --------------------------------------------------------------------------------------------- run folders


def run_config(work: Work, cell: Cell, data: cache.Data) -> dict[str, Any]:
    settings = {
        name: dataclasses.asdict(getattr(work.settings, name)) for name in ("features", "teacher", "student")
    }
    return {
        "schema": runs.SCHEMA, "role": cell.role, "model": work.network.model, **work.corpus,
        "fold": cell.fold, "seed": cell.seed, "mix": cell.mix, "slug": LossMix.parse(cell.mix).slug,
        "settings": settings, "preset": work.settings.preset,
        "teacher": str(cell.teacher) if isinstance(cell.teacher, Path) else list(map(str, cell.teachers)) or None,
        "generation": cell.generation, "lineage": lineage(cell.teachers),
        "data": {str(fold): digest for fold, digest in data.digests.items()},
        "skipped": {str(fold): count for fold, count in data.skipped.items()},
        "classes": list(data.classes), "shape": list(data.features.shape[2:]),
        "pack": {"runs": len(work.cells), "layout": work.layout, "device": work.device,
                 "threads": torch.get_num_threads(), **work.measured},
    }  # fmt: skip


def lineage(teachers: Sequence[Path]) -> list[str]:
    """The run folders that a student of ``teachers`` goes back to, from the first ancestor to the teachers themselves."""
    found: list[str] = []
    for folder in teachers:
        found += [*runs.read_config(folder).get("lineage", ()), str(folder)]
    return list(dict.fromkeys(found))


def write_start(work: Work, cell: Cell, data: cache.Data) -> None:
    """The record of a run that has begun: who follows it knows what it is."""
    runs.write_atomic(cell.folder / "config.json", runs.json_bytes(run_config(work, cell, data)))
    runs.write_atomic(cell.folder / "environment.json", runs.json_bytes(runs.environment()))


def write_run(work: Work, cell: Cell, data: cache.Data, trained: Trained) -> None:
    """All files of a finished run; a run that failed is written too, with its reason in place of an accuracy."""
    test = np.flatnonzero(data.folds == cell.fold)
    labels = data.labels[test]
    # A run that failed in its first epoch was never tested.
    logits = (
        trained.logits if len(trained.logits) else np.full((len(test), len(data.classes)), np.nan, np.float32)
    )
    history = trained.history
    best = max(history, key=lambda record: record["accuracy"], default={"accuracy": None, "epoch": None})
    taught = ensembles.ensemble(cell.teachers).logits if cell.teachers else None
    model = models.build(work.network.model, tuple(data.features.shape[2:]), len(data.classes))
    result = {
        **evaluation.summary(logits, labels, taught),
        "best_accuracy": best["accuracy"], "best_epoch": best["epoch"], "epochs": len(history),
        "test_clips": len(test), "parameters": models.parameters(model), "seconds": round(trained.seconds, 2),
        "runs_in_pack": len(work.cells), "failure": trained.failure,
    }  # fmt: skip
    if trained.failure:
        result |= {"status": "failed", "accuracy": None}
    payload = {
        "format": 1, "role": cell.role, "model": work.network.model, "fold": cell.fold, "seed": cell.seed,
        "mix": cell.mix, "shape": list(data.features.shape[2:]), "classes": list(data.classes),
        "features": dataclasses.asdict(data.spec), **{k: work.corpus[k] for k in ("corpus", "dataset", "synthetic")},
        "state": trained.state, "best_state": trained.best_state,
    }  # fmt: skip
    runs.restart_metrics(cell.folder, history)
    runs.write_finished(
        cell.folder,
        config=run_config(work, cell, data),
        environment=runs.environment(),
        model_bytes=lambda file: torch.save(payload, file),
        predictions=runs.Predictions(
            np.array([data.clips[i] for i in test]), labels, logits, np.array([data.sources[i] for i in test])
        ),
        result=result,
    )


def read_model(folder: Path) -> dict[str, Any]:
    """``model.pt`` of a finished run: weights, feature settings, class names; loaded without running any code."""
    path = folder / "model.pt"
    if not runs.finished(folder):
        raise InputError(f"{folder}: no finished run there (no result.json); expected a run folder such as "
                         "runs/CORPUS/teacher-…/fold1-seed0")  # fmt: skip
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be read ({reason}); remove the folder and run again") from None


def model_of(payload: dict[str, Any], epoch: str = "last") -> models.Network:
    """The network of a ``model.pt``, in evaluation mode, with the last or the best epoch's weights."""
    model = models.build(payload["model"], tuple(payload["shape"]), len(payload["classes"]))
    model.load_state_dict(payload["best_state" if epoch == "best" else "state"])
    return model.eval()
