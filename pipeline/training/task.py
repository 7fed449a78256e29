"""What one run is, and what comes out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses import LossMix
from pipeline.losses.unlabelled import learns_unlabelled
from pipeline.plurals import many
from pipeline.training.sampling import Sampling

#: Between the first weights of one student and the next of a cohort.
MEMBER_STRIDE = 700_000_001


def places_in(labels: np.ndarray, classes: Sequence[int] | None) -> np.ndarray:
    """The place of each label in ``classes``, −1 of any other class and of no label; labels as they are without classes."""
    if classes is None:
        return labels
    places = np.full(1 + max(*classes, int(labels.max(initial=0))), -1, np.int64)
    places[list(classes)] = np.arange(len(classes))
    return np.where(labels >= 0, places[labels], -1)


@dataclass(frozen=True, eq=False)
class Task:
    """What is learned from which rows of ``samples``, and what it is tested on."""

    train: np.ndarray
    """int64 rows to train on, with their labels; of ``classes`` alone."""
    test: np.ndarray
    """int64 rows to test on after every epoch."""
    classes: tuple[int, ...] | None = None
    """The classes to tell apart, by their number in the samples' labels; the run's own labels are places in this tuple. None: all, as
    they are numbered."""
    unlabelled: np.ndarray | None = None
    """int64 rows to train on whose labels are not read, (clips,) or (clips, views), the clean view first; None: none."""
    labels: np.ndarray | None = None
    """int64 labels of ``train`` that are learned in place of those of the samples, by which accuracy is counted all the same; of
    a task with ``classes`` places in them."""
    views: int = 1
    """How many of ``train``'s rows behind each other are views of one clip, of which an epoch takes one, drawn at random (of
    ``unlabelled`` as many as it has); 1: every row is in every epoch."""

    recordings: np.ndarray | None = None
    """(clips,) int64: which recording each clip of ``train`` is of, whose rows are as many for each clip, behind each other. None: it is
    not known, and needed for batches of episodes alone."""
    targets: np.ndarray | None = None
    """(labels, classes) float32 where clips have several labels each: 1 for each class that a label of the samples stands for."""

    def __post_init__(self) -> None:
        if self.recordings is not None and (not len(self.recordings) or len(self.train) % len(self.recordings)):
            raise InputError(
                f"{many(len(self.train), 'training row')} and recordings of {many(len(self.recordings), 'clip')}; expected as many rows of each clip"
            )
        if self.classes is not None and (len(set(self.classes)) < max(1, len(self.classes)) or min(self.classes) < 0):
            raise InputError(f"a task of the classes {self.classes}; expected different numbers of classes, or None")
        if self.unlabelled is not None and not self.unlabelled.size:
            raise InputError("a task with no unlabelled rows; expected some, or None")
        if self.views < 1 or len(self.train) % self.views:
            raise InputError(
                f"{many(len(self.train), 'training row')} and {many(self.views, 'view')} of each clip; expected whole clips"
            )
        if self.labels is not None and self.labels.shape != self.train.shape:
            raise InputError(
                f"{many(len(self.labels), 'label')} of {many(len(self.train), 'training row')}; expected one for each"
            )

    @cached_property
    def rows(self) -> np.ndarray:
        """All rows to train on, with labels and without: normalisation is fitted on these."""
        if self.unlabelled is None:
            return self.train
        return np.concatenate([self.train, self.unlabelled.reshape(-1)])

    def known(self, labels: np.ndarray) -> np.ndarray:
        """Labels of all samples as a run knows them: −1 of every row that it does not train on with its label."""
        known = np.full(len(labels), -1, np.int64)
        known[self.train] = self.places(labels[self.train]) if self.labels is None else self.labels
        return known

    def places(self, labels: np.ndarray) -> np.ndarray:
        """Labels of samples as the run has them: places in ``classes``, −1 of any other class."""
        return places_in(labels, self.classes)

    @property
    def views_unlabelled(self) -> int:
        """As ``views``, of the rows without a label."""
        return (
            self.unlabelled.shape[1]
            if self.views > 1 and self.unlabelled is not None and self.unlabelled.ndim > 1
            else 1
        )

    def identity(self) -> list[str]:
        """Digests of the rows, in their order, and of labels where they are the task's own; how many views a clip has, of which an
        epoch takes one; which classes, where these are not all."""
        arrays = [self.train, self.test]
        arrays += [array for array in (self.unlabelled, self.labels) if array is not None]
        digests = [hashlib.sha256(np.ascontiguousarray(rows, dtype=np.int64).tobytes()).hexdigest() for rows in arrays]
        views = [f"one of {self.views}"] if self.views > 1 else []
        classes = [] if self.classes is None else [f"classes {self.classes}"]
        known = np.zeros(0, np.int64) if self.recordings is None else self.recordings.astype(np.int64)
        recordings = [hashlib.sha256(known.tobytes()).hexdigest()] if len(known) else []
        sets = [] if self.targets is None else [hashlib.sha256(self.targets.tobytes()).hexdigest(), "several labels"]
        return digests + views + classes + recordings + sets


@dataclass(frozen=True, eq=False)
class Start:
    """The weights that a run begins with in place of drawn ones: another run's, of the same network."""

    state: Mapping[str, Tensor]
    """As ``Trained.state``."""
    adapters: Mapping[str, Tensor] = field(default_factory=dict)
    """As ``Trained.adapters``: a term of the same key goes on with them, any other draws its own."""

    def identity(self) -> str:
        """A digest of all tensors."""
        content = hashlib.sha256()
        for name, tensor in (*sorted(self.state.items()), *sorted(self.adapters.items())):
            content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            content.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return content.hexdigest()


