"""Episodes of few-shot learning: of some classes a few clips that are shown and others that are asked for, no recording among both.

Of a class the recordings come in a drawn order; each goes to the side that is shown, up to one for each clip of it, as long as the others
still hold enough clips that are asked for. The clips that are shown are one of each of these recordings, then a second, and so on; those
that are asked for are drawn from all others. So a class of one recording is in no episode, and one of two is in all that its clips suffice for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.config import InputError
from pipeline.plurals import many
from pipeline.samplers import Episode

if TYPE_CHECKING:
    from pipeline.training.task import Task

#: Orders of recordings that are tried before the one that surely divides them.
TRIED = 20


def possible(counts: Sequence[int], shot: int, query: int) -> bool:
    """Whether recordings of so many clips each can be divided into two sides of at least ``shot`` and ``query`` clips."""
    return bool(dividing(counts, shot, query))


def dividing(counts: Sequence[int], shot: int, query: int) -> tuple[int, ...]:
    """The places of the recordings of the first division with the fewest clips shown; () where there is none."""
    sums: dict[int, tuple[int, ...]] = {0: ()}
    for place, count in enumerate(counts):
        sums |= {total + count: (*before, place) for total, before in list(sums.items()) if total + count not in sums}
    fitting = [total for total in sums if shot <= total <= sum(counts) - query]
    return sums[min(fitting)] if fitting else ()


def of_one_class(labels: np.ndarray, recordings: np.ndarray) -> np.ndarray:
    """``labels`` (clips,), −1 of clips whose recording has clips of two classes: it could be shown as one and asked for as the other."""
    pairs = np.unique(np.stack([recordings, labels])[:, labels >= 0], axis=1)
    several, counts = np.unique(pairs[0], return_counts=True)
    return np.where(np.isin(recordings, several[counts > 1]), -1, labels)


def fitting_classes(labels: np.ndarray, recordings: np.ndarray, episode: Episode) -> list[int]:
    """The classes of ``labels`` (clips,) whose recordings, of no other class, can be divided; −1 is none."""
    labels = of_one_class(labels, recordings)
    classes = np.unique(labels[labels >= 0]).tolist()
    return [label for label in classes if possible(counts_of(recordings[labels == label]), episode.shot, episode.query)]


def counts_of(recordings: np.ndarray) -> list[int]:
    return np.unique(recordings, return_counts=True)[1].tolist()


def drawn(labels: np.ndarray, recordings: np.ndarray, episode: Episode, count: int, seed: int) -> np.ndarray:
    """(count, way, shot + query) clips: places in ``labels`` (clips,) int64 and ``recordings`` (clips,), of the seed alone.

    The classes of each episode are drawn among those that fit; the clips that are shown come first. ``ValueError`` where fewer classes
    than ``way`` fit.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    fitting = fitting_classes(labels, recordings, episode)
    if len(fitting) < episode.way:
        raise ValueError(f"{len(fitting)} classes for episodes of {episode.way}")
    labels = of_one_class(labels, recordings)
    of_class = {label: groups(np.flatnonzero(labels == label), recordings) for label in fitting}
    whole = np.empty((count, episode.way, episode.shot + episode.query), np.int64)
    for number in range(count):
        for place, label in enumerate(random.permutation(fitting)[: episode.way].tolist()):
            whole[number, place] = clips_of(of_class[label], episode, random)
    return whole


def batches(
    fold: int, task: Task, labels: np.ndarray, episode: Episode, count: int, seed: int, views: torch.Generator
) -> np.ndarray:
    """(count, B) rows: an episode each, class by class, of each the clips that are shown first; of each clip one row, drawn.

    ``labels``: of every row of the samples. ``InputError`` where the recordings are not known, and where too few classes have enough.
    """
    of_clips, recordings = enough(fold, task, labels, episode)
    rows = task.train.reshape(len(recordings), -1)
    clips = drawn(of_clips, recordings, episode, count, seed).reshape(count, -1)
    return rows[clips, torch.randint(rows.shape[1], clips.shape, generator=views).numpy()]


def enough(fold: int, task: Task, labels: np.ndarray, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """The labels and recordings of a task's training clips, (clips,) each. ``InputError`` as ``batches``."""
    recordings = task.recordings
    if recordings is None:
        raise InputError(f"fold {fold}: episodes of clips whose recordings are not known; expected those of each clip")
    of_clips = task.known(labels)[task.train.reshape(len(recordings), -1)[:, 0]]
    if len(fitting := fitting_classes(of_clips, recordings, episode)) < episode.way:
        raise InputError(too_few(f"fold {fold}", len(fitting), episode))
    return of_clips, recordings


def too_few(where: str, fitting: int, episode: Episode) -> str:
    return (
        f"{where}: {many(fitting, 'class has', 'classes have')} recordings for {many(episode.shot, 'clip that is', 'clips that are')} shown and {episode.query} of others that are asked "
        f"for; expected {episode.way}, or smaller episodes, for example sampler = 'episode:{max(2, fitting)},1,1'"
    )


def groups(clips: np.ndarray, recordings: np.ndarray) -> list[np.ndarray]:
    """The clips of each recording."""
    return [clips[recordings[clips] == one] for one in np.unique(recordings[clips])]


def clips_of(recordings: Sequence[np.ndarray], episode: Episode, random: np.random.Generator) -> np.ndarray:
    """(shot + query,) clips of one class, whose clips are given by recording."""
    counts = list(map(len, recordings))
    for _ in range(TRIED):
        order = random.permutation(len(recordings)).tolist()
        left = sum(counts)
        shown: list[int] = []
        for place in order:
            if len(shown) < episode.shot and left - counts[place] >= episode.query:
                shown.append(place)
                left -= counts[place]
        if sum(counts[place] for place in shown) >= episode.shot:
            break
    else:
        shown = list(dividing(counts, episode.shot, episode.query))
    support = in_turn([random.permutation(recordings[place]) for place in shown], episode.shot)
    others = np.concatenate([recordings[place] for place in range(len(recordings)) if place not in shown])
    return np.concatenate([support, random.permutation(others)[: episode.query]])


def in_turn(each: Sequence[np.ndarray], count: int) -> np.ndarray:
    """The first of each, then the second of each, and so on, ``count`` in all."""
    ranked = sorted((rank, place) for place, clips in enumerate(each) for rank in range(len(clips)))
    return np.array([each[place][rank] for rank, place in ranked[:count]], np.int64)


def seed_of(*about: object) -> int:
    """63 bits of what is given alone."""
    return int.from_bytes(hashlib.sha256(repr(about).encode("utf-8", "surrogateescape")).digest()[:8]) >> 1
