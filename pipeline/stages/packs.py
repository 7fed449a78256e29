"""One pack: runs that are trained as one network, from cached features to finished run folders.

A pack is described by a ``Pack`` of plain values, so that the same function trains it in this process, in
another one, or on another machine that sees the same files.
"""

from __future__ import annotations

import dataclasses
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import cache, evaluation, models, runs, training
from pipeline.config import InputError, Settings, TrainSettings
from pipeline.losses import LossMix
from pipeline.training import Run, TeacherOutputs, Trained


@dataclass(frozen=True)
class Cell:
    """One run to be: where it goes, what it holds out, its seed and its mix; a student's teacher run."""

    folder: Path
    role: str
    fold: int
    seed: int
    mix: str
    teacher: Path | None = None


@dataclass(frozen=True)
class Pack:
    """Cells that share a network and a schedule, and how they are trained."""

    cells: tuple[Cell, ...]
    settings: Settings
    features: tuple[Path, ...]
    """The folds' files: all folds of the corpus, those held out too."""
    corpus: dict[str, Any]
    """What the run folders say of the corpus: name, dataset, synthetic, classes, all_folds."""
    device: str
    layout: str
    checkpoint: Path
    checkpoint_seconds: float
    threads: int = 0
    """CPU threads of this pack; 0: torch's own choice."""

    @property
    def network(self) -> TrainSettings:
        return self.settings.teacher if self.cells[0].role == "teacher" else self.settings.student


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


