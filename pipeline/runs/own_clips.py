"""The clips of a fold that a run is tested on: of its own classes, where it does not have all of the corpus."""

from __future__ import annotations

import numpy as np

from pipeline import cache, class_subsets
from pipeline.runs.record import Record


def of_fold(record: Record, header: cache.Header) -> tuple[np.ndarray, np.ndarray]:
    """The places of a fold's clips that are of a run's classes, and their labels as it has them: (clips,) int64 each."""
    labels = np.array(header.labels, np.int64)
    own = class_subsets.chosen(record.trained_by.classes, header.classes, record.seed)
    if own is None:
        return np.arange(len(labels)), labels
    places = np.flatnonzero(np.isin(labels, own))
    return places, np.array([own.index(label) for label in labels[places].tolist()], np.int64)
