"""The CIFAR network of He et al. 2016; 861,620 parameters at (3, 32, 32) and 100 classes."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.models.residual import ResNet


def resnet56(shape: Sequence[int], classes: int) -> ResNet:
    """Basic blocks 9-9-9 of widths 16, 32, 64; a 1 × 1 convolution and batch norm where the shape changes (option B)."""
    return ResNet(shape, classes, widths=(16, 32, 64), blocks=9, columns=1)