def samples(data: cache.Data, device: torch.device, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All views as one tensor (rows, feature, bin, frame) on the device, and their labels (rows,)."""
    clips, views = data.features.shape[:2]
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    features = torch.from_numpy(data.features).reshape(clips * views, *data.features.shape[2:])
    labels = torch.from_numpy(data.labels).repeat_interleave(views)
    return features.to(device=device, dtype=dtype), labels.to(device)


# ---------------------------------------------------------------------------------------------- training


def train_pack(pack: Pack, say: Callable[[str], None]) -> list[str]:
    """Train a pack's cells, and write their run folders. Returns a line for each run that failed.

    Only the training rows (both views) and the clean test rows of each cell's own fold are read. Goes on from
    ``pack.checkpoint`` where there is one; removes it at the end.
    """
    if pack.threads:
        torch.set_num_threads(pack.threads)
    network, device = pack.network, torch.device(pack.device)
    data = cache.load(pack.features)
    values, labels = samples(data, device, network.data)
    split = {fold: rows(data, fold) for fold in {cell.fold for cell in pack.cells}}
    teachers = list(dict.fromkeys(cell.teacher for cell in pack.cells if cell.teacher))
    outputs = teacher_outputs(pack, teachers, values, split)
    trainings = [
        Run(cell.fold, cell.seed, LossMix.parse(cell.mix), *split[cell.fold],
            teacher=teachers.index(cell.teacher) if cell.teacher else 0)
        for cell in pack.cells
    ]  # fmt: skip
    for cell in pack.cells:
        write_start(pack, cell, data)
    started = time.monotonic()
    trained = training.fit(
        values, labels, trainings, network, classes=len(data.classes), teacher=outputs, device=device,
        layout=pack.layout, checkpoint=pack.checkpoint, checkpoint_seconds=pack.checkpoint_seconds,
        on_epoch=epoch_log(pack, say),
    )  # fmt: skip
    failures = []
    for cell, result in zip(pack.cells, trained):
        write_run(pack, cell, data, result, time.monotonic() - started)
        if result.failure:
            failures.append(f"{cell.folder}: {result.failure}")
    pack.checkpoint.unlink(missing_ok=True)
    return failures


def teacher_outputs(
    pack: Pack, teachers: list[Path], values: torch.Tensor, split: dict[int, tuple[np.ndarray, np.ndarray]]
) -> TeacherOutputs | None:
    """What each teacher says of the training rows of its own fold, computed once; None without teachers."""
    if not teachers:
        return None
    found = []
    for folder in teachers:
        model = read_model(folder)
        if model["fold"] not in split:
            raise InputError(f"{folder} is the teacher of fold {model['fold']}, wanted for fold {sorted(split)}; "
                             "a teacher has seen every other fold's clips: use the teacher of the same fold")  # fmt: skip
        found.append(training.outputs(model_of(model, pack.network.teacher_epoch), values, split[model["fold"]][0]))
    return TeacherOutputs(torch.stack([one.embedding for one in found]), torch.stack([one.logits for one in found]))


def epoch_log(pack: Pack, say: Callable[[str], None]) -> Callable[[int, dict[str, Any]], None]:
    """A callback that keeps ``metrics.jsonl`` of every cell, and says one line an epoch for the whole pack."""
    latest: dict[int, dict[str, Any]] = {}
    beginning: list[tuple[int, float]] = []

    def keep(index: int, record: dict[str, Any]) -> None:
        folder, epoch = pack.cells[index].folder, record["epoch"]
        if index not in latest:
            # Lines past the checkpoint that this call goes on from would stand there twice.
            runs.restart_metrics(folder, [old for old in runs.read_metrics(folder) if old["epoch"] < epoch])
        runs.append_metrics(folder, record)
        latest[index] = record
        if index == len(pack.cells) - 1:
            beginning.append((epoch, time.monotonic()))
            say(epoch_line(pack, list(latest.values()), beginning))

    return keep


def epoch_line(pack: Pack, records: list[dict[str, Any]], times: list[tuple[int, float]]) -> str:
    """Epoch, accuracies and the terms, raw and weighted, each a mean over the pack's runs; time left."""
    epoch, epochs = records[-1]["epoch"], pack.network.epochs
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
        seconds = pace * (epochs - epoch)
        left = f"  {int(seconds // 60)}:{int(seconds % 60):02d} left"
    spread = f" worst {min(accuracies):.3f}" if len(accuracies) > 1 else ""
    many = f"  {len(records)} runs" if len(records) > 1 else ""
    return (f"  {pack.network.model}{many}  epoch {epoch}/{epochs}  accuracy {np.mean(accuracies):.3f}{spread}"
            f"  loss {np.mean([record['loss'] for record in records]):.4g} = {' + '.join(parts)}{left}")  # fmt: skip


# --------------------------------------------------------------------------------------------- run folders


def run_config(pack: Pack, cell: Cell, data: cache.Data) -> dict[str, Any]:
    settings = {name: dataclasses.asdict(getattr(pack.settings, name)) for name in ("features", "teacher", "student")}
    return {
        "schema": runs.SCHEMA, "role": cell.role, "model": pack.network.model, **pack.corpus,
        "fold": cell.fold, "seed": cell.seed, "mix": cell.mix, "slug": LossMix.parse(cell.mix).slug,
        "settings": settings, "preset": pack.settings.preset,
        "teacher": str(cell.teacher) if cell.teacher else None,
        "data": {str(fold): digest for fold, digest in data.digests.items()},
        "skipped": {str(fold): count for fold, count in data.skipped.items()},
        "classes": list(data.classes), "shape": list(data.features.shape[2:]),
        "pack": {"runs": len(pack.cells), "layout": pack.layout, "device": pack.device, "threads": torch.get_num_threads()},
    }  # fmt: skip


def write_start(pack: Pack, cell: Cell, data: cache.Data) -> None:
    """The record of a run that has begun: who follows it knows what it is."""
    runs.write_atomic(cell.folder / "config.json", runs.json_bytes(run_config(pack, cell, data)))
    runs.write_atomic(cell.folder / "environment.json", runs.json_bytes(runs.environment()))


def write_run(pack: Pack, cell: Cell, data: cache.Data, trained: Trained, seconds: float) -> None:
    """All files of a finished run; a run that failed is written too, with its reason in place of an accuracy."""
    test = np.flatnonzero(data.folds == cell.fold)
    logits, labels = trained.logits, data.labels[test]
    history = trained.history
    best = max(history, key=lambda record: record["accuracy"], default={"accuracy": None, "epoch": None})
    taught = runs.read_predictions(cell.teacher).logits if cell.teacher else None
    model = models.build(pack.network.model, tuple(data.features.shape[2:]), len(data.classes))
    result = {
        **evaluation.summary(logits, labels, taught),
        "best_accuracy": best["accuracy"], "best_epoch": best["epoch"], "epochs": len(history),
        "test_clips": len(test), "parameters": models.parameters(model), "seconds": round(seconds, 2),
        "runs_in_pack": len(pack.cells), "failure": trained.failure,
    }  # fmt: skip
    if trained.failure:
        result |= {"status": "failed", "accuracy": None}
    payload = {
        "format": 1, "role": cell.role, "model": pack.network.model, "fold": cell.fold, "seed": cell.seed,
        "mix": cell.mix, "shape": list(data.features.shape[2:]), "classes": list(data.classes),
        "features": dataclasses.asdict(data.spec), **{k: pack.corpus[k] for k in ("corpus", "dataset", "synthetic")},
        "state": trained.state, "best_state": trained.best_state,
    }  # fmt: skip
    runs.restart_metrics(cell.folder, history)
    runs.write_finished(
        cell.folder,
        config=run_config(pack, cell, data),
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


def model_of(payload: dict[str, Any], epoch: str = "last") -> torch.nn.Module:
    """The network of a ``model.pt``, in evaluation mode, with the last or the best epoch's weights."""
    model = models.build(payload["model"], tuple(payload["shape"]), len(payload["classes"]))
    model.load_state_dict(payload["best_state" if epoch == "best" else "state"])
    return model.eval()
