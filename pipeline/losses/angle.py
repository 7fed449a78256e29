"""Angle-wise relational knowledge distillation.

L = mean over distinct i, j, k of l_δ(ψ(t_i, t_j, t_k), ψ(s_i, s_j, s_k)),
ψ(e_i, e_j, e_k) = cos of the angle at e_j between e_i − e_j and e_k − e_j.

Park et al. 2019, eq. 9 and 10. Their code averages over B³: theirs is ours × (B − 1)(B − 2) / B².
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import sides
from pipeline.relations import angles, huber

FORMULA = "mean over distinct i, j, k of Huber(cos angle(t_i, t_j, t_k) - cos angle(s_i, s_j, s_k))"
SOURCE = "Park et al. 2019, eq. 9 and 10"
READS = ("embedding",)
TEACHER = ("embedding",)
WEIGHT = 20.0
MIX = "angle:50,soft:1"
ROWS = 3  # two clips have no angle


def angle(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    delta: float = 1.0,
    layer: Literal["embedding", "hidden"] = "embedding",
    unit: bool = False,
) -> Tensor:
    """Huber loss of cosines at every vertex: embeddings (..., B, D) → (...,), no unit; widths may differ.

    ``delta`` is where the Huber loss turns linear, ``layer`` the student's output that is compared, ``rows`` (..., B) the clips
    that count (None: all); ``unit``: of embeddings of unit length, on both sides.
    """
    ours, theirs = sides(student, teacher, layer, unit, rows)
    ours = angles(ours, rows)
    return huber(ours, angles(theirs, rows), points=3, delta=delta, rows=rows)
