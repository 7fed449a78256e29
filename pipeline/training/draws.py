"""Random numbers of a step, from tables of an epoch that are known before its first step, so that nothing of them is saved.

Terms draw from a table. Noise of a whole batch would be too large for one: a table holds a key per step and run, and the step
computes the numbers from it, on the device, the same in any pack and order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline import samplers
from pipeline.losses import library
from pipeline.losses.counted import GOLDEN, bits, shifted
from pipeline.training.randomness import generator
from pipeline.training.sampling import steps_of

if TYPE_CHECKING:
    from pipeline.training.task import Run


def draws_tables(
    runs: Sequence[Run],
    members: Mapping[str, Sequence[int]],
    batch: int,
    epoch: int,
    stopped: Sequence[bool],
    device: torch.device,
    sampler: str = samplers.SHUFFLE,
) -> dict[str, Tensor]:
    """Key of a term that draws → (steps, R', B, n) float32, uniform in [0, 1), of the R' runs that have it.

    ``members``: key of a term → the runs that have it; ``sampler``: how their batches are drawn. A run's numbers depend on
    (key, seed, fold, epoch) alone. Steps beyond a run's own, and runs that have ``stopped``, hold zeros.
    """
    counts = [0 if stop else steps_of(run, batch, sampler) for run, stop in zip(runs, stopped)]
    steps = max(counts)
    tables = {}
    for key, rows in members.items():
        each = library.draws(key.partition("@")[0], batch)
        if not each:
            continue
        table = torch.zeros(steps, len(rows), batch, each)
        for place, r in enumerate(rows):
            if not stopped[r]:
                count = counts[r]
                random = generator(f"draws {key}", runs[r], epoch)
                table[:count, place] = torch.rand((count, batch, each), generator=random)
        tables[key] = table.to(device)
    return tables


def uniform(keys: Tensor, count: int, stream: int = 0) -> Tensor:
    """(n, count) float32 uniform in [0, 1), multiples of 2⁻²⁴, of keys (n,): of (key, stream) alone, in any pack."""
    if keys.device.type == "cpu":  # thirty times as fast as counting there, and other numbers
        return torch.stack([torch.rand(count, generator=seeded(key, stream)) for key in keys.tolist()])
    return shifted(bits(keys, count, stream), 40).float() * 2.0**-24


def normal(keys: Tensor, count: int, stream: int = 0) -> Tensor:
    """(n, count) float32 of mean 0 and deviation 1 of keys (n,): as ``uniform``; by Box and Muller 1958 where counted."""
    if keys.device.type == "cpu":
        return torch.stack([torch.randn(count, generator=seeded(key, stream)) for key in keys.tolist()])
    half = -(-count // 2)
    both = bits(keys, half, stream)  # 24 bits each for radius and angle
    radius = (shifted(both, 40).float() + 1).mul_(2.0**-24).log_().mul_(-2).sqrt_()
    angle = ((both >> 8) & 0xFFFFFF).float().mul_(2 * math.pi * 2.0**-24)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count]


def seeded(key: int, stream: int) -> torch.Generator:
    return torch.Generator().manual_seed((key + stream * GOLDEN) & (2**63 - 1))
