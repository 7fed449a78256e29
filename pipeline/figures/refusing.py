"""When an answer is "none of these": a threshold on the largest probability of a clip (Hendrycks and Gimpel, ICLR 2017)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.figures.evaluation import log_softmax

#: Of held-out clips of known classes, so many are refused at most.
SHARE = 0.05


def surest(logits: np.ndarray) -> np.ndarray:
    """(clips,) float64: each clip's largest probability, of (clips, classes)."""
    return np.exp(log_softmax(logits.astype(np.float64)).max(1))


def threshold(scores: np.ndarray, share: float = SHARE) -> float:
    """The largest score below which at most a ``share`` of (clips,) scores lies. ``ValueError`` without a clip."""
    if not len(scores):
        raise ValueError("a threshold of no clip")
    return float(np.sort(scores)[int(share * len(scores))])


def refused(scores: np.ndarray, limit: float) -> float:
    """Share of scores below a threshold."""
    return float((scores < limit).mean())


def refused_elsewhere(by_fold: Mapping[int, np.ndarray], share: float = SHARE) -> float | None:
    """Share of a fold's scores that the threshold of all other folds refuses, mean over folds; None of fewer than two."""
    if len(by_fold) < 2:
        return None
    shares = [
        refused(scores, threshold(np.concatenate([s for other, s in by_fold.items() if other != fold]), share))
        for fold, scores in by_fold.items()
    ]
    return float(np.mean(shares))
