"""The interval of a difference over recordings, for folds as they are.

Where folds are few, their means say next to nothing of folds to come. What the clips themselves can say is smaller:
how far the difference on *these* folds, with *these* trainings, may come from which recordings happen to be in them.

Conventions. Per clip one difference, the seeds averaged first: seeds hear the same clips, and are no further
recordings. The figure is that of the tables: the mean over folds of each fold's mean over its clips. Recordings are
drawn with replacement, each with all of its clips, because pieces of one recording are right or wrong together. They
are drawn within their fold, so that every resample has these folds; a recording that lies in several folds is drawn
among those that lie in the same ones, and brings its clips in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95

#: Resamples that are drawn at a time: keeps the counts within some ten MB.
CHUNK = 1000


@dataclass(frozen=True)
class Interval:
    """Percentiles of the bootstrap; or the reason why there are none."""

    low: float | None
    high: float | None
    recordings: int
    reason: str = ""


def by_recording(
    differences: Mapping[int, np.ndarray],
    sources: Mapping[int, np.ndarray],
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile interval of the mean over folds of the folds' mean differences, recordings drawn with replacement.

    differences: fold → (clips,) float, of each clip averaged over seeds; sources: fold → (clips,) the recording that
    a clip was cut from. Fold k of a resample is Σ_g w_g·s_gk / Σ_g w_g·n_gk: w_g how often recording g was drawn,
    s_gk the sum of its differences in the fold and n_gk its clips there (Davison and Hinkley 1997, section 3.8, whole
    clusters). The same input gives the same interval. Where a fold has no two recordings to draw from, ``reason`` says so.
    """
    folds = sorted(differences)
    if not folds or not all(len(differences[fold]) for fold in folds):
        return Interval(None, None, 0, "a fold without clips")
    names = sorted({str(name) for fold in folds for name in sources[fold]})
    place = {name: index for index, name in enumerate(names)}
    sums, clips = np.zeros((len(names), len(folds))), np.zeros((len(names), len(folds)))
    for column, fold in enumerate(folds):
        rows = np.array([place[str(name)] for name in sources[fold]])
        sums[:, column] = np.bincount(rows, weights=differences[fold], minlength=len(names))
        clips[:, column] = np.bincount(rows, minlength=len(names))
    strata: dict[tuple[int, ...], list[int]] = {}
    for row in range(len(names)):
        strata.setdefault(tuple(np.flatnonzero(clips[row])), []).append(row)
    drawn = {column for columns, rows_of in strata.items() if len(rows_of) > 1 for column in columns}
    if fixed := [str(fold) for column, fold in enumerate(folds) if column not in drawn]:
        return Interval(None, None, len(names), f"fold {', '.join(fixed)}: no second recording to draw in place of one")
    rng = np.random.default_rng(0)
    figures = np.concatenate(
        [
            resampled(sums, clips, list(strata.values()), min(CHUNK, resamples - first), rng)
            for first in range(0, resamples, CHUNK)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(figures, [tail, 1 - tail])
    return Interval(float(low), float(high), len(names))


def resampled(
    sums: np.ndarray, clips: np.ndarray, strata: list[list[int]], count: int, rng: np.random.Generator
) -> np.ndarray:
    """(count,) figures: sums and clips (recordings, folds), drawn ``count`` times within each stratum."""
    drawn = np.zeros((2, count, sums.shape[1]))
    for rows in strata:
        # Recordings with the same clips and sums are drawn as one kind: the same distribution, of fewer numbers.
        kinds, many = np.unique(np.round(np.hstack([sums[rows], clips[rows]]), 9), axis=0, return_counts=True)
        weights = rng.multinomial(len(rows), many / len(rows), size=count).astype(float)
        drawn += (weights @ kinds).reshape(count, 2, -1).swapaxes(0, 1)
    return np.asarray((drawn[0] / drawn[1]).mean(axis=1))
