"""Rows of unit length, and the negatives that a pair of one class is compared with: what several losses of embeddings share."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pipeline.relations import row_length

#: For its direction, a row shorter than this share of the batch's root mean square length counts as this share, ...
SHARE = 1e-3

#: ... and one shorter than this as this.
LEAST = 1e-30

#: Of distance-weighted sampling (Wu et al. 2017): nearer negatives count as this near, farther ones are not drawn.
NEAREST, FARTHEST = 0.5, 1.4

#: 1 − d²/4 is at least this: at antipodal rows its logarithm would be infinite.
ANTIPODAL = 1e-8


def unit_rows(embeddings: Tensor, rows: Tensor | None = None) -> Tensor:
    """v / max(|v|, φ) of each row, in float64: (..., B, D) → (..., B, D), no unit.

    φ, ``SHARE`` of the batch's root mean square length, is constant in the graph, so that the gradient stays below 1/φ times
    the incoming one, and scale does not matter. A zero row gives zero, and a zero gradient. ``rows`` (..., B): those that make
    the mean (None: all).
    """
    vectors = embeddings.double()
    floor = (SHARE * row_length(vectors, rows)).clamp_min(LEAST)[..., None, None]
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.where(lengths > 0, vectors / torch.maximum(lengths, floor), 0.0)


def class_means(embeddings: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Of each class the mean of the embeddings (n, D) of its clips, labels (n,): (C, D); 0 without any, −1 is in none."""
    members = (labels == torch.arange(classes, device=labels.device)[:, None]).double()
    return as_result(members @ embeddings.double() / members.sum(-1, keepdim=True).clamp_min(1), embeddings)


def sides(student: Any, teacher: Any, layer: str, unit: bool, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What is compared of both: the student's output ``layer`` and the teacher's embedding, without gradient; with ``unit`` of unit rows."""
    ours, theirs = getattr(student, layer), teacher.embedding.detach()
    if not unit:
        return ours, theirs
    return as_result(unit_rows(ours, rows), ours), as_result(unit_rows(theirs, rows), theirs)


def as_result(value: Tensor, embeddings: Tensor) -> Tensor:
    """A value in float32, of float64 embeddings in float64."""
    return value.to(torch.promote_types(embeddings.dtype, torch.float32))


def pairs_of_labels(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Whether rows i ≠ j are of one class, and whether of two: (..., B) → two (..., B, B). A row without a label (−1) is in
    neither."""
    equal = labels[..., :, None] == labels[..., None, :]
    known = (labels[..., :, None] >= 0) & (labels[..., None, :] >= 0)
    itself = torch.eye(labels.shape[-1], dtype=torch.bool, device=labels.device)
    return equal & known & ~itself, ~equal & known


def negative_weights(distances: Tensor, others: Tensor, width: int) -> Tensor:
    """Weights with which the negatives of each row are drawn (Wu et al. 2017): (..., B, B) → (..., B, B), the largest 1.

    w ∝ d^(2 − D) (1 − d²/4)^((3 − D)/2), the inverse of how often unit rows of D numbers are d apart, with d at least
    ``NEAREST``, and 0 from ``FARTHEST`` on; all 1 where that leaves a row none. ``others``: which pairs are of two classes.
    The largest logarithm is that of the admissible negatives alone: beside a larger one of others they all would vanish.
    """
    far = distances.detach().clamp_min(NEAREST)
    logs = (2 - width) * far.log() + (3 - width) / 2 * (1 - far.square() / 4).clamp_min(ANTIPODAL).log()
    admissible = others & (far < FARTHEST)
    largest = torch.where(admissible, logs, -math.inf).amax(-1, keepdim=True)
    weights = torch.where(admissible, (logs - largest).exp(), 0.0)
    return torch.where(admissible.any(-1, keepdim=True), weights, others.to(weights.dtype))


def drawn(weights: Tensor, draws: Tensor) -> Tensor:
    """The first column whose cumulated share of its row's weights exceeds the draw: (..., B, B), draws (..., B, P) in
    [0, 1) → (..., B, P) int64. A row of zeros gives B."""
    cumulated = weights.cumsum(-1)
    total = cumulated[..., -1:]
    shares = torch.where(total > 0, cumulated / total, 0.0)
    return (shares[..., None, :] <= draws[..., None]).sum(-1)
