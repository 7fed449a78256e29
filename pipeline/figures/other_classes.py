"""What a network is worth on classes that it shares with its teacher, or does not: nearest class means, and their harmonic mean.

Conventions. The centre of a class is the unit mean of its training clips' embeddings; a clip gets the class with the largest product e · c,
of equal ones the first (nearest class mean, NCM). Old classes are the teacher's, new ones the student's; both are told among all of both
(Ye, Lu and Zhan, supplement, section 2). Accuracies are in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np


def centres(embeddings: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes, D) float64: of embeddings (clips, D) and labels (clips,); NaN of a class without a clip."""
    values = np.asarray(embeddings, np.float64)
    whole = np.full((classes, values.shape[1]), math.nan)
    for label in np.unique(labels[labels >= 0]).tolist():
        mean = values[labels == label].mean(0)
        length = np.linalg.norm(mean)
        whole[label] = mean / length if length > 0 else 0.0
    return whole


def nearest(embeddings: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(clips,) int64: of embeddings (clips, D) the class with the largest product, among those that have a centre (C, D)."""
    with np.errstate(invalid="ignore"):
        products = np.asarray(embeddings, np.float64) @ centres.T
    return np.where(np.isnan(centres).any(1), -math.inf, products).argmax(1)


def accuracy_of(answers: np.ndarray, labels: np.ndarray, classes: Collection[int]) -> float:
    """Share of the clips of ``classes`` that are given their own, (clips,) both; NaN without such a clip."""
    asked = np.isin(labels, list(classes))
    return float((answers[asked] == labels[asked]).mean()) if asked.any() else math.nan


def harmonic_mean(old: float, new: float) -> float:
    """2 · old · new / (old + new) of two accuracies; 0 where both are, NaN where one is."""
    return 2 * old * new / (old + new) if old + new else old + new


def overlap(own: Collection[str], taught: Collection[str]) -> float:
    """Share of a student's classes that its teacher knows."""
    return len(set(own) & set(taught)) / len(set(own))
