"""Kept predictions → the interval of a difference over recordings, see ``pipeline.figures.bootstrap``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import runs
from pipeline.errors import Damaged, InputError
from pipeline.figures import (
    bootstrap,
    ensembles,
    evaluation,
    statistics,
)
from pipeline.figures.bootstrap import Interval
from pipeline.figures.statistics import Cell, Comparison
from pipeline.runs.damage import met

Voters = Mapping[Cell, Sequence[Path]]
"""Cell → the run folder whose predictions count, or those that vote together."""


def interval(voters: Voters, baseline: Voters) -> Interval:
    """Of the accuracy of ``voters`` less the baseline's, in percentage points, over the cells that both have.

    ``reason`` says which predictions are missing, damaged or of other clips: they cost this interval alone.
    """
    differences: dict[int, list[np.ndarray]] = {}
    heard: dict[int, runs.Predictions] = {}
    try:
        for at in sorted(voters.keys() & baseline.keys()):
            ours, theirs = (predictions(side[at]) for side in (voters, baseline))
            first = heard.setdefault(at[0], ours)
            if ours.labels.ndim == 2:
                raise InputError("a mean average precision is no mean over clips, whose recordings could be drawn")
            for one, folders in ((ours, voters[at]), (theirs, baseline[at])):
                if not (np.array_equal(one.clips, first.clips) and np.array_equal(one.labels, first.labels)):
                    raise InputError(f"{folders[0]} was tested on other clips than the runs beside it")
            differences.setdefault(at[0], []).append(100 * (hits(ours) - hits(theirs)))
    except InputError as error:
        if isinstance(error, Damaged):
            met[str(error)] = None
        return Interval(None, None, 0, str(error))
    if not differences:
        return Interval(None, None, 0, "no kept predictions of both")
    means = {fold: np.mean(side, axis=0) for fold, side in differences.items()}
    return bootstrap.by_recording(means, {fold: heard[fold].sources for fold in means})


def beside(comparison: Comparison | None, voters: Voters, baseline: Voters) -> Comparison | None:
    """The comparison, with the interval over recordings where its folds are too few for a p."""
    if comparison is None or comparison.units >= statistics.FEWEST:
        return comparison
    return replace(comparison, recordings=interval(voters, baseline))


def predictions(folders: Sequence[Path]) -> runs.Predictions:
    return runs.read_predictions(folders[0]) if len(folders) == 1 else ensembles.ensemble(folders)


def hits(one: runs.Predictions) -> np.ndarray:
    """(clips,) float64: 1 where the predicted class is the label."""
    return (evaluation.predicted(one.logits) == one.labels).astype(np.float64)
