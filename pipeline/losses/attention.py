"""Attention transfer: where in time and frequency a layer is active.

a(n, h, w) = mean over channels of f², f a map after its ReLU;  Q = a / |a| over the cells of a clip;
L = Σ over pairs of stages of mean over clips and cells of (Q_s − Q_t)².

Zagoruyko and Komodakis 2017 ("activation-based", the sum of squares), as their code has it. Their paper's equation has
(β / 2) · |Q_s − Q_t| of each clip instead, not squared: ``form`` = paper is the mean over clips of that length.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.floors import directions
from pipeline.losses.needs import reduced_maps
from pipeline.losses.probabilities import mean_of_clips
from pipeline.losses.stages import OFTEN_LOSE, Shapes, Stages, common, full, pairs, partners, resampled

FORMULA = "sum over pairs of stages of mean (Q_s - Q_t)^2, Q = a / |a| per clip, a = mean over channels of relu(map)^2"
SOURCE = "Zagoruyko and Komodakis 2017, and their code"
READS = ("maps",)
TEACHER = ("maps",)
WEIGHT = 1000.0
MIX = "ce:1,attention:1000"
NOTE = OFTEN_LOSE


def activity(maps: Tensor) -> Tensor:
    """a, the mean over channels of the squared activation: (..., K, H, W) → (..., H, W)."""
    return full(maps).relu().square().mean(-3)


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes) -> Tensor | None:
    """a of a stage of the teacher's that is compared: one number a cell."""
    return activity(maps) if stage in partners(student, teacher) else None


def attention(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    stages: Stages = "all",
    form: Literal["code", "paper"] = "code",
) -> Tensor:
    """Difference of the attention maps: maps (..., B, K, H, W) → (...,), no unit; channels may differ.

    ``stages``: the pairs that are compared; ``rows`` (..., B): the clips that count (None: all), for the floor of |a| too. ``form``: code, the mean of the squared differences over clips and cells, or
    paper, the mean over clips of their length. The gradient stays below 2 / √(10⁻⁶ · K). ``labels`` are not used.
    """
    each, kept = [], reduced_maps(reduced, student, teacher)
    for ours, theirs in pairs(student.maps, kept, stages):
        to = common(student.maps[ours], kept[theirs])
        both = activity(student.maps[ours]), kept[theirs].detach()
        apart = torch.sub(*(directions(resampled(a, to).flatten(-2), rows) for a in both))
        if form == "paper":
            each.append(mean_of_clips(torch.linalg.vector_norm(apart, dim=-1), rows))
        else:
            squares = apart.square()
            each.append(squares.mean((-2, -1)) if rows is None else mean_of_clips(squares.mean(-1), rows))
    return torch.stack(each).sum(0)
