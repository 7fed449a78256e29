"""Entropies of blocks → concepts in sound and in background, and how they come during a training.

Equations: METHODS.md 8.3, after Cheng et al. (CVPR 2020). H_i = ln σ_i + ½ ln 2πe is the entropy of the noise that block i bears, σ in units of
the bin's standard deviation. A block is a *concept* where H̄ − H_i > b: the network lets it change less than the background.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

#: ½ ln 2πe, the entropy in nats of a Gaussian of deviation 1.
UNIT = 0.5 * math.log(2 * math.pi * math.e)

#: b: how far below the background's mean entropy a concept lies, in nats.
THRESHOLD = 0.2


class Counts(NamedTuple):
    """Concepts of some clips, as one network has them."""

    background: float
    """H̄: mean entropy of the background blocks of all clips, in nats."""
    concepts: np.ndarray
    """(clips, bins, blocks) bool."""
    fg: np.ndarray
    """(clips,) concepts in the sound."""
    bg: np.ndarray
    """(clips,) concepts in the background."""

    @property
    def n_fg(self) -> float:
        """Mean over clips."""
        return float(self.fg.mean())

    @property
    def n_bg(self) -> float:
        return float(self.bg.mean())

    @property
    def share(self) -> float | None:
        """λ = E[N_fg / (N_fg + N_bg)] over the clips that have a concept; None where none has."""
        total = self.fg + self.bg
        some = total > 0
        return float((self.fg[some] / total[some]).mean()) if some.any() else None


class Learning(NamedTuple):
    """When the concepts of the sound came, over the kept epochs of one training."""

    mean: float | None
    """D_mean: how far the weights had moved when a clip had most of them, in lengths of the first weights; mean over clips."""
    variance: float | None
    """D_var: its variance (1/n) over clips."""
    stable: float | None
    """ρ: of the concepts that there ever were, how many are there at the end; mean over clips."""


def entropy(sigma: np.ndarray | float) -> np.ndarray:
    """H of a deviation σ, in nats: −3.186 at 0.01, 1.419 at 1."""
    return np.log(sigma) + UNIT


def counts(
    entropies: np.ndarray,
    foreground: np.ndarray,
    counting: np.ndarray,
    threshold: float = THRESHOLD,
    moving: np.ndarray | None = None,
) -> Counts:
    """The concepts of H (clips, bins, blocks). ``foreground``: which blocks are sound; ``counting``: which are not padding only.

    ``moving`` (clips,): those whose output moved at all (None: all); others have no concept, and no part in H̄. ``ValueError`` where no
    block is background: then there is nothing to compare with.
    """
    if not (counting & ~foreground).any():
        raise ValueError("no block of the background")
    alive = np.ones(len(entropies), dtype=bool) if moving is None else moving
    counting = counting & alive.reshape(-1, *[1] * (entropies.ndim - 1))
    behind = counting & ~foreground
    mean = float(entropies[behind].astype(np.float64).mean()) if behind.any() else math.nan
    concepts = (mean - entropies > threshold) & counting
    axes = tuple(range(1, entropies.ndim))
    return Counts(mean, concepts, (concepts & foreground).sum(axes), (concepts & ~foreground).sum(axes))


def distances(counts_of: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Of counts (clips, kept epochs): how far the weights had moved at the first epoch with the most of them.

    ``moved`` (kept epochs,): Σ ‖w_k − w_{k−1}‖ / ‖w_0‖ up to each. Clips that never have any are left out.
    """
    some = counts_of.max(1) > 0
    return np.asarray(moved[counts_of[some].argmax(1)], dtype=np.float64)


def stability(concepts: np.ndarray) -> float | None:
    """ρ of (kept epochs, clips, ...) bool: |S_last| / |∪ S_j|, mean over the clips whose union is not empty; None without one."""
    flat = concepts.reshape(*concepts.shape[:2], -1)
    ever = flat.any(0).sum(1)
    some = ever > 0
    return float((flat[-1].sum(1)[some] / ever[some]).mean()) if some.any() else None


def learning(by_epoch: Sequence[Counts], foreground: np.ndarray, moved: np.ndarray | None) -> Learning:
    """D_mean, D_var and ρ of the foreground concepts at kept epochs, in their order. ``moved`` None: it was not recorded."""
    far = distances(np.stack([one.fg for one in by_epoch], 1), moved) if moved is not None else np.zeros(0)
    stable = stability(np.stack([one.concepts & foreground for one in by_epoch]))
    if not len(far):
        return Learning(None, None, stable)
    return Learning(float(far.mean()), float(far.var()), stable)


def travelled(
    steps: Sequence[Mapping[str, float]], first: Mapping[str, float], names: Sequence[str] | None = None
) -> np.ndarray:
    """(epochs,) Σ_{k ≤ m} ‖w_k − w_{k−1}‖ / ‖w_0‖ over some tensors (None: all), from each tensor's own lengths."""
    chosen = list(first) if names is None else list(names)

    def length(parts: Mapping[str, float]) -> float:
        return math.sqrt(sum(parts[name] ** 2 for name in chosen))

    return np.cumsum([length(step) for step in steps]) / length(first)
