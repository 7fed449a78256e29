"""Figures of one run, from the logits and labels of the held-out fold's clean clips.

Conventions: ``logits`` (clips, classes) float, ``labels`` (clips,) integers in [0, classes). The predicted
class is the first largest logit. Results are plain floats in [0, 1] unless said otherwise; without clips
they are NaN. All sums run in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline import label_sets
from pipeline.runs import Result

#: Of the calibration error: equal-width bins of the confidence.
ECE_BINS = 15

#: A run whose accuracy beats chance no better than this by the binomial test is marked as being at chance.
ALPHA = 0.01


def predicted(logits: np.ndarray) -> np.ndarray:
    """(clips,) int64: the class with the largest logit; the first one of equals."""
    return np.argmax(_matrix(logits), axis=1)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of clips whose predicted class is the label."""
    labels = _labels(logits, labels)
    return float(np.mean(predicted(logits) == labels)) if len(labels) else float("nan")


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(classes, classes) int64 counts: row the label, column the predicted class."""
    labels = _labels(logits, labels)
    classes = _matrix(logits).shape[1]
    return np.bincount(labels * classes + predicted(logits), minlength=classes**2).reshape(classes, classes)


def macro_f1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that have clips of F1 = 2·hits / (clips of the class + clips given to it).

    Classes without clips in the fold are left out: their recall is undefined and would enter as 0.
    """
    counts = confusion(logits, labels)
    present = counts.sum(axis=1) > 0
    if not present.any():
        return float("nan")
    f1 = 2 * np.diag(counts)[present] / (counts.sum(axis=1) + counts.sum(axis=0))[present]
    return float(f1.mean())


def balanced_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that have clips of the share of their clips that are told right (their recall)."""
    counts = confusion(logits, labels)
    present = counts.sum(axis=1) > 0
    return float((np.diag(counts)[present] / counts.sum(axis=1)[present]).mean()) if present.any() else float("nan")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(clips, classes) float64: log of the softmax over the classes; NaN in a row that is not finite."""
    values = _matrix(logits).astype(np.float64)
    values[~np.isfinite(values).all(axis=1)] = np.nan
    values = values - values.max(axis=1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=1, keepdims=True))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of −log p(label), in nats; not bounded by 1. Of targets (clips, classes) the binary cross-entropy, mean over both."""
    if np.ndim(labels) == 2:
        return binary_cross_entropy(logits, labels)
    labels = _labels(logits, labels)
    if not len(labels):
        return float("nan")
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = ECE_BINS) -> float:
    """Σ_b (clips in b / clips) · |accuracy in b − mean confidence in b| (Guo et al. 2017, eq. 3).

    Confidence is the largest softmax probability; the bins are ((b−1)/bins, b/bins], b = 1 … bins.

    Of clips with several labels, ``labels`` (clips, classes), each class of each clip is one answer by itself: its confidence is the
    sigmoid, and a hit is that the clip has the class.
    """
    if np.ndim(labels) == 2:
        hits = _targets(logits, labels).reshape(-1).astype(np.float64)
        confidence = label_sets.sigmoid(logits).reshape(-1)
    else:
        labels = _labels(logits, labels)
        confidence = np.exp(log_softmax(logits).max(axis=1)) if len(labels) else np.empty(0)
        hits = (predicted(logits) == labels).astype(np.float64) if len(labels) else confidence
    if not len(hits) or not np.isfinite(confidence).all():
        return float("nan")
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    # |mean hits − mean confidence| times the bin's share is |Σ hits − Σ confidence| / clips.
    gaps = np.bincount(place, weights=hits - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(hits))


def agreement(logits: np.ndarray, teacher_logits: np.ndarray) -> float:
    """Share of clips for which student and teacher predict the same class; both of the same clips in order."""
    if _matrix(logits).shape != _matrix(teacher_logits).shape:
        raise ValueError(f"logits {logits.shape} and the teacher's {teacher_logits.shape}: expected equal shapes")
    return float(np.mean(predicted(logits) == predicted(teacher_logits))) if len(logits) else float("nan")


def chance(labels: np.ndarray, classes: int) -> float:
    """What a network that ignores its input can reach: the commonest class' share, at least 1 / classes."""
    return max(float(np.bincount(labels, minlength=classes).max()) / len(labels), 1 / classes)


