"""Area-wise relational knowledge distillation.

L = mean over i ≠ j of l_δ(ψ(t_i, t_j), ψ(s_i, s_j)),  ψ(e_i, e_j) = S(e_i, e_j) / μ,
S = ½ |e_i| |e_j| sin θ the area of the triangle 0, e_i, e_j, and μ its mean over i ≠ j, each network's
own, from the same mini-batch.

Cho et al. 2023, eq. 3.1 to 3.3 (a sum there, a mean here, as Park et al. 2019 for the other two).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from pipeline.losses import Outputs
from pipeline.relations import huber, relative_areas

FORMULA = "mean over i != j of Huber(S(t_i, t_j) / mu_t - S(s_i, s_j) / mu_s), S(a, b) = |a||b| sin(a, b) / 2"
SOURCE = "Cho et al. 2023, eq. 3.1 to 3.3"
READS = ("embedding",)
TEACHER = ("embedding",)
WEIGHT = 20.0
MIX = "area:20,soft:1"
ROWS = 3  # of two clips there is one triangle, and over its own mean it is 1


def area(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    delta: float = 1.0,
    layer: Literal["embedding", "hidden"] = "embedding",
) -> Tensor:
    """Huber loss of relative areas: embeddings (..., B, D) → (...,), no unit; widths may differ.

    ``delta`` is where the Huber loss turns linear, ``layer`` the student's output that is compared, ``rows`` (..., B) the clips
    that count (None: all).
    """
    ours = relative_areas(getattr(student, layer), rows)
    return huber(ours, relative_areas(teacher.embedding.detach(), rows), points=2, delta=delta, rows=rows)
