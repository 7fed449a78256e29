"""Random numbers that are counted from a key: the same on every device and in any pack, and no table of them is kept."""

from __future__ import annotations

import torch
from torch import Tensor

#: SplitMix64 (Steele, Lea and Flood 2014): the step between two states, and the factors of its output function.
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)

#: Between the streams of one key, in states.
STREAM = 1 << 40


def bits(keys: Tensor, count: int, stream: int = 0) -> Tensor:
    """(..., count) random int64 of keys (...,) int64: the outputs of SplitMix64 with these seeds, from the place of a ``stream`` on.

    Whole numbers alone, so that they are the same on every device. Waits for nothing: fit for CUDA graphs.
    """
    states = torch.arange(1 + stream * STREAM, 1 + stream * STREAM + count, device=keys.device)
    z = keys[..., None] + states * GOLDEN
    for shift, factor in zip((30, 27), FACTORS):
        z = (z ^ shifted(z, shift)) * factor
    return z ^ shifted(z, 31)


def shifted(z: Tensor, places: int) -> Tensor:
    """z >> ``places`` of int64 as if it had no sign."""
    return (z >> places) & ((1 << (64 - places)) - 1)


def uniform_of(draws: Tensor, count: int) -> Tensor:
    """(..., count) float64 uniform in [0, 1), multiples of 2⁻⁵³, of one uniform number (...,) in [0, 1) that stands for each row."""
    keys = (draws.double() * 2**53).long()
    return shifted(bits(keys, count), 11).double() * 2.0**-53
