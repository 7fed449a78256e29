"""Overhaul: what the teacher activates, and no more than that it is off where it is off.

L = Σ over pairs of stages of mean ℓ,  ℓ = 0 where s ≤ τ ≤ 0, else (s − τ)²,  τ = max(t, m_c),

s the adapted student and t the teacher before their ReLU, m_c the mean of the negative values of the teacher's channel c
over the training rows. Heo et al., ICCV 2019, eq. 1 to 4 (margin ReLU, partial L2). Their code takes m_c from the last
batch norm as of a Gaussian; a block's shortcut adds to it, so it is measured here. They sum over a clip's values, divide by
1000 and halve each earlier stage: for ``cnn2`` from ``resnet18`` at (5, 20, 173) exactly 6.88 of these means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.needs import parts_of
from pipeline.losses.regressors import NormalisedRegressors, Shapes
from pipeline.losses.stages import OFTEN_LOSE, Stages, compared, full, mean
from pipeline.models.outputs import stage_maps

FORMULA = (
    "sum over pairs of stages of mean (s - u)^2, 0 where s <= u <= 0, u = max(t, margin), s = norm(A map), t = map, "
    "before ReLU, margin = mean of a teacher channel's negative values over the training rows"
)
SOURCE = "Heo et al., ICCV 2019, eq. 1 to 4, as a mean; margins measured"
READS = ("maps",)
TEACHER = ("maps",)
WEIGHT = 6.88
MIX = "ce:1,overhaul:6.88"
NOTE = OFTEN_LOSE


def adapter(student: Shapes, teacher: Shapes, *, stages: Stages = "all") -> nn.Module:
    """A 1 × 1 convolution and batch norm for each pair."""
    return NormalisedRegressors(student, teacher, stages, where_equal=True)


def constants(arrays: Mapping[str, Tensor], labels: Tensor | None) -> dict[str, Tensor]:
    """m of every stage, measured on ``arrays``, what the teacher says of a run's training rows: stage → (K,)."""
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    for part in parts_of(arrays):
        for stage, maps in stage_maps(part).items():
            total, count = negatives(maps)
            before = sums.get(stage, (torch.zeros_like(total), torch.zeros_like(count)))
            sums[stage] = before[0] + total, before[1] + count
    return {stage: (total / count.clamp_min(1)).float() for stage, (total, count) in sums.items()}


def margins(maps: Tensor, rows: int = 256) -> Tensor:
    """Mean of the negative values of each channel, 0 where it has none: (N, K, H, W) → (K,); ``rows`` of them at a time."""
    total, count = negatives(maps, rows)
    return (total / count.clamp_min(1)).to(torch.promote_types(maps.dtype, torch.float32))


def negatives(maps: Tensor, rows: int = 256) -> tuple[Tensor, Tensor]:
    """Sum and number of each channel's negative values: (N, K, H, W) → twice (K,), float64 and int64."""
    total = torch.zeros(maps.shape[1], dtype=torch.float64, device=maps.device)
    count = torch.zeros_like(total, dtype=torch.int64)
    for part in maps.split(rows):
        negative = full(part).clamp_max(0)
        total = total + negative.sum((0, 2, 3), dtype=torch.float64)
        count = count + (negative < 0).sum((0, 2, 3))
    return total, count


def overhaul(student: Outputs, teacher: Outputs, labels: Tensor | None, *, stages: Stages = "all") -> Tensor:
    """Partial squared error: adapted maps (..., B, K, H, W) → (...,).

    0 where the student equals the teacher, or is below it where it is off. ``stages``: the pairs that are compared.
    ``labels`` are not used.
    """
    margin_of: Any = teacher.constants
    each = []
    for stage, guess, target in compared(student.adapted, teacher.maps, rectified=False):
        margin = margin_of[stage].detach().to(target.dtype)
        target = torch.maximum(target, margin[..., None, :, None, None])
        apart = guess - target
        each.append(mean(torch.where(target > 0, apart, apart.clamp_min(0)).square()))
    return torch.stack(each).sum(0)