def above_chance(logits: np.ndarray, labels: np.ndarray) -> float:
    """One-sided p-value of the binomial test of the accuracy against ``chance``: P(at least so many hits)."""
    labels = _labels(logits, labels)
    if not len(labels):
        return 1.0
    from scipy import stats  # slow to import: tables need no test of a single run

    hits = int(np.sum(predicted(logits) == labels))
    share = min(chance(labels, _matrix(logits).shape[1]), 1.0)
    return float(stats.binom.sf(hits - 1, len(labels), share))


def trained(logits: np.ndarray, labels: np.ndarray, alpha: float = ALPHA) -> bool:
    """Whether a run is better than chance: ``above_chance`` below ``alpha``, and every logit finite.

    It marks a run, and chooses none: on few clips a network that has learned may not pass (5 of 9 are no proof).
    A network that gives all clips one class never passes. At 0.01 and ten even classes the threshold is
    7 hits of 20 clips, 36 of 240 (15.0 %), 109 of 870 (12.5 %).
    """
    return bool(np.isfinite(_matrix(logits)).all()) and above_chance(logits, labels) < alpha


def summary(logits: np.ndarray, labels: np.ndarray, teacher_logits: np.ndarray | None = None) -> Result:
    """The figures of a run's last epoch as they stand in ``result.json``.

    Accuracy, balanced accuracy, macro-F1, ECE, NLL, agreement (None without a teacher), and the status: "trained", or "did not train" for no
    better than chance.

    Of clips with several labels, ``labels`` (clips, classes): mean average precision, chance, and the binary cross-entropy as NLL.
    """
    if np.ndim(labels) == 2:
        return of_several_labels(logits, np.asarray(labels))
    return Result(
        status="trained" if trained(logits, labels) else "did not train",
        accuracy=accuracy(logits, labels),
        balanced_accuracy=balanced_accuracy(logits, labels),
        macro_f1=macro_f1(logits, labels),
        ece=expected_calibration_error(logits, labels),
        nll=negative_log_likelihood(logits, labels),
        agreement=None if teacher_logits is None else agreement(logits, teacher_logits),
        test_clips=len(labels),
    )


def of_several_labels(logits: np.ndarray, targets: np.ndarray) -> Result:
    """``summary`` by targets (clips, classes), 1 for each class of a clip.

    "did not train" is a mean average precision of no more than ``chance``, without a test: clips are no independent trials of it.
    """
    targets = _targets(logits, targets)
    score, share = label_sets.mean_average_precision(targets, logits), label_sets.prevalence(targets)
    return Result(
        status="trained" if score > share else "did not train",
        map=score,
        chance=share,
        nll=binary_cross_entropy(logits, targets),
        test_clips=len(targets),
    )


def binary_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean over clips and classes of −t log σ(z) − (1 − t) log σ(−z), in nats, by targets (clips, classes) of 0 and 1."""
    targets, wide = _targets(logits, targets), _matrix(logits).astype(np.float64)
    with np.errstate(invalid="ignore"):  # a run that stopped
        costs = np.logaddexp(0.0, -wide) * targets + np.logaddexp(0.0, wide) * (1 - targets)
    return float(costs.mean()) if costs.size else float("nan")


def best_epoch(history: Sequence[dict[str, Any]], score: str) -> dict[str, Any]:
    """The record of the epoch with the highest score, the first of equals; one whose outputs overflowed has none, and is never it."""
    finite = [epoch for epoch in history if np.isfinite(epoch[score])]
    return max(finite, key=lambda epoch: epoch[score], default={score: None, "epoch": None})


def _matrix(logits: np.ndarray) -> np.ndarray:
    if np.ndim(logits) != 2:
        raise ValueError(f"logits of shape {np.shape(logits)}: expected (clips, classes)")
    return np.asarray(logits)


def _targets(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    if np.shape(targets) != _matrix(logits).shape:
        raise ValueError(f"targets {np.shape(targets)} for logits {np.shape(logits)}: expected equal shapes")
    return np.asarray(targets)


def _labels(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    clips, classes = _matrix(logits).shape
    values = np.asarray(labels)
    if values.shape != (clips,) or (clips and not 0 <= values.min() <= values.max() < classes):
        raise ValueError(f"labels {values.shape} for logits {(clips, classes)}: expected (clips,) in [0, classes)")
    return values.astype(np.int64)
