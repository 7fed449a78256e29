"""Mean and standard deviation of the training rows, by which a network standardises its input."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def normalisation(samples: Tensor, rows: np.ndarray, chunk: int = 64) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C, H, 1) over the given rows and all frames; float64 sums, float32 result (float64 for float64).

    A feature and bin that is constant gets the standard deviation 1, so that it becomes 0 and not infinity.
    """
    index = torch.from_numpy(np.ascontiguousarray(rows)).to(samples.device)
    shift = (
        samples.index_select(0, index[:chunk]).double().mean((0, 3), keepdim=True)
    )  # any value near the mean: squares then lose no digits
    total, square, count = torch.zeros_like(shift), torch.zeros_like(shift), 0
    for part in index.split(chunk):
        x = samples.index_select(0, part).double() - shift
        total += x.sum((0, 3), keepdim=True)
        square += x.square().sum((0, 3), keepdim=True)
        count += x.shape[0] * x.shape[3]
    mean = total / count
    std = (square / count - mean.square()).clamp(min=0).sqrt()
    mean = (mean + shift)[0]
    std = torch.where(std[0] > 1e-6 * mean.abs() + 1e-12, std[0], 1.0)
    dtype = torch.promote_types(samples.dtype, torch.float32)
    return mean.to(dtype), std.to(dtype)
