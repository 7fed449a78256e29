"""Hints: the student's middle layers imitate the teacher's.

L = Σ over pairs of stages of mean (A s − t)²,  s, t the maps after their ReLU at their common size,

A a 1 × 1 convolution without bias, trained with the student. Romero et al. 2015 (FitNets), eq. 3, take half the squared
norm of one pair, with a convolution that also shrinks the picture. With ``layer`` = hidden or embedding s is that vector,
t the teacher's embedding and A linear.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.needs import reduced_maps
from pipeline.losses.regressors import MapRegressors, Regressor
from pipeline.losses.stages import OFTEN_LOSE, Shapes, Stages, at_common_size, full, mean

FORMULA = "sum over pairs of stages of mean (A relu(s) - relu(t))^2, A a 1 x 1 convolution (linear for vectors)"
SOURCE = "Romero et al. 2015 (FitNets), eq. 3, as a mean; A as in the code of Park et al. 2019"
READS = ("maps",)
TEACHER = {"maps": ("maps",), "hidden": ("embedding",), "embedding": ("embedding",)}
WEIGHT = 1.0
MIX = "ce:1,hint:100"
WITH = {"stages": ("layer=maps",)}
NOTE = OFTEN_LOSE

Layer = Literal["maps", "hidden", "embedding"]


def adapter(student: Shapes, teacher: Shapes, *, stages: Stages = "all", layer: Layer = "maps") -> nn.Module:
    """A: of each pair K_s → K_t channels, or of a vector D_s → D_t."""
    if layer == "maps":
        return MapRegressors(student, teacher, stages, rectified=True)
    return Regressor(student, teacher, layer)


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes, stages: Stages = "all") -> Tensor | None:
    """t of a stage of the teacher's that is compared, at its common size."""
    return at_common_size(full(maps).relu(), stage, student, teacher, stages)


def hint(
    student: Outputs, teacher: Outputs, labels: Tensor | None, *, stages: Stages = "all", layer: Layer = "maps"
) -> Tensor:
    """Mean squared error of what the adapter makes of the student: maps (..., B, K, H, W) or vectors (..., B, D) → (...,).

    ``stages``: the pairs that are compared; ``layer``: what of the student. ``labels`` are not used.
    """
    if layer != "maps":
        return (full(student.adapted) - full(teacher.embedding.detach())).square().mean((-2, -1))
    kept, adapted = reduced_maps(reduced, student, teacher, stages=stages), dict(student.adapted)
    each = [mean((full(guess) - full(kept[stage].detach())).square()) for stage, guess in adapted.items()]
    return torch.stack(each).sum(0)
