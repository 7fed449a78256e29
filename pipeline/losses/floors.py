"""Division of vectors by their length where the length may be nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.losses.probabilities import mean_of_clips

#: A length below this share of the mean length counts as this share, ...
SHARE = 1e-3

#: ... and one below this as this.
LEAST = 1e-6


def directions(vectors: Tensor, rows: Tensor | None = None) -> Tensor:
    """v / max(|v|, φ) along the last axis, φ = max(10⁻³ · mean |v| over the axis before it, 10⁻⁶): (..., N, D) → (..., N, D).

    ``rows`` (..., N): the mean is over these alone (None: all). φ is constant in the graph, so that the gradient stays below 1/φ times the incoming one. A zero vector gives zero, and
    a gradient of zero through its length.
    """
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.maximum(lengths, length_floor(vectors, rows))


def length_floor(vectors: Tensor, rows: Tensor | None = None) -> Tensor:
    """φ of ``directions``: (..., N, D) → (..., 1, 1), constant in the graph."""
    lengths = torch.linalg.vector_norm(vectors.detach(), dim=-1, keepdim=True)
    mean = lengths.mean(-2, keepdim=True) if rows is None else mean_of_clips(lengths[..., 0], rows)[..., None, None]
    return (SHARE * mean).clamp_min(LEAST)


def unit(vectors: Tensor) -> Tensor:
    """v / |v| of what has no gradient, 0 of a zero vector: (..., D)."""
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.where(lengths > 0, vectors / lengths, 0.0)
