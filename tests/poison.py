"""What a training that must not read a fold is tried with: that fold's features are NaN, its labels others."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pipeline import cache
from pipeline.engine import outputs


def poisoned(patch: pytest.MonkeyPatch, fold: int) -> None:
    """Every load of features from now on gives NaN for the clips of a fold, and other labels."""
    load = cache.load

    def with_nan(*arguments: Any, **options: Any) -> cache.Data:
        data = load(*arguments, **options)
        features, labels = data.features.copy(), data.labels.copy()
        features[data.folds == fold] = np.nan
        labels[data.folds == fold] = (labels[data.folds == fold] + 1) % len(data.classes)
        return dataclasses.replace(data, features=features, labels=labels)

    patch.setattr(cache, "load", with_nan)
    outputs.loaded.cache_clear()
    outputs.taught.cache_clear()
