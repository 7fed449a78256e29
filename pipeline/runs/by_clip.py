"""What a run says of whole files, where its clips are windows of them: the mean over the windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.corpus.windows import clip_of
from pipeline.label_sets import mean_log_odds
from pipeline.runs.folder import Predictions, read_rows


def read_predictions(folder: Path) -> Predictions:
    """The held-out fold's predictions, a row per file; see ``Predictions`` for shapes. ``read_rows``: a row per window."""
    return by_clip(read_rows(folder))


def by_clip(rows: Predictions) -> Predictions:
    """The predictions with one row per file, in the order of the first windows; as they are where no clip is a window.

    ``logits`` are the logarithm of the mean over a file's windows of their class probabilities, as ``predict`` answers: a softmax
    gives that mean back. A file of one window keeps its row. Of clips with several labels they are such that a sigmoid gives it back.
    """
    names = [clip_of(str(name)) for name in rows.clips]
    if names == [str(name) for name in rows.clips]:
        return rows
    places = places_of(names)
    first = [places_of_file[0] for places_of_file in places]
    return Predictions(
        np.array([names[place] for place in first]),
        rows.labels[first],
        (mean_of_windows if rows.labels.ndim == 1 else mean_of_sigmoids)(rows.logits, places),
        rows.sources[first],
    )


def places_of(names: Sequence[str]) -> list[list[int]]:
    """The rows of each file."""
    places: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        places.setdefault(name, []).append(row)
    return list(places.values())


def mean_of_windows(logits: np.ndarray, places: Sequence[Sequence[int]]) -> np.ndarray:
    """(rows, classes), the rows of each file → (files, classes) float32; NaN where an output of a window is."""
    means = []
    for rows in places:
        values = logits[list(rows)].astype(np.float64)
        if len(rows) > 1:
            values = values - values.max(axis=1, keepdims=True)
            values = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
            top = values.max(axis=0)
            values = (top + np.log(np.exp(values - top).mean(axis=0)))[None]
        means.append(values[0])
    return np.array(means).astype(np.float32)


def mean_of_sigmoids(logits: np.ndarray, places: Sequence[Sequence[int]]) -> np.ndarray:
    """``mean_of_windows`` of classes each by itself, as log odds."""
    return np.array([mean_log_odds(logits[list(rows)]) for rows in places]).astype(np.float32)
