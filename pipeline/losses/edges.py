"""The edges of an instance relationship graph: squared distances between the clips, over the largest.

D_ij = |x_i − x_j|²,  E = D / max D;  L = mean over the B² pairs of (E_s − E_t)².

The edge part of Liu et al. 2019 (CVPR, IRG) as a public collection has it; the authors' code was not read. It is ``distance`` with
squares, the largest in place of the mean, and no Huber. The maximum is part of the graph, and 10⁻¹² at least. Their parts on
logits and on maps of equal width are left out.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.rows import mean_of_clip_pairs, of_rows
from pipeline.relations import distances

FORMULA = "mean over i, j of (E_s(i, j) - E_t(i, j))^2, E = D / max D, D(i, j) = |x_i - x_j|^2"
SOURCE = "Liu et al. 2019 (CVPR, IRG), the edges alone, as a public collection has them"
READS = ("embedding",)
TEACHER = ("embedding",)
WEIGHT = 1.0
MIX = "ce:1,edges:1"
ROWS = 3  # of two clips there is one distance, and over the largest it is 1

#: The largest square counts as this at least.
LEAST = 1e-12


def edges(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    layer: Literal["embedding", "hidden"] = "embedding",
) -> Tensor:
    """Difference of relative squared distances: embeddings (..., B, D) → (...,), no unit; widths may differ.

    ``layer``: the student's output that is compared; ``rows`` (..., B): the clips that count (None: all). ``labels`` are not used.
    """
    ours, theirs = getattr(student, layer), teacher.embedding.detach()
    apart = relative_squares(ours, rows) - relative_squares(theirs, rows)
    return as_result(mean_of_clip_pairs(apart.square(), rows), ours)


def relative_squares(embeddings: Tensor, rows: Tensor | None) -> Tensor:
    """E in float64: (..., B, D) → (..., B, B); 0 beside clips that do not count."""
    squares = distances(embeddings.double()).square()
    if rows is not None:
        squares = of_rows(of_rows(squares, rows).mT, rows)
    return squares / squares.amax((-2, -1), keepdim=True).clamp_min(LEAST)
