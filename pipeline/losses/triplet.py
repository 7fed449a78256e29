"""Triplet loss: a clip is nearer to one of its own class than to one of another, by a margin.

e = unit rows; over the ordered pairs (a, p) of one class, n a clip of another class:
L = mean of max(|e_a − e_p|² − |e_a − e_n|² + m, 0);  form = plain: of the distances, not their squares

Which n (``negative``):
    distance   drawn with w ∝ d^(2 − D) (1 − d²/4)^((3 − D)/2) of d = |e_a − e_n|, at least 0.5, and only below 1.4
    semihard   the nearest that is farther than p; where there is none, the farthest
    hard       the nearest
    all        every one
    random     drawn, all alike

Schroff et al. 2015 (FaceNet; semihard), Wu et al. 2017 (distance); Park et al. 2019 train their metric-learning teachers so,
whose paper has squared distances and whose code plain ones. Batches by class give it pairs: ``--set student.sampler=classes:4``.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result, drawn, negative_weights, pairs_of_labels, unit_rows
from pipeline.losses.probabilities import Number, per_run
from pipeline.relations import distances

FORMULA = (
    "mean over pairs a, p of one class of max(|e_a - e_p|^2 - |e_a - e_n|^2 + margin, 0), unit rows, n of another class"
)
SOURCE = "Schroff et al. 2015 (CVPR); negative = distance: Wu et al. 2017 (ICCV); as Park et al. 2019 train teachers"
READS = ("embedding",)
TEACHER = ()
WEIGHT = 1.0
MIX = "triplet:1,soft:0"
ROWS = 3  # a pair and a negative
DRAWS = "batch"
SAMPLER = "classes:4"
NOTE = "batches by class give it pairs, and larger ones better negatives: --set student.sampler=classes:5 --set student.batch=40"

#: Below it a plain distance counts as this, and has no gradient.
NEAR = 1e-6

#: Ways to choose the negatives.
Negative = Literal["distance", "semihard", "hard", "all", "random"]


def triplet(
    student: Outputs,
    teacher: Outputs | None,
    labels: Tensor,
    rows: Tensor | None = None,
    *,
    negative: Negative = "distance",
    form: Literal["squared", "plain"] = "squared",
    margin: Annotated[Number, "(0, 4]"] = 0.2,
    layer: Literal["embedding", "hidden"] = "embedding",
) -> Tensor:
    """Triplet loss: embeddings (..., B, D), labels (..., B) → (...,), no unit; 0 without a pair or without a negative.

    ``margin``: in squared distances of unit rows, which are at most 4, or with ``form`` plain in distances, at most 2.
    ``layer``: the student's output. ``student.draws`` (..., B, B) in [0, 1): one for each pair, which chooses its negative
    where it is drawn. Clips without a label (−1) are in no triple, nor are those that ``rows`` (..., B) leaves out. ``teacher``
    is not used.
    """
    labels = labels if rows is None else labels.where(rows, -1)
    embeddings = getattr(student, layer)
    apart = distances(unit_rows(embeddings, rows))
    draws = student.draws.double() if negative in ("distance", "random") else None
    chosen = triples(apart.detach(), labels, negative, embeddings.shape[-1], draws)
    lengths = apart.square() if form == "squared" else apart.clamp_min(NEAR)
    hinges = (lengths[..., :, :, None] - lengths[..., :, None, :] + per_run(per_run(per_run(margin)))).clamp_min(0)
    each = torch.where(chosen, hinges, 0.0).sum((-3, -2, -1))
    return as_result(each / chosen.sum((-3, -2, -1)).clamp_min(1), embeddings)


def triples(apart: Tensor, labels: Tensor, negative: str, width: int, draws: Tensor | None) -> Tensor:
    """Which (a, p, n) are compared, from the distances of unit rows: (..., B, B) → (..., B, B, B) bool.

    Of equal distances the clip that comes first is chosen. ``width``: D of the rows, for ``distance``.
    """
    pairs, others = pairs_of_labels(labels)
    compared = pairs[..., None] & others[..., :, None, :]
    if negative == "all":
        return compared
    if draws is not None:
        weights = negative_weights(apart, others, width) if negative == "distance" else others.double()
        index = drawn(weights, draws)
    elif negative == "hard":
        index = nearest(apart, others)[..., None]
    else:
        farther = others[..., :, None, :] & (apart[..., :, None, :] > apart[..., :, :, None])
        farthest = torch.where(others, apart, -math.inf).argmax(-1)[..., None]
        index = torch.where(farther.any(-1), nearest(apart[..., :, None, :], farther), farthest)
    columns = torch.arange(apart.shape[-1], device=apart.device)
    return compared & (index[..., None] == columns)


def nearest(apart: Tensor, among: Tensor) -> Tensor:
    """The column of the least distance ``among`` the given ones, the first of equals: (..., B) → (...,) int64."""
    return torch.where(among, apart, math.inf).argmin(-1)
