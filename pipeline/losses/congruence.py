"""Correlation congruence: how like two clips are, by a kernel of their directions.

x̂ = rows over their length;  L = mean over the B² pairs of (k(s_i, s_j) − k(t_i, t_j))²,

    gaussian   k(x, y) = e^(−2γ) Σ_{p = 0..P} (2γ)^p / p! · (x̂ · ŷ)^p, the Taylor series of the next
    exact      k(x, y) = exp(−γ |x̂ − ŷ|²)
    bilinear   k(x, y) = x̂ · ŷ

Peng et al. 2019 (ICCV). Public code is three different things: that of RepDistiller has no kernel but products of the differences
of neighbours in the batch, with linear layers on both sides, so that a constant output is its minimum; torchdistill has the series
without unit rows, and a norm that is not squared; the third, widely copied, is this one. No published weight fits it.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.floors import directions
from pipeline.losses.probabilities import Number
from pipeline.losses.rows import mean_of_clip_pairs

FORMULA = "mean over i, j of (k(s_i, s_j) - k(t_i, t_j))^2, k(x, y) = exp(-2 gamma) * sum over p = 0..P of (2 gamma cos(x, y))^p / p!"
SOURCE = "Peng et al. 2019 (ICCV), from memory; as widely copied code has it, with a weight of this project's"
READS = ("embedding",)
TEACHER = ("embedding",)
WEIGHT = 100.0
MIX = "ce:1,congruence:100"
ROWS = 2  # of one clip there is its likeness to itself alone
WITH = {"gamma": ("kernel=gaussian", "kernel=exact"), "P": ("kernel=gaussian",)}


def congruence(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    kernel: Literal["gaussian", "exact", "bilinear"] = "gaussian",
    gamma: Annotated[Number, "(0, 10]"] = 0.4,
    P: Annotated[int, "[1, 10]"] = 2,
    layer: Literal["embedding", "hidden"] = "embedding",
) -> Tensor:
    """Difference of the clips' likeness: embeddings (..., B, D) → (...,), no unit; widths may differ.

    ``gamma`` and ``P``, the order of the series, are those of the kernel; ``layer``: the student's output that is compared;
    ``rows`` (..., B): the clips that count (None: all). ``labels`` are not used.
    """
    ours, theirs = getattr(student, layer), teacher.embedding.detach()
    of_student, of_teacher = (likeness(directions(x.double(), rows), kernel, gamma, P) for x in (ours, theirs))
    return as_result(mean_of_clip_pairs((of_student - of_teacher).square(), rows), ours)


def likeness(unit: Tensor, kernel: str, gamma: Number, order: int) -> Tensor:
    """k of all pairs of unit rows: (..., B, D) → (..., B, B)."""
    cosines = unit @ unit.mT
    if kernel == "bilinear":
        return cosines
    double = 2 * torch.as_tensor(gamma, dtype=cosines.dtype, device=cosines.device)
    if kernel == "exact":
        squares = unit.square().sum(-1)  # 1, but of a row below the floor
        return (double * (cosines - (squares[..., :, None] + squares[..., None, :]) / 2)).exp()
    series = sum((double * cosines) ** p / math.factorial(p) for p in range(order + 1))
    return (-double).exp() * series