@dataclass(frozen=True, eq=False)
class Run:
    """One training: the held-out fold, the seed, the mix of losses, the task, who teaches, and how batches are drawn."""

    fold: int
    seed: int
    mix: LossMix
    task: Task
    teacher: int = 0
    """Which of the teachers (axis 0 of what ``Teaching`` keeps) teaches this run."""
    sampling: Sampling | None = None
    """How its batches are drawn; None: as the settings of its training say."""
    start: Start | None = None
    """None: its first weights are drawn."""
    cohort: str = ""
    """The runs of a pack that have it in common learn from each other, with no teacher (``training.peers``); "": it learns by itself."""
    member: int = 0
    """Of a cohort: which of its students it is. Each has first weights of its own, and all see the same batches."""
    pool: np.ndarray | None = None
    """int64 rows without a label that batches are drawn from, some more than once; None: all of ``task.unlabelled``."""

    @property
    def drawn_unlabelled(self) -> np.ndarray | None:
        """The rows without a label that its batches are drawn from; None where no term learns from such."""
        if self.task.unlabelled is None or not learns_unlabelled(self.mix):
            return None
        return self.task.unlabelled.reshape(-1) if self.pool is None else self.pool

    @property
    def weights_seed(self) -> int:
        """The seed of its first weights."""
        return self.seed + MEMBER_STRIDE * self.member

    @property
    def unit(self) -> int:
        """How many runs are trained in one pack at least, it among them: those that learn from each other."""
        return 2 if self.cohort else 1

    def batches(self) -> tuple[Any, ...]:
        """What its batches depend on: runs that have it in common see the same ones."""
        pool = self.drawn_unlabelled
        drawn = () if pool is None else (hashlib.sha256(pool.tobytes()).hexdigest(),)
        return (self.fold, self.seed, *self.task.identity(), (self.sampling or Sampling()).kind, *drawn)

    def identity(self) -> list[Any]:
        """What tells this run from another, for checkpoints."""
        return [
            self.fold,
            self.seed,
            str(self.mix),
            *self.task.identity(),
            self.teacher,
            (self.sampling or Sampling()).kind,
            *([self.start.identity()] if self.start else []),
            *([f"member {self.member}"] if self.cohort else []),
        ]


@dataclass
class Trained:
    """What came out of one run."""

    run: Run
    state: dict[str, Tensor] = field(default_factory=dict)
    """``state_dict`` on the CPU of the network with R = 1, after the last epoch; empty after a failure."""
    best_state: dict[str, Tensor] = field(default_factory=dict)
    """The same after the epoch with the highest test accuracy (the first of equals): optimistic."""
    adapters: dict[str, Tensor] = field(default_factory=dict)
    """``KEY NAME`` → tensor (1, ...) on the CPU: what each term's adapter had learned after the last epoch."""
    terms: dict[str, dict[str, float]] = field(default_factory=dict)
    """Key of a term → what its file's ``figures`` says of the training rows after the last epoch."""
    kept: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """Epoch of the setting ``keep`` → ``state`` as it was behind it; empty after a failure."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record per epoch, as ``on_epoch`` gets them."""
    logits: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """(n_test, classes) of the test rows after the last epoch; float32."""
    best_accuracy: float | None = None
    best_epoch: int | None = None
    failure: str | None = None
    """Why the run stopped early (which term was not finite, epoch, step), or None."""
    steps: int = 0
    seconds: float = 0.0
    """Wall time of its whole pack in this call, from first to last epoch."""
