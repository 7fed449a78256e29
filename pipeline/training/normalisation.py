"""Mean and standard deviation of the training rows, by which a network standardises its input."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

#: What has a mean and a deviation of its own → the axes of (rows, C, H, W) that they are taken over.
AXES = {"bin": (0, 3), "channel": (0, 2, 3)}


def normalisation(samples: Tensor, rows: np.ndarray, per: str = "bin", chunk: int = 64) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C, H, 1) over the given rows; float64 sums, float32 result (float64 for float64).

    ``per``: "bin", of each feature and bin over all frames (rows of features have units and ranges of their own); or
    "channel", of each channel of images over all pixels. What is constant gets the standard deviation 1, so that it
    becomes 0 and not infinity.
    """
    axes = AXES[per]
    index = torch.from_numpy(np.ascontiguousarray(rows)).to(samples.device)
    shift = (
        samples.index_select(0, index[:chunk]).double().mean(axes, keepdim=True)
    )  # any value near the mean: squares then lose no digits
    total, square, count = torch.zeros_like(shift), torch.zeros_like(shift), 0
    for part in index.split(chunk):
        x = samples.index_select(0, part).double() - shift
        total += x.sum(axes, keepdim=True)
        square += x.square().sum(axes, keepdim=True)
        count += math.prod(x.shape[axis] for axis in axes)
    mean = total / count
    std = (square / count - mean.square()).clamp(min=0).sqrt()
    mean = (mean + shift)[0]
    std = torch.where(std[0] > 1e-6 * mean.abs() + 1e-12, std[0], 1.0)
    dtype, shape = torch.promote_types(samples.dtype, torch.float32), (*samples.shape[1:3], 1)
    return mean.to(dtype).expand(shape).contiguous(), std.to(dtype).expand(shape).contiguous()
