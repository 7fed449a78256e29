"""Ensembles: any number of runs of one fold as one, from what they left on disk.

Conventions. The ensemble's answer is the mean of its members' class probabilities (Furlanello et al. 2018, BAN's
ensemble; Cho et al. 2023, section 4.3.1), kept as its logarithm, so that a softmax gives the mean back. For the
relations its embedding is the members' embeddings side by side, each of length 1, so that none outweighs the others.
Where clips have several labels the mean is that of each class' sigmoid, kept as its log odds, so that a sigmoid gives it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline import runs
from pipeline.config import InputError
from pipeline.figures import evaluation
from pipeline.label_sets import mean_log_odds
from pipeline.runs import Predictions


def mean_log_probabilities(logits: Sequence[np.ndarray]) -> np.ndarray:
    """log(mean over the members of softmax(logits)): M × (clips, classes) → (clips, classes) float64."""
    members = np.stack([evaluation.log_softmax(one) for one in logits])
    top = members.max(axis=0)
    return top + np.log(np.exp(members - top).mean(axis=0))


def ensemble(folders: Sequence[Path], *, rows: bool = False) -> Predictions:
    """The kept predictions of finished runs as one; ``logits`` are the log of the mean probabilities, or their log odds. ``rows``: of windows, not files.

    Raises ``InputError`` without runs, and for runs of another fold, other clips, labels or classes than the first's.
    """
    if not folders:
        raise InputError("an ensemble of no runs; expected at least one run folder")
    members = [(runs.read_rows if rows else runs.read_predictions)(folder) for folder in folders]
    folds = [runs.read(folder).fold for folder in folders]
    first = members[0]
    for folder, member, fold in zip(folders, members, folds, strict=True):
        if fold != folds[0]:
            raise InputError(
                f"{folder} is of fold {fold}, {folders[0]} of fold {folds[0]}: they were tested on other "
                "clips; expected runs of one fold"
            )
        same = np.array_equal(member.clips, first.clips) and np.array_equal(member.labels, first.labels)
        if not same or member.logits.shape != first.logits.shape:
            raise InputError(
                f"{folder} was tested on other clips, labels or classes than {folders[0]}; expected runs of "
                "one corpus in one state"
            )
    each = [member.logits for member in members]
    together = mean_log_probabilities(each) if first.labels.ndim == 1 else mean_log_odds(np.stack(each))
    return first._replace(logits=together.astype(np.float32))
