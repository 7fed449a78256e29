"""Small packs that train in a blink: made-up data, runs, ``fit``, and what two trainings must have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import training
from pipeline.config import TrainSettings
from pipeline.losses import LossMix
from pipeline.training import (
    Run,
    Stored,
    Task,
    Trained,
    checkpoint,
)

SHAPE, CLASSES, ROWS = (2, 8, 16), 3, 60


MIXES = (
    "ce",
    "soft",
    "hinton@T=4",
    "distance",
    "angle",
    "area",
    "angle:40@layer=hidden,area:20,hinton,ce:0.5",
)


QUICK = TrainSettings(model="cnn2", epochs=2, lr=0.01, batch=8)


def made_up() -> tuple[Tensor, Tensor, Stored]:
    """Noise around a level of the class, and two teachers' outputs."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(ROWS) % CLASSES
    samples = torch.randn(ROWS, *SHAPE, generator=generator) * 3 + labels[:, None, None, None] + 10
    embedding = torch.randn(2, ROWS, 12, generator=generator)
    logits = torch.randn(2, ROWS, CLASSES, generator=generator)
    return samples, labels, Stored({"embedding": embedding, "logits": logits})


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor, Stored]:
    return made_up()


def run_of(mix: str, fold: int = 1, seed: int = 0, count: int = 42, teacher: int = 0) -> Run:
    """Trains on ``count`` rows, tests on the last twelve."""
    rows = np.random.default_rng(fold).permutation(48)
    return Run(fold, seed, LossMix.parse(mix), Task(np.sort(rows[:count]), np.arange(48, ROWS)), teacher)


def fit(data: Any, runs: list[Run], settings: TrainSettings = QUICK, **options: Any) -> list[Trained]:
    samples, labels, taught = data
    return training.fit(samples, labels, runs, settings, classes=CLASSES, teaching=taught, **options)


def without_seconds(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in history]


def every_checkpoint(
    path: Path, data: Any, runs: list[Run], *arguments: Any, **options: Any
) -> tuple[list[bytes], list[Trained]]:
    """``fit`` with a checkpoint at ``path`` after every step and at the end: their contents, and what was trained."""
    kept: list[bytes] = []
    write = checkpoint.write

    def remember(*written: Any) -> None:
        write(*written)
        kept.append(path.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "write", remember)
        return kept, fit(data, runs, *arguments, checkpoint=path, checkpoint_seconds=0, **options)


def assert_alone_and_resumed_are_equal(
    path: Path, data: Any, runs: list[Run], settings: TrainSettings, steps: tuple[int, ...]
) -> list[bytes]:
    """Each run alone, and the pack gone on from its checkpoint after each of ``steps``, is the pack bit for bit; all checkpoints."""
    kept, whole = every_checkpoint(path, data, runs, settings)
    for place, one in enumerate(runs):
        assert_equal(whole[place], fit(data, [one], settings)[0])
    for step in steps:
        path.write_bytes(kept[step])
        for mine, theirs in zip(fit(data, runs, settings, checkpoint=path, say=lambda line: None), whole, strict=True):
            assert_equal(mine, theirs)
    return kept


def assert_equal(one: Trained, other: Trained) -> None:
    """Bit for bit."""
    assert without_seconds(one.history) == without_seconds(other.history)
    assert np.array_equal(one.logits, other.logits)
    for mine, theirs in ((one.state, other.state), (one.best_state, other.best_state)):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert torch.equal(mine[name], theirs[name]), name
