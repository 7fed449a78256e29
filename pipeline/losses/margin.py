"""Margin distillation: an angular output layer, with a margin for the right class that is larger where the teacher is surer.

d_n = max(cos(teacher's embedding of clip n, centre of its class), 0);  m_n = (m_hi − m_lo) d_n / max d + m_lo, max over the batch
L = mean over n of −log( exp(s cos(θ_y + m_n)) / (exp(s cos(θ_y + m_n)) + Σ_{c ≠ y} exp(s cos θ_c)) )

The centres of the teacher are the means of its embeddings over the training clips of each class. θ_c, with ``centres``:
    own        the angle between the student's hidden and the weights of class c: a network with ``cosines``, ``cnn2_cosine``
    teacher    the angle between what an adapter makes of the student's hidden and the teacher's centre of class c, which stays
               as it is: the published way, for any network. Its outputs are those of a layer that another term has to train.

Svitov and Alyamkin 2020 (MarginDistillation; cos(θ + m): Deng et al. 2019, ArcFace). Their s = 64 is for 85,742 classes in 512
dimensions; at 10 classes s = 6.1 reaches 99 %. Their d is not cut off at 0, so that a batch of no d above 0 turns the margin.
cos(θ + m) = c cos m − √(1 − c²) sin m has a slope without end at c = ±1, so 1 − c² is at least 10⁻⁶; beyond θ + m = π, where
the cosine would rise again, c − m sin m stands in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result, class_means, unit_rows
from pipeline.losses.probabilities import Number, mean_of_labelled, per_run

FORMULA = (
    "mean over the batch of -log softmax(s cos theta)[label] with cos(theta + m) on the label; m from m_lo to m_hi with "
    "cos(t, its class's mean) over the batch's largest"
)
SOURCE = "Svitov and Alyamkin 2020 (MarginDistillation); cos(theta + m): Deng et al. 2019 (ArcFace)"
READS = {"own": ("cosines",), "teacher": ("hidden",)}
TEACHER = ("embedding",)
WEIGHT = 1.0
MIX = "margin:1,soft:0"
NETWORK = "cnn2_cosine"
NOTE = "centres = own is for a network with cosines: --set student.model=cnn2-cosine"

#: Of Σ c² + sin² = 1 the sine's square is at least this, and has no gradient below.
FLAT = 1e-6

#: A batch whose largest d is below this has the margins of d over this.
LEAST = 1e-6

Margin = Annotated[Number, "[0, 1.5]"]
Centres = Literal["own", "teacher"]


class ToCentres(nn.Module):
    """``hidden`` (B, D) → (B, the teacher's D), linear."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, outputs: Outputs) -> Tensor:
        return self.linear(outputs["hidden"])  # type: ignore[no-any-return]


def adapter(
    student: Mapping[str, tuple[int, ...]], teacher: Mapping[str, tuple[int, ...]], *, centres: Centres = "own"
) -> nn.Module | None:
    """From the student's hidden to the width of the teacher's embedding; None where the student's own layer is learned."""
    return ToCentres(student["hidden"][0], teacher["embedding"][0]) if centres == "teacher" else None


def constants(arrays: Outputs, labels: Tensor, student: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """``centres`` (C, D): of each class the mean of the teacher's embeddings (n, D) over the training clips; 0 without any."""
    return {"centres": class_means(arrays.embedding, labels, student["logits"][0])}


def check(m_lo: object = 0.2, m_hi: object = 0.5, **others: object) -> None:
    """``InputError`` for margins that would be larger where the teacher is unsure."""
    if isinstance(m_lo, int | float) and isinstance(m_hi, int | float) and m_lo > m_hi:
        raise InputError(
            f"margin: m_lo = {m_lo:g} is above m_hi = {m_hi:g}, so clips of which the teacher is unsure would get the "
            "larger margin; expected m_lo of at most m_hi"
        )


def margin(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor,
    rows: Tensor | None = None,
    *,
    centres: Centres = "own",
    m_lo: Margin = 0.2,
    m_hi: Margin = 0.5,
    s: Annotated[Number, "(0, 1000]"] = 16.0,
) -> Tensor:
    """Cross-entropy with an angular margin: cosines (..., B, C), labels (..., B) → (...,), in nats.

    ``m_lo`` and ``m_hi``: margins in radians where the teacher is least and most sure; ``s``: what the cosines are multiplied
    with. ``teacher.constants["centres"]`` (..., C, D): means of its embeddings over each class. Clips without a label (−1) are
    left out, and so are those that ``rows`` (..., B) leaves out.
    """
    labels = labels if rows is None else labels.where(rows, -1)
    means: Mapping[str, Tensor] = teacher.constants  # type: ignore[assignment]
    centre = unit_rows(means["centres"].detach())
    if centres == "teacher":
        cosines, like = unit_rows(student.adapted, rows) @ centre.mT, student.adapted
    else:
        cosines, like = student.cosines.double(), student.cosines
    margins = margins_of(unit_rows(teacher.embedding.detach(), rows), centre, labels, per_run(m_lo), per_run(m_hi))
    label = labels.clamp_min(0)[..., None]
    right = turned(cosines.gather(-1, label), margins[..., None])
    classes = torch.arange(cosines.shape[-1], device=cosines.device)
    log_p = (per_run(per_run(s)) * torch.where(classes == label, right, cosines)).log_softmax(-1)
    return as_result(mean_of_labelled(-log_p.gather(-1, label)[..., 0], labels), like)


def margins_of(rows: Tensor, centres: Tensor, labels: Tensor, low: Number, high: Number) -> Tensor:
    """m_n in radians, from the teacher's unit rows (..., B, D) and unit centres (..., C, D) → (..., B)."""
    label = labels.clamp_min(0)[..., None]
    cosines = (rows @ centres.mT).gather(-1, label)[..., 0].clamp_min(0)
    near = torch.where(labels >= 0, cosines, 0.0)
    return (high - low) * near / near.amax(-1, keepdim=True).clamp_min(LEAST) + low


def turned(cosines: Tensor, margins: Tensor) -> Tensor:
    """cos(θ + m) of cos θ; c − m sin m where θ + m is beyond π. Falls as θ grows, with a slope of at most 1 + 10³ sin m."""
    sines = (1 - cosines.square()).clamp_min(FLAT).sqrt()
    inside = cosines * margins.cos() - sines * margins.sin()
    return torch.where(cosines < (math.pi - margins).cos(), cosines - margins * margins.sin(), inside)
