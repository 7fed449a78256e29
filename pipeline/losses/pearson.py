"""The order and the proportions of probabilities, not their size: for a teacher that is much stronger.

p = softmax(z / T), ρ the correlation of two vectors:
inter = 1 − mean over clips of ρ(p_s, p_t),  intra = 1 − mean over classes of ρ over the clips of the batch
L = T² · (beta · inter + gamma · intra)

Huang et al. 2022 (NeurIPS, DIST). Unchanged where a row (of inter) or a column (of intra) of probabilities becomes a p + c; a
factor on the outputs does change it. T² stands in the authors' classification code, not in the paper's listing. Published code
adds 10⁻⁸ to the product of the lengths; here a centred length is at least 10⁻⁴. Of two clips every ρ is ±1 and of one there is
none: intra is 0 then, without gradient.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.probabilities import Number, mean_of_clips, per_run

FORMULA = "T^2 (beta (1 - mean over clips of corr(p_s, p_t)) + gamma (1 - mean over classes of corr over clips)), p = softmax(z / T)"
SOURCE = (
    "Huang et al. 2022 (NeurIPS), DIST, as their classification code (T^2 is not in the paper's listing); the floor of the lengths "
    "and intra = 0 for two clips or fewer are this project's"
)
READS = ("logits",)
TEACHER = ("logits",)
WEIGHT = 2.0
MIX = "ce:1,pearson:2"
CLASSES = 3  # of two every correlation of a clip is 1 or -1
NOTE = "published with T = 1 on ImageNet, 4 on CIFAR-100; intra compares clips: 0 for batches of two or fewer"

#: A centred vector of probabilities that is shorter counts as this long.
SHORTEST = 1e-4

Share = Annotated[Number, "[0, inf)"]


def check(beta: object = 1.0, gamma: object = 1.0, **others: object) -> None:
    """``InputError`` where neither part counts."""
    if beta == 0 and gamma == 0:
        raise InputError("pearson: beta = 0 and gamma = 0 leave nothing to learn; expected one of them above 0")


def pearson(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    T: Number = 1.0,
    beta: Share = 1.0,
    gamma: Share = 1.0,
) -> Tensor:
    """Correlation distance of probabilities: logits (..., B, C) → (...,), from 0 to 2 T² (beta + gamma).

    ``T`` is the temperature, positive; ``beta`` weighs the part of each clip, ``gamma`` that of each class. ``rows`` (..., B):
    the clips that count (None: all). ``labels`` are not used.
    """
    p, q = (softened(z, T) for z in (student.logits, teacher.logits.detach()))
    between = 1 - mean_of_clips(inter(p, q), rows)
    value = T**2 * (beta * between + gamma * intra(p, q, rows))
    if rows is not None:
        value = torch.where(rows.any(-1), value, 0.0)
    return as_result(value, student.logits)


def softened(z: Tensor, T: Number) -> Tensor:
    """softmax(z / T) in float64: (..., B, C)."""
    return (z.double() / per_run(per_run(T))).softmax(-1)


def inter(p: Tensor, q: Tensor) -> Tensor:
    """ρ of each clip, over classes: (..., B, C) → (..., B)."""
    return (directions(p) * directions(q)).sum(-1)


def intra(p: Tensor, q: Tensor, rows: Tensor | None) -> Tensor:
    """1 − mean over classes of ρ over the clips that count: (..., B, C) → (...,); 0 of two clips or fewer."""
    counted = torch.ones_like(p[..., 0], dtype=torch.bool) if rows is None else rows
    columns = [directions(one.mT, counted[..., None, :]) for one in (p, q)]
    apart = 1 - (columns[0] * columns[1]).sum(-1).mean(-1)
    return torch.where(counted.sum(-1) > 2, apart, 0.0)


def directions(vectors: Tensor, counted: Tensor | None = None) -> Tensor:
    """Centred, and divided by max(length, ``SHORTEST``), along the last axis: (..., N, D) → (..., N, D).

    ``counted`` (..., 1, D): the numbers that count; the others are 0.
    """
    if counted is None:
        centred = vectors - vectors.mean(-1, keepdim=True)
    else:
        mean = torch.where(counted, vectors, 0.0).sum(-1, keepdim=True) / counted.sum(-1, keepdim=True).clamp_min(1)
        centred = torch.where(counted, vectors - mean, 0.0)
    return centred / torch.linalg.vector_norm(centred, dim=-1, keepdim=True).clamp_min(SHORTEST)
