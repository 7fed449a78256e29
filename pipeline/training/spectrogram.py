"""Changes of features from step to step, on the device they lie on: circular shifts in time, masks, gain.

A table of random numbers that is passed in decides: the same table gives the same features, on any device, in any pack. Teachers
run on the very features that come out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: Of the frames and of the rows, the largest share that a mask covers.
FRAMES, ROWS = 1 / 5, 1 / 8

#: Largest gain, in dB either way.
GAIN = 6.0

#: Mel bands in dB that librosa's MFCC are of: their orthonormal DCT puts a gain into the first coefficient, times the root.
MFCC_MELS = 128


def changed(x: Tensor, draws: Tensor, means: Tensor | None = None, *, kinds: Sequence[str], levels: Tensor) -> Tensor:
    """Features (N, C, H, W), draws (N, 6) uniform in [0, 1), means (N, C, H, 1) over the training clips → (N, C, H, W).

    ``kinds``, of which any may be named: "shift", by any number of frames, what leaves at one end comes in at the other
    (``draws[:, 0]``); "mask", one block of frames and one of rows take the mean of their row of the clip (1 to 4);
    "blank", the same blocks take ``means``: zero once standardised, as in Park et al. 2019, SpecAugment; "gain", up to ``GAIN`` dB either way (5). ``levels`` (C, H, 1): what 1 dB of gain adds (``gain_levels``). Waits for
    nothing: fit for CUDA graphs.
    """
    count, channels, height, width = x.shape
    if "gain" in kinds:
        x = x + (GAIN * (2 * draws[:, 5] - 1)).view(-1, 1, 1, 1).to(x.dtype) * levels.to(x)
    if "shift" in kinds:
        by = (draws[:, :1] * width).floor().long()
        columns = (torch.arange(width, device=x.device) - by) % width
        x = x.gather(3, columns[:, None, None, :].expand(count, channels, height, width))
    if "mask" in kinds or "blank" in kinds:
        frames = covered(draws[:, 1:3], width, FRAMES)[:, None, None, :]
        rows = covered(draws[:, 3:5], height, ROWS)[:, None, :, None]
        if "mask" in kinds:
            filling = x.mean(3, keepdim=True)
        elif means is None:
            raise ValueError("blank needs the means over the training clips")
        else:
            filling = means.to(x)
        x = torch.where(frames | rows, filling, x)
    return x


def covered(draws: Tensor, size: int, share: float) -> Tensor:
    """(N, size) boolean: a block of up to ``share`` of the places; draws (N, 2) choose its length and where it begins."""
    most = math.floor(share * size)
    length = (draws[:, :1] * (most + 1)).floor().clamp(max=most)
    start = (draws[:, 1:] * (size - length + 1)).floor().minimum(size - length)
    places = torch.arange(size, device=draws.device)
    return (places >= start) & (places < start + length)


def gain_levels(names: Sequence[str], bins: int) -> Tensor:
    """(C, bins, 1) float32: what a gain of 1 dB adds to the rows of the features ``names``; chromagrams and PCEN are relative."""
    levels = torch.zeros(len(names), bins, 1)
    for channel, name in enumerate(names):
        if name == "melspectrogram":
            levels[channel] = 1.0
        elif name == "mfcc":
            levels[channel, 0] = math.sqrt(MFCC_MELS)
    return levels
