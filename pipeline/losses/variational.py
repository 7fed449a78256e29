"""Variational information distillation: a hint that learns which of the teacher's channels can be predicted at all.

L = Σ over pairs of stages of mean ½ [(t − μ)² / σ²_c + ln σ²_c],  σ²_c = softplus(α_c) + 10⁻⁵,

μ three 1 × 1 convolutions K_s → K_t → K_t → K_t without bias, ReLU between, of the student's map after its ReLU, t the teacher's after its, at their
common size; α, one of each of the teacher's channels, begins where σ² = 5, learns, and does not decay. Ahn et al. 2019 (CVPR), eq. 4 to 6, who sum; public
code takes means. In mdistiller α stands in a plain list and is never trained: that is hint / 10 + ½ ln 5, exactly. Public code
writes ln(1 + e^α), which overflows, and compares heights alone.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.needs import reduced_maps
from pipeline.losses.regressors import MapRegressors
from pipeline.losses.stages import OFTEN_LOSE, Shapes, Stages, at_common_size, full, mean

FORMULA = (
    "sum over pairs of stages of mean 1/2 [(relu(t) - mu)^2 / v + ln v], mu = three 1 x 1 convolutions of relu(s), v a variance "
    "for each of the teacher's channels that is learned"
)
SOURCE = "Ahn et al. 2019 (CVPR), eq. 4 to 6, as a mean; from memory, and as public code has it; that the variances do not decay is this project's"
READS = ("maps",)
TEACHER = ("maps",)
WEIGHT = 1.0
MIX = "ce:1,variational:1"
NOTE = OFTEN_LOSE

#: What a variance is at least.
LEAST = 1e-5

#: What a variance begins as.
FIRST = 5.0

#: The name of an adapted variance, behind that of its stage.
VARIANCE = " variance"


class Predictor(MapRegressors):
    """μ of each pair, and σ² of each channel of it: {stage: (B, K_t, h, w), "stage variance": (B, K_t)}."""

    def __init__(self, student: Shapes, teacher: Shapes, stages: str) -> None:
        super().__init__(student, teacher, stages, rectified=True)
        alpha = math.log(math.expm1(FIRST - LEAST))
        self.alphas = nn.ParameterList(torch.full((channels,), alpha) for _, channels in self.channels)
        self.undecayed = tuple(f"alphas.{number}" for number in range(len(self.alphas)))

    def layer(self, inputs: int, outputs: int) -> nn.Module:
        first, second, third = (nn.Conv2d(few, outputs, 1, bias=False) for few in (inputs, outputs, outputs))
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, outputs: Outputs) -> dict[str, Tensor]:
        predicted = super().forward(outputs)
        for (_, partner), alpha in zip(self.pairs, self.alphas):
            variance = F.softplus(alpha) + LEAST
            predicted[f"{partner}{VARIANCE}"] = variance.expand(len(predicted[partner]), -1)
        return predicted


def adapter(student: Shapes, teacher: Shapes, *, stages: Stages = "all") -> nn.Module:
    """μ and σ² of each pair."""
    return Predictor(student, teacher, stages)


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes, stages: Stages = "all") -> Tensor | None:
    """t of a stage of the teacher's that is compared, at its common size."""
    return at_common_size(full(maps).relu(), stage, student, teacher, stages)


def variational(student: Outputs, teacher: Outputs, labels: Tensor | None, *, stages: Stages = "all") -> Tensor:
    """Negative log-likelihood of a Gaussian, without ½ ln 2π: adapted maps (..., B, K, H, W) → (...,), in nats.

    At least ½ ln 10⁻⁵ = −5.76: values below 0 are normal. ``stages``: the pairs that are compared. ``labels`` are not used.
    """
    kept, adapted = reduced_maps(reduced, student, teacher, stages=stages), dict(student.adapted)
    each = []
    for stage in [name for name in adapted if not name.endswith(VARIANCE)]:
        variance = full(adapted[f"{stage}{VARIANCE}"])[..., None, None]
        squares = (full(kept[stage].detach()) - full(adapted[stage])).square()
        each.append(mean((squares / variance + variance.log()) / 2))
    return torch.stack(each).sum(0)
