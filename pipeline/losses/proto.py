"""Prototypical networks: a clip is nearest to the mean of its own class' few examples.

Of each class of the batch the first ``shot`` clips are its support, all others are queries; c_k = mean of the support's embeddings,
L = mean over the queries q of −log softmax_k(−|e_q − c_k|²)[own class]

Snell et al. 2017 (prototypical networks); with a teacher of the same network beside it, relations of all clips of the episode:
Park et al. 2019, section 4.3. ``sampler = "episode:way,shot,query"`` draws the episodes, in which no recording stands on both sides; of
any other batch the first clip of each class is its support. A tie of two prototypes costs log 2.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result

FORMULA = "mean over queries of -log softmax(-|e_q - c_k|^2)[own class], c_k the mean of the support of class k"
SOURCE = "Snell et al. 2017 (NeurIPS); with relations as Park et al. 2019, section 4.3"
READS = ("embedding",)
TEACHER = ()
WEIGHT = 1.0
MIX = "proto:1,soft:0"
ROWS = 3  # two prototypes and a query
SAMPLER = "classes:4"
ORDERED = True
NOTE = "episodes keep recordings apart: --set student.sampler=episode:5,1,5 --set student.batch=30 (make experiment NAME=fewshot)"


def proto(
    student: Outputs,
    teacher: Outputs | None,
    labels: Tensor,
    shot: int = 1,
    rows: Tensor | None = None,
    *,
    layer: Literal["embedding", "hidden"] = "embedding",
) -> Tensor:
    """Loss of one episode per run: embeddings (..., B, D), labels (..., B) → (...,), in nats; 0 without a query.

    ``shot``: how many clips of each class, the first ones of the batch, are its support; of a sampler of episodes its own.
    ``layer``: the student's output. Clips without a label (−1), and those that ``rows`` (..., B) leaves out, are on neither side.
    ``teacher`` is not used.
    """
    labels = labels if rows is None else labels.where(rows, -1)
    embeddings = getattr(student, layer)
    vectors = embeddings.double()
    equal, support, queries = sides(labels, shot)
    of_class = (equal & support[..., None, :]).double()
    centred = vectors - vectors.mean(-2, keepdim=True).detach()  # |a|² + |b|² − 2ab loses the digits of a shared offset
    prototypes = (of_class @ centred) / of_class.sum(-1, keepdim=True).clamp_min(1)
    squares = centred.square().sum(-1)[..., None] + prototypes.square().sum(-1)[..., None, :]
    apart = (squares - 2 * centred @ prototypes.transpose(-1, -2)).clamp_min(0)
    first = (first_of_class(equal) & (labels >= 0))[..., None, :]  # one row of each class stands for its prototype
    scores = torch.where(first, -apart, -torch.inf)
    scores = torch.where(first.any(-1, keepdim=True), scores, 0.0)
    costs = apart.diagonal(dim1=-2, dim2=-1) + scores.logsumexp(-1)
    each = torch.where(queries, costs, 0.0).sum(-1)
    return as_result(each / queries.sum(-1).clamp_min(1), embeddings)


def sides(labels: Tensor, shot: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows are of one class (..., B, B), which are support and which queries (..., B), of labels (..., B)."""
    known = labels >= 0
    equal = (labels[..., :, None] == labels[..., None, :]) & known[..., :, None] & known[..., None, :]
    place = equal.tril(-1).sum(-1)
    return equal, known & (place < shot), known & (place >= shot)


def first_of_class(equal: Tensor) -> Tensor:
    """(..., B): rows with none of their class before them."""
    return ~equal.tril(-1).any(-1)
