"""Probabilistic knowledge transfer: each clip's distribution over its neighbours.

K_ij = (cos(x_i, x_j) + 1) / 2,  p_ij = K_ij / Σ_j K_ij of the teacher, q_ij of the student;
L = mean over i of Σ_j p_ij ln[(p_ij + ε) / (q_ij + ε)],  ε = 10⁻⁷.

Passalis and Tefas 2018 (ECCV). The sum runs over all j, the clip itself too, as in their code; without it (``diagonal`` = false) as
their paper is remembered. Public code (the authors', RepDistiller, mdistiller, torchdistill) takes the mean over the B² entries:
theirs is ours / B, and their weight of 30000 at B = 64 is 469 here. It adds 10⁻⁷ to a length, where the gradient may be 10⁷.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.floors import directions
from pipeline.losses.probabilities import mean_of_clips

FORMULA = (
    "mean over i of sum over j of p_ij ln[(p_ij + 1e-7) / (q_ij + 1e-7)], p_ij (teacher), q_ij (student) = K_ij / sum over j of "
    "K_ij, K_ij = (cos(x_i, x_j) + 1) / 2"
)
SOURCE = (
    "Passalis and Tefas 2018 (ECCV), and their code, whose value is ours / B; diagonal = false from memory of the paper"
)
READS = ("embedding",)
TEACHER = ("embedding",)
WEIGHT = 469.0
MIX = "ce:1,affinity:469"
ROWS = 2  # a clip alone has no neighbour
LEAST_AT_TEACHER = False  # ε moves the least by about 10⁻⁷

#: What both probabilities are raised by.
EPSILON = 1e-7

#: A clip whose likeness to all others sums to less counts as if it were this much: without itself, it may be opposite to all.
LEAST = 1e-3


def affinity(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    diagonal: bool = True,
    layer: Literal["embedding", "hidden"] = "embedding",
) -> Tensor:
    """Divergence of the distributions over neighbours: embeddings (..., B, D) → (...,), in nats; widths may differ.

    ``diagonal``: whether a clip is a neighbour of itself; ``layer``: the student's output that is compared; ``rows`` (..., B): the
    clips that count (None: all), as neighbours too. ε may make the least value −10⁻⁷. ``labels`` are not used.
    """
    ours, theirs = getattr(student, layer), teacher.embedding.detach()
    q, p = (neighbours(x, rows, diagonal) for x in (ours, theirs))
    return as_result(mean_of_clips((p * ((p + EPSILON) / (q + EPSILON)).log()).sum(-1), rows), ours)


def neighbours(embeddings: Tensor, rows: Tensor | None, diagonal: bool) -> Tensor:
    """p of each clip over all, in float64: (..., B, D) → (..., B, B); 0 for neighbours that do not count."""
    unit = directions(embeddings.double(), rows)
    likeness = ((unit @ unit.mT + 1) / 2).clamp_min(0)  # rounding may make antipodal rows a little less
    if rows is not None:
        likeness = torch.where(rows[..., None, :], likeness, 0.0)
    if not diagonal:
        likeness = likeness * (1 - torch.eye(likeness.shape[-1], dtype=likeness.dtype, device=likeness.device))
    total = likeness.sum(-1, keepdim=True)
    return likeness / torch.maximum(total, torch.full_like(total, LEAST))
