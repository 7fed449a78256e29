"""Which rows make the batches: tables of an epoch that are known before its first step, so that nothing of them is saved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline import samplers
from pipeline.config import InputError, TrainSettings
from pipeline.training import optimizer

if TYPE_CHECKING:
    from pipeline.training.task import Run


@dataclass(frozen=True)
class Sampling:
    """How the batches of an epoch are drawn, from (seed, fold, epoch) alone.

    "shuffle": every training row once. "classes:m": each batch has B / m classes and m rows of each, all different; a class
    of fewer rows repeats its own.
    """

    kind: str = samplers.SHUFFLE

    def __post_init__(self) -> None:
        samplers.clips_of_class(self.kind)

    def batches(self, run: Run, labels: Tensor, batch: int, epoch: int) -> np.ndarray:
        """(steps, B) rows of an epoch of ``run``. ``labels``: of every row; -1, no class, is in no batch of classes.

        Raises ``InputError`` where a batch needs more classes than the run trains on.
        """
        count = steps_of(run, batch)
        if each := samplers.clips_of_class(self.kind):
            classes = labels[torch.as_tensor(run.task.train, device=labels.device)].cpu().numpy()
            self.check(run, batch, len(set(classes[classes >= 0].tolist())))
            return by_class(run.task.train, classes, batch, each, count, generator("classes", run, epoch))
        return order(run, epoch)[: count * batch].reshape(count, batch)

    def check(self, run: Run, batch: int, classes: int) -> None:
        samplers.check(self.kind, batch)
        samplers.check_classes(self.kind, batch, classes, f"training clips of fold {run.fold}")


class EpochTables(NamedTuple):
    """An epoch of R runs, step by step; runs with fewer steps are padded with their own first row, and masked."""

    rows: Tensor
    """(steps, R, B) int64 rows of ``samples``."""
    lr: Tensor
    """(steps, R, 1) float32."""
    alive: Tensor
    """(steps, R) boolean: False from a run's own end on, and for a run that has stopped."""
    draws: Tensor | None
    """(steps, R, B, n) float32, uniform in [0, 1), for augmentation; None without one."""
    full: int
    """Number of leading steps in which every run takes part."""


def steps_of(run: Run, batch: int) -> int:
    """Steps of an epoch. The last, incomplete batch is left out: the relations' means are over B² and B³ tuples, so a
    smaller batch would be another loss; the order changes every epoch, so nothing is left out for good."""
    steps = len(run.task.train) // batch
    if not steps:
        raise InputError(
            f"fold {run.fold}: {len(run.task.train)} training samples; expected at least one batch "
            f"of {batch}; lower the batch size"
        )
    return steps


def generator(purpose: str, run: Run, epoch: int) -> torch.Generator:
    """Random numbers that depend on (purpose, seed, fold, epoch) alone, so that nothing has to be saved of them."""
    text = f"{purpose}/{run.seed}/{run.fold}/{epoch}".encode()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1)


def order(run: Run, epoch: int) -> np.ndarray:
    """The training rows in the order of an epoch."""
    rows = run.task.train
    return rows[torch.randperm(len(rows), generator=generator("order", run, epoch)).numpy()]


def by_class(
    rows: np.ndarray, labels: np.ndarray, batch: int, each: int, count: int, random: torch.Generator
) -> np.ndarray:
    """(count, batch) of ``rows``, whose classes are ``labels``: ``each`` rows of batch / ``each`` classes."""
    known = np.unique(labels[labels >= 0])
    chosen = dealt(len(known), batch // each, count, random)
    batches = np.empty((count, batch // each, each), np.int64)
    for index, label in enumerate(known):
        where = np.nonzero(chosen == index)
        members = rows[labels == label]
        batches[where] = members[dealt(len(members), each, len(where[0]), random)]
    return batches.reshape(count, batch)


def dealt(cards: int, hand: int, hands: int, random: torch.Generator) -> np.ndarray:
    """(hands, hand) of ``cards`` numbers, dealt from one shuffled pack after the other: no number twice in a hand, and all
    about equally often. What is left of a pack for less than a hand is put away. Fewer cards than a hand repeat in it."""
    whole = max(1, cards // hand)
    packs = [torch.randperm(cards, generator=random) for _ in range(-(-hands // whole))]
    held = [pack.repeat(-(-hand // cards))[: whole * hand].view(whole, hand) for pack in packs]
    return torch.cat(held)[:hands].numpy() if held else np.empty((0, hand), np.int64)


def epoch_tables(
    runs: Sequence[Run],
    labels: Tensor,
    settings: TrainSettings,
    epoch: int,
    stopped: Sequence[bool],
    device: torch.device,
    augmented: bool = False,
) -> EpochTables:
    """The batches, learning rates and masks of an epoch; a run that has ``stopped`` takes no step.

    ``labels``: of every row of the samples.
    """
    batch = settings.batch
    counts = [0 if stop else steps_of(run, batch) for run, stop in zip(runs, stopped)]
    steps = max(counts)
    rows = np.empty((steps, len(runs), batch), np.int64)
    lr = np.zeros((steps, len(runs), 1), np.float32)
    rates: dict[int, list[float]] = {}
    for r, (run, count) in enumerate(zip(runs, counts)):
        if count:
            sampling = run.sampling or Sampling(settings.sampler)
            rows[:count, r] = sampling.batches(run, labels, batch, epoch)
        rows[count:, r] = run.task.train[0]
        if count not in rates:
            rates[count] = [optimizer.learning_rate(settings, epoch, step, count) for step in range(count)]
        lr[:count, r, 0] = rates[count]
    alive = np.arange(steps)[:, None] < np.array(counts)
    draws = None
    if augmented:
        each = [
            torch.rand((steps, batch, settings.augment_draws), generator=generator("augment", run, epoch))
            for run in runs
        ]
        draws = torch.stack(each, 1).to(device)
    tables = [torch.from_numpy(table).to(device) for table in (rows, lr, alive)]
    return EpochTables(tables[0], tables[1], tables[2], draws, min(counts))
