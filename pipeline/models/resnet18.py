"""The teacher of the paper: a narrow ResNet-18 (Cho et al. 2023); 178,466 parameters at (5, 20, 173) and 10 classes."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.models.residual import ResNet


def resnet18(shape: Sequence[int], classes: int) -> ResNet:
    """Basic blocks 2-2-2-2 of widths 8, 16, 32, 64 (He et al. 2016), average-pooled to 1 × 4; embedding = hidden = the 256."""
    return ResNet(shape, classes, widths=(8, 16, 32, 64), blocks=2, columns=4)
