"""What one run is, what comes out of it, and all of it that is known before the first step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline import optimizer
from pipeline.config import InputError, TrainSettings
from pipeline.losses import LossMix


@dataclass(frozen=True, eq=False)
class Run:
    """One training: the held-out fold, the seed, the mix of losses, and the rows of ``samples`` that it may read."""

    fold: int
    seed: int
    mix: LossMix
    train: np.ndarray
    """int64 rows to train on; normalisation is fitted on the same."""
    test: np.ndarray
    """int64 rows to test on after every epoch."""
    teacher: int = 0
    """Which of the teachers (axis 0 of ``TeacherOutputs``) teaches this run."""

    def identity(self) -> list[Any]:
        """What tells this run from another, for checkpoints."""
        rows = [
            hashlib.sha256(np.ascontiguousarray(part, dtype=np.int64).tobytes()).hexdigest()
            for part in (self.train, self.test)
        ]
        return [self.fold, self.seed, str(self.mix), *rows, self.teacher]


class TeacherOutputs(NamedTuple):
    """What G teachers say of every row of ``samples``; rows that no run trains on may hold anything."""

    embedding: Tensor
    """(G, rows, D)"""
    logits: Tensor
    """(G, rows, classes)"""


@dataclass
class Trained:
    """What came out of one run."""

    run: Run
    state: dict[str, Tensor] = field(default_factory=dict)
    """``state_dict`` on the CPU of the network with R = 1, after the last epoch; empty after a failure."""
    best_state: dict[str, Tensor] = field(default_factory=dict)
    """The same after the epoch with the highest test accuracy (the first of equals): optimistic."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record an epoch, as ``on_epoch`` gets them."""
    logits: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """(n_test, classes) of the test rows after the last epoch; float32."""
    best_accuracy: float | None = None
    best_epoch: int | None = None
    failure: str | None = None
    """Why the run stopped early (which term was not finite, epoch, step), or None."""
    steps: int = 0
    seconds: float = 0.0
    """Wall time of its whole pack in this call, from first to last epoch."""


class Plan(NamedTuple):
    """An epoch of R runs, step by step; runs with fewer steps are padded with their own first row, and masked."""

    rows: Tensor
    """(steps, R, B) int64 rows of ``samples``."""
    lr: Tensor
    """(steps, R, 1) float32."""
    alive: Tensor
    """(steps, R) boolean: False from a run's own end on, and for a run that has stopped."""
    draws: Tensor | None
    """(steps, R, B, 3) float32, uniform in [0, 1), for augmentation; None without one."""
    full: int
    """Number of leading steps in which every run takes part."""


def steps_of(run: Run, settings: TrainSettings) -> int:
    """Steps an epoch. The last, incomplete batch is left out: the relations' means are over B² and B³ tuples, so a
    smaller batch would be another loss; the order changes every epoch, so nothing is left out for good."""
    steps = len(run.train) // settings.batch
    if not steps:
        raise InputError(f"fold {run.fold}: {len(run.train)} training samples; expected at least one batch "
                         f"of {settings.batch}; lower the batch size")  # fmt: skip
    return steps


def generator(purpose: str, run: Run, epoch: int) -> torch.Generator:
    """Random numbers that depend on (purpose, seed, fold, epoch) alone, so that nothing has to be saved of them."""
    text = f"{purpose}/{run.seed}/{run.fold}/{epoch}".encode()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1)


def order(run: Run, epoch: int) -> np.ndarray:
    """The training rows in the order of an epoch."""
    return run.train[torch.randperm(len(run.train), generator=generator("order", run, epoch)).numpy()]


def plan(runs: Sequence[Run], settings: TrainSettings, epoch: int, stopped: Sequence[bool], device: torch.device,
         augmented: bool = False) -> Plan:  # fmt: skip
    """The batches, learning rates and masks of an epoch; a run that has ``stopped`` takes no step."""
    counts = [0 if stop else steps_of(run, settings) for run, stop in zip(runs, stopped)]
    steps, batch = max(counts), settings.batch
    rows = np.empty((steps, len(runs), batch), np.int64)
    lr = np.zeros((steps, len(runs), 1), np.float32)
    rates: dict[int, list[float]] = {}
    for r, (run, count) in enumerate(zip(runs, counts)):
        rows[:count, r] = order(run, epoch)[: count * batch].reshape(count, batch)
        rows[count:, r] = run.train[0]
        if count not in rates:
            rates[count] = [optimizer.learning_rate(settings, epoch, step, count) for step in range(count)]
        lr[:count, r, 0] = rates[count]
    alive = np.arange(steps)[:, None] < np.array(counts)
    draws = None
    if augmented:
        each = [torch.rand((steps, batch, 3), generator=generator("augment", run, epoch)) for run in runs]
        draws = torch.stack(each, 1).to(device)
    tables = [torch.from_numpy(table).to(device) for table in (rows, lr, alive)]
    return Plan(tables[0], tables[1], tables[2], draws, min(counts))


#: What has a mean and a deviation of its own → the axes of (rows, C, H, W) that they are taken over.
AXES = {"bin": (0, 3), "channel": (0, 2, 3)}


def normalisation(
    samples: Tensor, rows: np.ndarray, per: str = "bin", chunk: int = 64
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C, H, 1) over the given rows; float64 sums, float32 result (float64 for float64).

    ``per``: "bin", of each feature and bin over all frames (rows of features have units and ranges of their own); or
    "channel", of each channel of images over all pixels. What is constant gets the standard deviation 1, so that it
    becomes 0 and not infinity.
    """
    axes = AXES[per]
    index = torch.from_numpy(np.ascontiguousarray(rows)).to(samples.device)
    shift = (
        samples.index_select(0, index[:chunk]).double().mean(axes, keepdim=True)
    )  # any value near the mean: squares then lose no digits
    total, square, count = torch.zeros_like(shift), torch.zeros_like(shift), 0
    for part in index.split(chunk):
        x = samples.index_select(0, part).double() - shift
        total += x.sum(axes, keepdim=True)
        square += x.square().sum(axes, keepdim=True)
        count += math.prod(x.shape[axis] for axis in axes)
    mean = total / count
    std = (square / count - mean.square()).clamp(min=0).sqrt()
    mean = (mean + shift)[0]
    std = torch.where(std[0] > 1e-6 * mean.abs() + 1e-12, std[0], 1.0)
    dtype, shape = torch.promote_types(samples.dtype, torch.float32), (*samples.shape[1:3], 1)
    return mean.to(dtype).expand(shape).contiguous(), std.to(dtype).expand(shape).contiguous()
