"""Relations between the embeddings of a mini-batch: distances, angles and areas, and their comparison.

Embeddings are (..., B, D): B rows of a batch, leading axes (runs) are kept. ``rows`` (..., B), where a function takes it,
are the rows that count: tuples with any other are left out, of means too. None: all. The geometric quantities come
un-normalised; ``normalised`` divides a matrix by its mean over i ≠ j, which gives the ψ of the papers
(Park et al. 2019, eq. 5; Cho et al. 2023, eq. 3.2), and ``huber`` compares two relations.

How the numbers stay right
    - Everything is computed in float64, which autocast leaves alone, and returned as float32 (float64 for
      float64 input). A batch is small, so this costs little, and neither half precision nor TensorFloat-32
      products can spoil a difference of nearly equal rows.
    - Distances are sums of squared differences, never |a|² + |b|² − 2ab, so a shared offset does no harm.
      Their gradient is one product of (B, B) and (B, D), so there is no (B, B, D) tensor either.
    - Angles come from the distances alone (law of cosines): B³ numbers, no matter how wide the rows are.
    - Sines of areas are ½|â − b̂||â + b̂| of the unit rows, which keeps small angles. Rows are not centred.
    - Where a direction or a mean is not defined (equal, zero or collinear rows) a floor takes its place.
      Floors are proportional to the rows' own length, so scale does not matter, and constant in the graph.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

#: A mean distance below this share of the rows' length (or a mean area of half its square) counts as this share.
#: About eight times what float32 rounds to: less is rounding, more is a batch that shares a large offset.
FLAT = 1e-6

#: For directions, a distance below this share of the batch's mean distance counts as this share ...
NEAR = 1e-3

#: ... and so does one below this share of the rows' length.
NEAR_ROWS = 1e-5

#: Replaces a zero divisor where the numerator is zero as well.
TINY = 1e-150


class _PairNorm(torch.autograd.Function):
    """|x_i − sign · x_j| for all i, j: (..., B, D) → (..., B, B); the gradient where it is 0 is 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sign: int) -> Tensor:
        norm = torch.cdist(x, x if sign == 1 else -x, compute_mode="donot_use_mm_for_euclid_dist")
        ctx.save_for_backward(x, norm)
        ctx.sign = sign
        return norm

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, norm = ctx.saved_tensors
        pull = torch.where(norm > 0, (grads[0] + grads[0].mT) / norm, 0.0)
        return pull.sum(-1, keepdim=True) * x - ctx.sign * (pull @ x), None


def _pair_norms(x: Tensor, sign: int = 1) -> Tensor:
    return _PairNorm.apply(x, sign)  # type: ignore[no-any-return]


def distances(embeddings: Tensor) -> Tensor:
    """|e_i − e_j|, Euclidean, un-normalised: (..., B, D) → (..., B, B). In the units of the embeddings.

    The gradient of the distance of equal rows is 0. Park et al. 2019, eq. 5 without μ.
    """
    return _pair_norms(embeddings.double()).to(_result(embeddings))


def angles(embeddings: Tensor, rows: Tensor | None = None) -> Tensor:
    """Cosine of the angle at e_j between e_i and e_k, at [..., i, j, k]: (..., B, D) → (..., B, B, B).

    In [-1, 1]; 0 where i = j or k = j, 1 where i = k. Park et al. 2019, eq. 9. Exact where both
    distances are at least ``NEAR`` of the batch's mean distance and ``NEAR_ROWS`` of the rows' root mean
    square length; shorter differences are divided by that floor instead of their own length, so the
    cosine fades to 0 and its gradient stays below 1 / floor.
    """
    x = embeddings.double()
    sides = _pair_norms(x)
    floor = torch.maximum(NEAR * mean_of_pairs(sides, rows), NEAR_ROWS * row_length(x, rows)).detach() + TINY
    length = torch.maximum(sides, floor[..., None, None])
    ij, jk, ik = sides[..., :, :, None], sides[..., None, :, :], sides[..., :, None, :]
    products = ij * ij + (jk - ik) * (jk + ik)  # twice <e_i − e_j, e_k − e_j>
    cosines = products / (2 * length[..., :, :, None] * length[..., None, :, :])
    return cosines.to(_result(embeddings))


def areas(embeddings: Tensor) -> Tensor:
    """Area of the triangle 0, e_i, e_j, un-normalised: (..., B, D) → (..., B, B). In squared units.

    S(i, j) = ½ |e_i| |e_j| sin θ (Cho et al. 2023, eq. 3.2) with sin θ = ½ |â − b̂| |â + b̂| of the unit
    rows. Rows collinear within rounding, and zero rows, have area 0 and gradient 0.
    """
    return _areas(embeddings).to(_result(embeddings))


