"""A teacher of ``small`` and ``tiny``: 390,890 weights at (1, 64, 173) and 10 classes."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.models.pooled_cnn import PooledCNN


def large(shape: Sequence[int], classes: int) -> PooledCNN:
    """Four convolutions of widths 32, 64, 128, 256; embedding = hidden = the 256."""
    return PooledCNN("large", shape, classes, (32, 64, 128, 256))
