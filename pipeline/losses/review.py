"""Knowledge review: deep stages of the student also learn from shallow ones of the teacher.

Fusion, from the deepest stage to the first, each after its ReLU:  u = norm(1 × 1 convolution of the student's map);
    r = u at the deepest, else u · a₁ + v · a₂ with v the r of the stage behind it at u's size, a = σ(1 × 1 convolution of [u, v]);
    r is brought to the size of the teacher's map, and handed on;  out = norm(3 × 3 convolution of r).
L = Σ over pairs of stages of Σ_l c_l · mean (out_l − t_l)² / Σ c_l,  t the teacher's map before its ReLU, at full size with c = 1, then
    averaged to l × l cells for l = 4, 2, 1 where the map is larger, each with half the weight of the one before.

Chen et al. 2021 (CVPR). Their code compares l with the height alone, takes sizes for squares, and has the pooled feature as a stage of its
own, which is left out here; its weight is 5, 0.6 or 1 by network, and rises over 20 epochs, of which the authors' first has 0.
``grid`` = wide averages to l × 4l cells: 4 × 4 is coarse in time.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.needs import reduced_maps
from pipeline.losses.stages import OFTEN_LOSE, Shapes, Stages, full, mean, nearest, pairs, partners, resampled, size
from pipeline.models.outputs import stage_maps
from pipeline.models.residual import batch_norm

FORMULA = (
    "sum over pairs of stages of the weighted mean over sizes (full, and 4 x 4, 2 x 2, 1 x 1 where smaller; weights 1, 1/2, 1/4, "
    "1/8) of mean (out - t)^2, out = fusion of this stage of the student's and the deeper ones, t = map before ReLU"
)
SOURCE = "Chen et al. 2021 (CVPR), as their code; two changes of this project's: no pooled stage, sizes by both axes"
READS = ("maps",)
TEACHER = ("maps",)
WEIGHT = 1.0
MIX = "ce:1,review:1@warm=20"
NOTE = OFTEN_LOSE

#: Cells of a side of the coarser comparisons.
LEVELS = (4, 2, 1)

#: The most channels of the fusion.
WIDEST = 512

#: How many times as many cells along time as along frequency.
ACROSS = {"square": 1, "wide": 4}


class Fusion(nn.Module):
    """``Outputs`` → {teacher's stage: (B, K_t, H, W)}, of the teacher's size."""

    def __init__(self, student: Shapes, teacher: Shapes, stages: str) -> None:
        super().__init__()
        ours, theirs = stage_maps(student), stage_maps(teacher)
        self.pairs = pairs(ours, theirs, stages)
        self.sizes = [size(theirs[partner]) for _, partner in self.pairs]
        width = min(WIDEST, ours[self.pairs[-1][0]][0])
        self.inward = nn.ModuleList(
            normalised(nn.Conv2d(ours[name][0], width, 1, bias=False)) for name, _ in self.pairs
        )
        self.attention = nn.ModuleList(nn.Conv2d(2 * width, 2, 1) for _ in self.pairs[:-1])
        self.outward = nn.ModuleList(
            normalised(nn.Conv2d(width, theirs[partner][0], 3, padding=1, bias=False)) for _, partner in self.pairs
        )

    def forward(self, outputs: Outputs) -> dict[str, Tensor]:
        told: dict[str, Tensor] = {}
        deeper: Tensor | None = None
        for number in reversed(range(len(self.pairs))):
            name, partner = self.pairs[number]
            u = self.inward[number](F.relu(outputs[name]))
            residual = u if deeper is None else fused(u, nearest(deeper, size(u)), self.attention[number])
            deeper = nearest(residual, self.sizes[number])
            told[partner] = self.outward[number](deeper)
        return {partner: told[partner] for _, partner in self.pairs}


def normalised(convolution: nn.Conv2d) -> nn.Module:
    return nn.Sequential(convolution, batch_norm(convolution.out_channels))


def fused(u: Tensor, v: Tensor, attention: nn.Module) -> Tensor:
    """u · a₁ + v · a₂, a the attention of each cell: two maps (B, M, H, W) → (B, M, H, W)."""
    a = attention(torch.cat([u, v], -3)).sigmoid()
    return u * a[..., :1, :, :] + v * a[..., 1:, :, :]


def adapter(student: Shapes, teacher: Shapes, *, stages: Stages = "all") -> nn.Module:
    """The fusion of the compared stages."""
    return Fusion(student, teacher, stages)


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes, stages: Stages = "all") -> Tensor | None:
    """The compared stages of the teacher's, whole, before their ReLU."""
    return maps if stage in partners(student, teacher, stages) else None


def review(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    *,
    stages: Stages = "all",
    grid: Literal["square", "wide"] = "square",
) -> Tensor:
    """Squared error at several sizes: adapted maps (..., B, K, H, W) → (...,).

    ``stages``: the pairs that are compared, and that the fusion is of; ``grid``: l × l cells, or l × 4l. The gradient by out is at most
    2 |out − t| / N. ``labels`` are not used.
    """
    kept = reduced_maps(reduced, student, teacher, stages=stages)
    each = [
        at_all_sizes(full(out) - full(kept[stage].detach()), ACROSS[grid])
        for stage, out in dict(student.adapted).items()
    ]
    return torch.stack(each).sum(0)


def at_all_sizes(apart: Tensor, across: int) -> Tensor:
    """Weighted mean of the mean squares of a difference (..., B, K, H, W), whole and averaged to fewer cells: (...,)."""
    height, width = size(apart)
    value, weight, total = mean(apart.square()), 1.0, 1.0
    for cells in LEVELS:
        if cells < height and across * cells < width:
            weight /= 2
            total += weight
            value = value + weight * mean(resampled(apart, (cells, across * cells)).square())
    return value / total
