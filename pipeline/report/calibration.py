"""How well the probabilities of calibrated runs fit, on their held-out clips, before and after their temperature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from pipeline import runs
from pipeline.figures import evaluation, statistics
from pipeline.runs import Record, calibration
from pipeline.runs.damage import spared


class Calibrated(NamedTuple):
    """Of the runs of a row that were calibrated: means over folds of the means over seeds."""

    runs: int
    temperature: float
    ece_before: float
    """In percent."""
    ece_after: float
    nll_before: float
    """In nats."""
    nll_after: float


def calibrated(records: Sequence[Record]) -> Calibrated | None:
    """None where no run was. A damaged ``calibration.json``, or one of other weights, and damaged predictions are told at the command's end."""
    each: dict[tuple[int, int], tuple[float, ...]] = {}
    for record in records:
        if (fitted := spared(partial(calibration.read, record.folder))) is None:
            continue
        if (told := spared(partial(runs.read_predictions, record.folder))) is None:
            continue
        both = [told.logits, told.logits / fitted.temperature]
        errors = [100 * evaluation.expected_calibration_error(one, told.labels) for one in both]
        losses = [evaluation.negative_log_likelihood(one, told.labels) for one in both]
        each[record.cell] = (fitted.temperature, *errors, *losses)
    if not each:
        return None
    means = [statistics.spread({cell: values[place] for cell, values in each.items()}).mean for place in range(5)]
    return Calibrated(len(each), *means)
