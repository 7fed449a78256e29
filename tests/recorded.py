"""A finished run as its files, with known figures, without any training."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import numpy as np

from pipeline import runs
from pipeline.config import Settings
from pipeline.losses import LossMix
from pipeline.runs import Predictions

CLIPS, CLASSES = 10, ("a", "b")


def write_run(
    root: Path,
    hits: int | None,
    *,
    fold: int = 1,
    seed: int = 0,
    mix: str = "soft:1",
    lr: float = 0.01,
    corpus: str = "tiny",
    first_wrong: bool = True,
    status: str = "trained",
) -> Path:
    """A finished run that has ``hits`` of 10 clips right, the last or the first ones; None: an unfinished one."""
    settings = Settings()
    settings = dataclasses.replace(settings, student=dataclasses.replace(settings.student, lr=lr))
    folder = runs.cell_path(root / "runs", corpus, "student", settings, LossMix.parse(mix).slug, fold, seed)
    described = {
        "schema": 1,
        "role": "student",
        "model": "cnn2",
        "corpus": corpus,
        "dataset": "folder",
        "synthetic": False,
        "fold": fold,
        "seed": seed,
        "mix": mix,
        "preset": "default",
        "data": {"1": "x", "2": "y", "3": "z"},
        "skipped": {},
        "settings": {n: dataclasses.asdict(getattr(settings, n)) for n in ("features", "teacher", "student")},
        "all_folds": [1, 2, 3],
        "classes": list(CLASSES),
        "teacher": None,
    }
    if hits is None:
        runs.write_atomic(folder / "config.json", runs.json_bytes(described))
        return folder
    labels = np.arange(CLIPS) % 2
    right = np.arange(CLIPS) >= CLIPS - hits if first_wrong else np.arange(CLIPS) < hits
    logits = np.eye(2)[np.where(right, labels, 1 - labels)]
    result = {
        "accuracy": hits / CLIPS,
        "best_accuracy": hits / CLIPS,
        "best_epoch": 1,
        "epochs": 1,
        "test_clips": CLIPS,
        "parameters": 1,
        "status": status,
    }
    names = np.array([f"{i}.wav" for i in range(CLIPS)])
    runs.write_finished(
        folder,
        config=described,
        environment={"python": "3.11", "packages": {"torch": "2"}},
        model_bytes=b"",
        predictions=Predictions(names, labels, logits, np.array([f"r{i // 2}" for i in range(CLIPS)])),
        result=result,
    )
    return folder


def reseal(folder: Path) -> None:
    """As if a run that a test has edited had been written as its files are now: with their digests, and those of its weights."""
    import torch

    from pipeline.models.saved import weights_digest
    from pipeline.runs import seal

    result = json.loads((folder / "result.json").read_bytes())
    with contextlib.suppress(Exception):  # damaged weights, or none
        result["weights"] = weights_digest(torch.load(folder / "model.pt", weights_only=True))
    runs.write_atomic(
        folder / "result.json", runs.json_bytes(seal.sealed(result, folder, result.get(seal.IDENTITY, "")))
    )
