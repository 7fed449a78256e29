"""Crop and flip of images, on the device they lie on: He et al. 2016, section 4.2.

Images are padded by 4 pixels per side, a window of the old size is cut out, and half of them are mirrored. A table of
random numbers that is passed in decides which: the same table gives the same images, on any device, in any pack.
"""

from __future__ import annotations

import torch
from torch import Tensor

PADDING = 4


def crop_and_flip(x: Tensor, draws: Tensor, *, fill: Tensor | None = None, padding: int = PADDING) -> Tensor:
    """Images (N, C, H, W), draws (N, 3) uniform in [0, 1) → (N, C, H, W).

    ``draws[:, 0]`` and ``[:, 1]`` choose the window's row and column among 2·padding + 1 each, ``[:, 2]`` < ½ mirrors
    left and right. ``fill`` (C, 1, 1) is what the padding shows, 0 by default; the mean of the training images is what
    He et al. have, whose images are centred before they are padded. Waits for nothing: fit for CUDA graphs.
    """
    _, channels, height, width = x.shape
    shifts = (draws[:, :2] * (2 * padding + 1)).floor().clamp(max=2 * padding).long() - padding
    columns = torch.arange(width, device=x.device)
    mirrored = torch.where(draws[:, 2:] < 0.5, width - 1 - columns, columns)
    rows = torch.arange(height, device=x.device) + shifts[:, :1]
    columns = mirrored + shifts[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    cropped = x.gather(2, rows[:, None, :, None].expand(-1, channels, -1, width))
    cropped = cropped.gather(3, columns[:, None, None, :].expand(-1, channels, height, -1))
    edge = x.new_zeros(()) if fill is None else fill.to(x)
    return torch.where(inside[:, None], cropped, edge)