def _areas(embeddings: Tensor) -> Tensor:
    """In float64, so that the square of a length neither overflows nor vanishes before it is normalised."""
    x = embeddings.double()
    lengths = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    unit = x / lengths.clamp_min(TINY)
    sines = 0.5 * _pair_norms(unit) * _pair_norms(unit, -1)
    rounding = 8 * torch.finfo(_result(embeddings)).eps
    sines = torch.where(sines > rounding, sines, 0.0)
    return 0.5 * lengths * lengths.mT * sines


def row_length(embeddings: Tensor, rows: Tensor | None = None) -> Tensor:
    """Root mean square length of the rows, without gradient: (..., B, D) → (...,), float64."""
    squares = embeddings.detach().double().square().sum(-1)
    if rows is None:
        return squares.mean(-1).sqrt()
    return (torch.where(rows, squares, 0.0).sum(-1) / rows.sum(-1).clamp_min(1)).sqrt()


def mean_of_pairs(matrix: Tensor, rows: Tensor | None = None) -> Tensor:
    """Mean over i ≠ j of a matrix with zero diagonal: (..., B, B) → (...,); 0 where there is no pair."""
    return mean_of_tuples(matrix, 2, rows)


def mean_of_tuples(values: Tensor, points: int, rows: Tensor | None = None) -> Tensor:
    """Mean over the tuples of ``points`` distinct rows of values that are 0 for all others: (..., B, B[, B]) → (...,)."""
    axes = tuple(range(-points, 0))
    if rows is None:
        return values.sum(axes) / max(math.perm(values.shape[-1], points), 1)
    count, tuples = rows.sum(-1), torch.ones_like(rows.sum(-1))
    for point in range(points):
        values = torch.where(rows[(..., *[None] * point, slice(None), *[None] * (points - 1 - point))], values, 0.0)
        tuples = tuples * (count - point)
    return values.sum(axes) / tuples.clamp_min(1)


def normalised(matrix: Tensor, floor: Tensor | float = 0.0, rows: Tensor | None = None) -> Tensor:
    """``matrix`` (zero diagonal) over its mean over i ≠ j: (..., B, B) → (..., B, B), no unit.

    The mean is part of the graph. ``floor`` (...,) replaces a smaller mean; with 0 a zero matrix stays zero.
    """
    mean = mean_of_pairs(matrix, rows)
    least = torch.as_tensor(floor, dtype=mean.dtype, device=mean.device)
    least = least.clamp_min(torch.finfo(mean.dtype).tiny)
    return matrix / torch.maximum(mean, least)[..., None, None]


def relative_distances(embeddings: Tensor, rows: Tensor | None = None) -> Tensor:
    """ψ of the distance: |e_i − e_j| / μ, Park et al. 2019, eq. 5 and 6: (..., B, D) → (..., B, B)."""
    floor = FLAT * row_length(embeddings, rows)
    return normalised(_pair_norms(embeddings.double()), floor, rows).to(_result(embeddings))


def relative_areas(embeddings: Tensor, rows: Tensor | None = None) -> Tensor:
    """ψ of the area: S(i, j) / μ, Cho et al. 2023, eq. 3.2 and 3.3: (..., B, D) → (..., B, B)."""
    floor = FLAT * 0.5 * row_length(embeddings, rows).square()
    return normalised(_areas(embeddings), floor, rows).to(_result(embeddings))


def huber(
    student: Tensor, teacher: Tensor, points: int, delta: float | Tensor = 1.0, rows: Tensor | None = None
) -> Tensor:
    """Mean Huber loss over the tuples of distinct rows, in relations of ``points`` rows (2 or 3).

    student, teacher: (..., B, B) or (..., B, B, B) → (...,). ½x² up to |x| = delta, then
    delta (|x| − ½ delta) (Park et al. 2019, eq. 8, with delta = 1). 0 where there is no such tuple.
    """
    losses = _huber(student, teacher, delta)
    # i = j and j = k are 0 in both relations; only i = k of an angle has to be left out.
    if points == 3:
        losses = losses * (1 - torch.eye(losses.shape[-1], dtype=losses.dtype, device=losses.device))[:, None, :]
    return mean_of_tuples(losses, points, rows)


def _huber(student: Tensor, teacher: Tensor, delta: float | Tensor) -> Tensor:
    if not isinstance(delta, Tensor):
        return F.huber_loss(student, teacher, reduction="none", delta=delta)
    size = (student - teacher).abs()  # torch's own takes no tensor
    return torch.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta))


def _result(embeddings: Tensor) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.promote_types(embeddings.dtype, torch.float32)
