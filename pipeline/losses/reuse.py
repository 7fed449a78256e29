"""Features that the teacher's own output layer can use.

h the student's last hidden layer, t what the teacher's output layer reads, W_T and b_T that layer, which stays as it is.

``form`` = srrl: p = relu(norm(W h)),  L = mean (p − t)² + mean (W_T p + b_T − z_t)². Yang et al. 2021 (ICLR, SRRL), as the code of Chen et al.
2022 (SimKD) has it. The student keeps its own output layer, and nothing of this is part of it.

``form`` = simkd: L = mean (p − t)² alone, p the student's ``projected``, no labels and no outputs. Chen et al. 2022 (CVPR, SimKD). The projector
is part of the student, and its output layer is the teacher's, frozen: a network of its own, ``cnn2-reuse`` (p and t are maps after
their ReLU, the teacher's last) or ``cnn2-reuse-hidden`` (vectors), in the mix ``reuse@form=simkd,soft:0``. Where p = t it answers as its teacher
does, bit for bit. Their evaluation runs the teacher too, for its map's size alone.

A dead p has no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.needs import REDUCED, parts_of
from pipeline.losses.probabilities import mean_of_clips
from pipeline.losses.reused import PROJECTED, partner
from pipeline.losses.stages import Shapes, full

FORMULA = (
    "mean (p - t)^2 + mean (W_T p + b_T - z_t)^2, p = relu(norm(W hidden)), W_T and b_T the teacher's output layer; form = simkd: "
    "mean (p - t)^2, p the student's own projector, behind which its output layer is the teacher's"
)
SOURCE = "Yang et al. 2021 (ICLR), SRRL, as the code of SimKD (Chen et al. 2022, CVPR) has it; form = simkd: SimKD, as that code"
READS = {"srrl": ("hidden",), "simkd": ("projected",)}
TEACHER = {"srrl": ("embedding", "logits"), "simkd": ("embedding", "logits", "maps")}  # logits: of the same classes
NETWORK = {"srrl": "", "simkd": "cnn2_reuse"}
ADAPTS = ("form=srrl",)
WEIGHT = 1.0
MIX = "ce:1,hinton:1@T=4,reuse:1"
FORMS = {"reuse:1@form=simkd,soft:0": "Chen et al. 2022 (CVPR), SimKD, as their code"}


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


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes, form: str = "srrl") -> Tensor | None:
    """For ``form`` = simkd the teacher's last map after its ReLU, where the student projects to a map."""
    if form == "srrl" or len(student[PROJECTED]) == 1 or stage != partner(student, teacher):
        return None
    return full(maps).relu()


def constants(arrays: Mapping[str, Tensor], labels: Tensor, head: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """``weight`` (C, D) and ``bias`` (C,) of the teacher's output layer, which reads its embedding."""
    width = next(iter(parts_of(arrays)))["embedding"].shape[-1]
    if head[0].shape[-1] != width:
        raise InputError(
            f"reuse: the teacher's output layer reads {head[0].shape[-1]} numbers, and its embedding has {width}; expected a teacher whose "
            "embedding is what its output layer reads, such as resnet18"
        )
    return {"weight": head[0], "bias": head[1]}


def reuse(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    form: Literal["srrl", "simkd"] = "srrl",
) -> Tensor:
    """Squared errors of features, and of the teacher's outputs of them: (..., B, D), logits (..., B, C) → (...,).

    ``form``: srrl, with ``teacher.constants`` ``weight`` (..., C, D) and ``bias`` (..., C); simkd, of ``projected`` (..., B, D) or
    (..., B, K, H, W) alone. ``rows`` (..., B): the clips that count (None: all). ``labels`` are not used.
    """
    if form == "simkd":
        p, t = full(student.projected), full(what_is_read(student, teacher).detach())
        axes = p.ndim - teacher.embedding.ndim + 1
        return as_result(mean_of_clips((p - t).square().flatten(-axes).mean(-1), rows), student.projected)
    features, answers = parts(student, teacher)
    return as_result(mean_of_clips(features + answers, rows), student.adapted)


def what_is_read(student: Outputs, teacher: Outputs) -> Tensor:
    """t: the teacher's embedding, or its last map after its ReLU where the student's p is a map."""
    if student.projected.ndim == teacher.embedding.ndim:
        return teacher.embedding
    kept: Mapping[str, Tensor] | None = getattr(teacher, REDUCED, None)
    return next(iter(kept.values())) if kept else list(teacher.maps.values())[-1].relu()


def parts(student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
    """Of each clip the mean squared errors of features and of outputs: two (..., B)."""
    p, t, z = (each.double() for each in (student.adapted, teacher.embedding.detach(), teacher.logits.detach()))
    head: Mapping[str, Tensor] = teacher.constants  # type: ignore[assignment]
    weight, bias = head["weight"].detach().double(), head["bias"].detach().double()
    answers = p @ weight.mT + bias[..., None, :]
    return (p - t).square().mean(-1), (answers - z).square().mean(-1)
