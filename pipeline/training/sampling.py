"""Which rows make the batches: tables of an epoch that are known before its first step, so that nothing of them is saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline import samplers
from pipeline.config import InputError, TrainSettings
from pipeline.plurals import many
from pipeline.training import episodes, optimizer
from pipeline.training.mixing_tables import how_mixed
from pipeline.training.randomness import generator, seed_of

if TYPE_CHECKING:
    from pipeline.training.task import Run


@dataclass(frozen=True)
class Sampling:
    """How the batches of an epoch are drawn, from (seed, fold, epoch) alone.

    "shuffle": every training row once, those without a label too where a term learns from them. "classes:m": each batch has
    B / m classes and m rows of each, all different; a class of fewer rows repeats its own. "unlabelled:r": each batch has
    B / (1 + r) rows with a label, then r times as many without; each row with a label comes once. "episode:way,shot,query": each
    batch is an episode (``episodes``), of each clip one of its rows. Of a task with ``views`` the rows
    of an epoch are one view of each clip (``in_epoch``).
    """

    kind: str = samplers.SHUFFLE

    def __post_init__(self) -> None:
        samplers.parts(self.kind)

    def batches(self, run: Run, labels: Tensor, batch: int, epoch: int) -> np.ndarray:
        """(steps, B) rows of an epoch of ``run``. ``labels``: of every row; −1, no class, is in no batch of classes.

        Raises ``InputError`` where a batch needs more classes than the run trains on, or rows without a label that it has not.
        """
        count = self.steps(run, batch)
        if episode := samplers.episode_of(self.kind):
            samplers.check(self.kind, batch)
            drawn = seed_of("episodes", run, epoch), generator("episode views", run, epoch)
            return episodes.batches(run.fold, run.task, labels.cpu().numpy(), episode, count, *drawn)
        if each := samplers.clips_of_class(self.kind):
            train = in_epoch(run, epoch)
            classes = run.task.known(labels.cpu().numpy())[train]
            self.check(run, batch, len(set(classes[classes >= 0].tolist())))
            return by_class(train, classes, batch, each, count, generator("classes", run, epoch))
        pool = unlabelled_in_epoch(run, epoch)
        if each := samplers.labelled_of(self.kind, batch):
            samplers.check(self.kind, batch)
            if pool is None:
                raise InputError(
                    f"fold {run.fold}: sampler = {self.kind!r}, and it trains on no clip without a label; expected some, or 'shuffle'"
                )
            with_label = order(run, epoch)[: count * each].reshape(count, each)
            random = generator("unlabelled", run, epoch)
            return np.concatenate([with_label, pool[dealt(len(pool), batch - each, count, random)]], 1)
        return order(run, epoch, pool)[: count * batch].reshape(count, batch)

    def steps(self, run: Run, batch: int) -> int:
        """Steps of an epoch. The last, incomplete batch is left out: the relations' means are over B² and B³ tuples, so a
        smaller batch would be another loss; the order changes every epoch, so nothing is left out for good."""
        if samplers.episode_of(self.kind):
            return samplers.EPISODES
        each = samplers.labelled_of(self.kind, batch) or batch
        count = len(run.task.train) // run.task.views
        if self.kind == samplers.SHUFFLE and (pool := run.drawn_unlabelled) is not None:
            count += len(pool) // run.task.views_unlabelled
        if not count // each:
            those = f"{each} with a label" if each < batch else f"{batch}"
            raise InputError(
                f"fold {run.fold}: {many(count, 'training sample')}; expected at least one batch "
                f"of {those}: a smaller batch, for example --set student.batch=8 (of a teacher teacher.batch=8)"
            )
        return count // each

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
    labels: Tensor | None = None
    """(steps, R, B) int64 labels that terms read, −1: none; None: those of the samples."""
    labelled: tuple[int, ...] = ()
    """Clips with a label in the epoch of each run; empty where all have one."""
    keys: Tensor | None = None
    """(steps, R) int64: from each a step draws its noise (``training.draws``); None without any."""
    partners: Tensor | None = None
    """(steps, R, B) int64: with which clip of its batch each is mixed, and ``shares`` by how much; None: inputs are not mixed."""
    shares: Tensor | None = None
    """(steps, R, B) float32."""
    style_partners: Tensor | None = None
    """As ``partners``, of how loud each bin is over time (``mixstyle``), and ``style_shares``; None: it is not mixed."""
    style_shares: Tensor | None = None
    """(steps, R, B) float32."""


def steps_of(run: Run, batch: int, kind: str = samplers.SHUFFLE) -> int:
    """Steps of an epoch of a run, whose batches are drawn by ``kind`` unless it says itself how."""
    return (run.sampling or Sampling(kind)).steps(run, batch)


def order(run: Run, epoch: int, more: np.ndarray | None = None) -> np.ndarray:
    """The training rows, and ``more``, in the order of an epoch."""
    train = in_epoch(run, epoch)
    rows = train if more is None else np.concatenate([train, more])
    return rows[torch.randperm(len(rows), generator=generator("order", run, epoch)).numpy()]


def in_epoch(run: Run, epoch: int) -> np.ndarray:
    """The training rows of an epoch, in the order of the clips: all, or of a task with ``views`` one of each clip."""
    return one_view(run.task.train, run.task.views, generator("views", run, epoch))


def unlabelled_in_epoch(run: Run, epoch: int) -> np.ndarray | None:
    """The rows without a label that the batches of an epoch are drawn from; None where no term learns from such."""
    pool = run.drawn_unlabelled
    return pool if pool is None else one_view(pool, run.task.views_unlabelled, generator("other views", run, epoch))


def one_view(rows: np.ndarray, views: int, random: torch.Generator) -> np.ndarray:
    """Of each clip, ``views`` of ``rows`` behind each other, one, all equally likely; all rows where a clip has one view."""
    if views == 1:
        return rows
    clips = rows.reshape(-1, views)
    return clips[np.arange(len(clips)), torch.randint(views, (len(clips),), generator=random).numpy()]


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
    classes: int = 0,
) -> EpochTables:
    """The batches, learning rates and masks of an epoch; a run that has ``stopped`` takes no step.

    ``labels``: of every row of the samples; ``classes``: how many there are, where labels are drawn (``label_noise``).
    """
    batch = settings.batch
    counts = [0 if stop else steps_of(run, batch, settings.sampler) for run, stop in zip(runs, stopped)]
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
    read = labels_read(runs, labels, rows, counts, settings, epoch, classes)
    labelled = () if read is None else tuple(int((read[:count, r] >= 0).sum()) for r, count in enumerate(counts))
    tables = [torch.from_numpy(table).to(device) for table in (rows, lr, alive)]
    return EpochTables(
        tables[0],
        tables[1],
        tables[2],
        draws,
        min(counts),
        None if read is None else torch.from_numpy(read).to(device),
        labelled,
        noise_keys(runs, counts, epoch).to(device) if noisy(settings) else None,
        *how_mixed(runs, counts, settings, epoch, device),
    )


def labels_read(
    runs: Sequence[Run],
    labels: Tensor,
    rows: np.ndarray,
    counts: Sequence[int],
    settings: TrainSettings,
    epoch: int,
    classes: int,
) -> np.ndarray | None:
    """The labels (steps, R, B) that terms read of the ``rows`` of an epoch; None where they are those of the samples.

    −1 where a run does not know them. By ``label_noise`` p: of draws u, v uniform in [0, 1), u < p makes y the class
    (y + 1 + ⌊v (C − 1)⌋) mod C.
    """
    if not settings.label_noise and all(run.task.unlabelled is None and run.task.labels is None for run in runs):
        return None
    there, read = labels.cpu().numpy(), np.empty(rows.shape, np.int64)
    for r, (run, count) in enumerate(zip(runs, counts)):
        read[:, r] = run.task.known(there)[rows[:, r]]
        if settings.label_noise and count:
            random = generator("label noise", run, epoch)
            draws = torch.rand((count, rows.shape[-1], 2), generator=random, dtype=torch.float64).numpy()
            read[:count, r] = wrong_labels(read[:count, r], draws[..., 0], draws[..., 1], settings.label_noise, classes)
    return read


def wrong_labels(labels: np.ndarray, u: np.ndarray, v: np.ndarray, share: float, classes: int) -> np.ndarray:
    """Labels of which those with u < ``share`` are another class, (y + 1 + ⌊v (C − 1)⌋) mod C; −1 stays. All of one shape."""
    other = (labels + 1 + np.minimum((v * (classes - 1)).astype(np.int64), classes - 2)) % classes
    return np.where((u < share) & (labels >= 0), other, labels)


def noisy(settings: TrainSettings) -> bool:
    """Whether a step draws noise."""
    return bool(settings.input_noise or settings.teacher_dropout)


def noise_keys(runs: Sequence[Run], counts: Sequence[int], epoch: int) -> Tensor:
    """(steps, R) int64, of each run from (seed, fold, epoch) and the step alone; 0 beyond its own ``counts``."""
    keys = torch.zeros(max(counts), len(runs), dtype=torch.int64)
    for r, (run, count) in enumerate(zip(runs, counts)):
        keys[:count, r] = torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator("noise", run, epoch))
    return keys
