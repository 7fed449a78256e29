"""The smallest student: 22,754 weights at (1, 64, 173) and 10 classes, 23,042 with five features."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.models.pooled_cnn import PooledCNN


def tiny(shape: Sequence[int], classes: int) -> PooledCNN:
    """Four convolutions of widths 8, 16, 32, 56; embedding = hidden = the 56."""
    return PooledCNN("tiny", shape, classes, (8, 16, 32, 56))
