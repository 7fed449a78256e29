"""Features that the teacher's own output layer can use.

h the student's last hidden layer, t the teacher's embedding, W_T and b_T the teacher's output layer, which stays as it is:
p = relu(norm(W h)),  L = mean (p − t)² + mean (W_T p + b_T − z_t)²

Yang et al. 2021 (ICLR, SRRL), as the code of Chen et al. 2022 (SimKD) has it. The student keeps its own output layer, and nothing
of this is part of it. (SimKD itself deploys the projector and the teacher's layer: a model of its own, which is not here.) A dead p
has no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.probabilities import mean_of_clips
from pipeline.losses.stages import Shapes

FORMULA = (
    "mean (p - t)^2 + mean (W_T p + b_T - z_t)^2, p = relu(norm(W hidden)), W_T and b_T the teacher's output layer"
)
SOURCE = "Yang et al. 2021 (ICLR), SRRL, as the code of SimKD (Chen et al. 2022, CVPR) has it"
READS = ("hidden",)
TEACHER = ("embedding", "logits")
WEIGHT = 1.0
MIX = "ce:1,hinton:1@T=4,reuse:1"


class Reused(nn.Module):
    """``hidden`` (B, D_s) → (B, D_t): linear without bias, batch norm over the clips, ReLU. One clip alone is not normalised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.norm.num_batches_tracked = None  # only a momentum of None needs it

    def forward(self, outputs: Outputs) -> Tensor:
        x = self.linear(outputs["hidden"])
        return F.relu(self.norm(x) if len(x) > 1 else x * self.norm.weight + self.norm.bias)


def adapter(student: Shapes, teacher: Shapes) -> nn.Module:
    """p: from the student's hidden to the width of the teacher's embedding."""
    return Reused(student["hidden"][0], teacher["embedding"][0])


def constants(arrays: Mapping[str, Tensor], labels: Tensor, head: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """``weight`` (C, D) and ``bias`` (C,) of the teacher's output layer."""
    return {"weight": head[0], "bias": head[1]}


def reuse(student: Outputs, teacher: Outputs, labels: Tensor | None, rows: Tensor | None = None) -> Tensor:
    """Squared errors of features and of the teacher's outputs of them: (..., B, D), logits (..., B, C) → (...,).

    ``teacher.constants``: ``weight`` (..., C, D) and ``bias`` (..., C). ``rows`` (..., B): the clips that count (None: all). ``labels``
    are not used.
    """
    features, answers = parts(student, teacher)
    return as_result(mean_of_clips(features + answers, rows), student.adapted)


def parts(student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
    """Of each clip the mean squared errors of features and of outputs: two (..., B)."""
    p, t, z = (each.double() for each in (student.adapted, teacher.embedding.detach(), teacher.logits.detach()))
    head: Mapping[str, Tensor] = teacher.constants  # type: ignore[assignment]
    weight, bias = head["weight"].detach().double(), head["bias"].detach().double()
    answers = p @ weight.mT + bias[..., None, :]
    return (p - t).square().mean(-1), (answers - z).square().mean(-1)
