"""Half the teacher's blocks: between teacher and student in multiplications, which a teacher's assistant should be."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.models.residual import ResNet


def resnet10(shape: Sequence[int], classes: int) -> ResNet:
    """Basic blocks 1-1-1-1 of the teacher's widths 8, 16, 32, 64, average-pooled to 1 × 4; embedding = hidden = the 256."""
    return ResNet(shape, classes, widths=(8, 16, 32, 64), blocks=1, columns=4)
