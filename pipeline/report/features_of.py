"""The features that a run was trained on, read once for the runs of a table."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pipeline import cache
from pipeline.files import Stamp, stamp
from pipeline.runs import Record


def features_of(record: Record) -> cache.Data:
    """Of all folds. ``InputError`` where they are gone, or others than the run recorded."""
    from pipeline.engine.rerun import recorded_files  # torch

    files: Any = recorded_files(record, None)
    return loaded(files, record.trained_by.features_in, tuple(map(stamp, files)))


@functools.lru_cache(maxsize=2)
def loaded(files: tuple[Path, ...], features_in: str, _states: tuple[Stamp, ...]) -> cache.Data:
    """Kept as long as the files stay as they are."""
    return cache.load(files, features_in)
