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
from pipeline.losses.needs import parts_of, reduced_maps
from pipeline.losses.regressors import NormalisedRegressors
from pipeline.losses.stages import OFTEN_LOSE, Shapes, Stages, at_common_size, full, mean
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


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes, stages: Stages = "all") -> Tensor | None:
    """t of a stage of the teacher's that is compared, at its common size: the margin comes after, not averaged in."""
    return at_common_size(maps, stage, student, teacher, stages)


def constants(arrays: Mapping[str, Tensor], labels: Tensor | None) -> dict[str, Tensor]:
    """m of every stage, measured on ``arrays``, what the teacher says of a run's training rows: stage → (K,)."""
    sums: dict[str, Tensor] = {}
    for part in parts_of(arrays):
        for stage, maps in stage_maps(part).items():
            sums[stage] = negatives(maps) + sums.get(stage, 0)
    return {stage: margins(each) for stage, each in sums.items()}


def negatives(maps: Tensor) -> Tensor:
    """Of each channel the sum and the number of its negative values: (rows, K, H, W) → (2, K), float64."""
    negative = full(maps).clamp_max(0)
    return torch.stack([negative.sum((0, 2, 3), dtype=torch.float64), (negative < 0).sum((0, 2, 3))])


def margins(sums: Tensor) -> Tensor:
    """Mean of the negative values of each channel, 0 where it has none: (2, K) → (K,)."""
    return sums[0] / sums[1].clamp_min(1)


def overhaul(student: Outputs, teacher: Outputs, labels: Tensor | None, *, stages: Stages = "all") -> Tensor:
    """Partial squared error: adapted maps (..., B, K, H, W) → (...,).

    0 where the student equals the teacher, or is below it where it is off. ``stages``: the pairs that are compared.
    ``labels`` are not used.
    """
    margin: Any = teacher.constants
    each, adapted = [], dict(student.adapted)
    kept = reduced_maps(reduced, student, teacher, stages=stages)
    for stage, guess in adapted.items():
        target = full(kept[stage].detach())
        target = torch.maximum(target, margin[stage].detach().to(target.dtype)[..., None, :, None, None])
        apart = full(guess) - target
        counted = (apart.detach() > 0) | (target > 0)  # a product: torch.where takes twice as long
        each.append(mean((counted * apart).square()))
    return torch.stack(each).sum(0)
