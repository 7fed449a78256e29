"""A student that may be shipped: 98,682 weights at (1, 64, 173) and 10 classes, 99,258 with five features."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.models.pooled_cnn import PooledCNN


def small(shape: Sequence[int], classes: int) -> PooledCNN:
    """Four convolutions of widths 16, 32, 64, 128; embedding = hidden = the 128."""
    return PooledCNN("small", shape, classes, (16, 32, 64, 128))
