"""Residual distillation: an assistant learns what another student, trained before it, missed.

L = mean (v_A − (t − v_S))²,

v_A the assistant's last hidden layer after a linear adapter, v_S what the other student makes of the same, t the teacher's
embedding. Both answer together: the teacher's output layer on v_S + v_A. Gao, Shen, Li and Loy 2020; they do it on maps.
The other student is trained by ``ce:1,hint:1@layer=hidden``; here it is fixed.
"""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.regressors import Regressor
from pipeline.losses.stages import Shapes, full

FORMULA = (
    "mean (A hidden - (t - v))^2, A linear, v what a student trained before it makes of t, the teacher's embedding"
)
SOURCE = "Gao, Shen, Li and Loy 2020, on the embedding"
READS = ("hidden",)
TEACHER = ("embedding", "base")
WEIGHT = 1.0
MIX = "residual:1,soft:0"
CHAIN = "a student that was trained before, whose misses it learns"
RECIPE = "residual"
ALONE = False


def adapter(student: Shapes, teacher: Shapes) -> nn.Module:
    """From the last hidden layer to the width of the teacher's embedding."""
    return Regressor(student, teacher, "hidden")


def residual(student: Outputs, teacher: Outputs, labels: Tensor | None) -> Tensor:
    """Mean squared error of what is left: adapted vectors (..., B, D) → (...,). ``labels`` are not used.

    ``teacher.base`` (..., B, D): v_S.
    """
    left = full(teacher.embedding.detach()) - full(teacher.base.detach())
    return (full(student.adapted) - left).square().mean((-2, -1))
