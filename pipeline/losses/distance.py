"""Distance-wise relational knowledge distillation.

L = mean over i ≠ j of l_δ(ψ(t_i, t_j), ψ(s_i, s_j)),  ψ(e_i, e_j) = |e_i − e_j| / μ,
μ the mean of |e_i − e_j| over i ≠ j, each network's own, from the same mini-batch.

Park et al. 2019, eq. 5 to 8. They average over B² pairs: theirs is ours × (B − 1) / B.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import sides
from pipeline.relations import huber, relative_distances

FORMULA = "mean over i != j of Huber(|t_i - t_j| / mu_t - |s_i - s_j| / mu_s)"
SOURCE = "Park et al. 2019, eq. 5 to 8"
READS = ("embedding",)
TEACHER = ("embedding",)
WEIGHT = 20.0
MIX = "distance:20,soft:1"
ROWS = 3  # of two clips there is one distance, and over its own mean it is 1


def distance(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    delta: float = 1.0,
    layer: Literal["embedding", "hidden"] = "embedding",
    unit: bool = False,
) -> Tensor:
    """Huber loss of relative distances: embeddings (..., B, D) → (...,), no unit; widths may differ.

    ``delta`` is where the Huber loss turns linear, ``layer`` the student's output that is compared, ``rows`` (..., B) the clips
    that count (None: all); ``unit``: of embeddings of unit length, on both sides.
    """
    ours, theirs = sides(student, teacher, layer, unit, rows)
    ours = relative_distances(ours, rows)
    return huber(ours, relative_distances(theirs, rows), points=2, delta=delta, rows=rows)
