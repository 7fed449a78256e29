"""Neuron selectivity transfer: the distribution of the channels' patterns.

L = Σ over pairs of stages of [mean_ij (y_i · y_j)² + mean_ij (x_i · x_j)² − 2 mean_ij (x_i · y_j)²], mean over clips,

x_i, y_j the channels of student and teacher after their ReLU, flattened and divided by their length: the squared maximum
mean discrepancy of the polynomial kernel, which is |mean of x xᵀ − mean of y yᵀ|² and so at least 0. Huang and Wang 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.floors import directions
from pipeline.losses.needs import reduced_maps
from pipeline.losses.stages import OFTEN_LOSE, Shapes, Stages, common, full, pairs, partners, resampled

FORMULA = (
    "sum over pairs of stages of mean (y_i . y_j)^2 + mean (x_i . x_j)^2 - 2 mean (x_i . y_j)^2 per clip, "
    "x, y = channels of relu(map) over their length"
)
SOURCE = "Huang and Wang 2017 (polynomial kernel, d = 2, c = 0)"
READS = ("maps",)
TEACHER = ("maps",)
WEIGHT = 50.0
MIX = "ce:1,selectivity:50"
NOTE = OFTEN_LOSE


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes) -> Tensor | None:
    """The stages of the teacher's that are compared, whole."""
    return maps if stage in partners(student, teacher) else None


def selectivity(student: Outputs, teacher: Outputs, labels: Tensor | None, *, stages: Stages = "all") -> Tensor:
    """Discrepancy of the channels' patterns: maps (..., B, K, H, W) → (...,), no unit; channels may differ.

    ``stages``: the pairs that are compared. ``labels`` are not used.
    """
    each, kept = [], reduced_maps(reduced, student, teacher)
    for ours, theirs in pairs(student.maps, kept, stages):
        to = common(student.maps[ours], kept[theirs])
        x, y = (
            directions(resampled(full(maps).relu(), to).flatten(-2))
            for maps in (student.maps[ours], kept[theirs].detach())
        )
        each.append(likeness(y, y) + likeness(x, x) - 2 * likeness(x, y))
    return torch.stack(each).sum(0).mean(-1)


def likeness(x: Tensor, y: Tensor) -> Tensor:
    """mean_ij (x_i · y_j)²: (..., K, N), (..., K', N) → (...,)."""
    with torch.autocast(x.device.type, enabled=False):
        return (x @ y.mT).square().mean((-2, -1))
