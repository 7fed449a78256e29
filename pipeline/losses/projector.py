"""Several small projectors of the student together point where the teacher's embedding does.

x the student's last hidden layer, t the teacher's embedding; p = mean over q of relu(W_k x + b_k), trained with the student:
L = mean_n [1 − cos(p_n, t_n)]

Chen et al. 2022 (NeurIPS, PEFD). = ½ |p̂ − t̂|²; unchanged by a positive factor for each clip where b = 0. A length has a floor
(published code has none, and gives 0 / 0 for a dead p), so that p = 0 or t = 0 costs 1 and moves nothing. Their code builds a
fourth projector that is never trained.

``form`` = log (Miles and Mikolajczyk 2024, AAAI): L = ln(10⁻⁶ + Σ_{n,d} |ŝ − t̂|⁴), s one linear layer of x, both sides
standardised over the batch as batch norm without weights does (ε = 10⁻⁴). Theirs has no 10⁻⁶: −∞ where both agree, and an
error for a batch of one clip, which is 0 here.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.floors import directions
from pipeline.losses.probabilities import mean_of_clips
from pipeline.losses.stages import Shapes

FORMULA = "mean over the batch of 1 - cos(p, t), p = mean of q relu(W_k hidden + b_k); form = log: ln sum |bn(W hidden) - bn(t)|^4"
SOURCE = (
    "Chen et al. 2022 (NeurIPS), PEFD, as their code; form = log: Miles and Mikolajczyk 2024 (AAAI), as their code, with this "
    "project's 10^-6 in the logarithm"
)
READS = ("hidden",)
TEACHER = ("embedding",)
WEIGHT = 25.0
MIX = "ce:1,projector:25"
FORMS = {"ce:1,hinton:1@T=1,projector:2@form=log": "Miles and Mikolajczyk 2024 (AAAI), as their code"}
WITH = {"q": ("form=cosine",)}
NOTE = "form = log was published with the weight 2 beside hinton:1@T=1"

Form = Literal["cosine", "log"]

#: Of ``form`` = log: beside a variance, ...
BESIDE_VARIANCE = 1e-4

#: ... and beside the sum.
BESIDE_SUM = 1e-6


class Projectors(nn.Module):
    """``hidden`` (B, D_s) → (B, D_t): the mean of q linear layers, each behind a ReLU; one alone without it where ``plain``."""

    def __init__(self, inputs: int, outputs: int, q: int, plain: bool) -> None:
        super().__init__()
        self.q, self.plain = q, plain
        self.linear = nn.Linear(inputs, q * outputs)

    def forward(self, outputs: Outputs) -> Tensor:
        each: Tensor = self.linear(outputs["hidden"])
        return each if self.plain else F.relu(each).unflatten(-1, (self.q, -1)).mean(-2)


def adapter(student: Shapes, teacher: Shapes, *, form: Form = "cosine", q: Annotated[int, "[1, 16]"] = 3) -> nn.Module:
    """From the student's hidden to the width of the teacher's embedding."""
    plain = form == "log"
    return Projectors(student["hidden"][0], teacher["embedding"][0], 1 if plain else q, plain)


def projector(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    form: Form = "cosine",
    q: Annotated[int, "[1, 16]"] = 3,
) -> Tensor:
    """Cosine distance of what the adapter makes of the student: (..., B, D), embedding (..., B, D) → (...,), from 0 to 2.

    ``q``: how many projectors; ``form``: see above. ``rows`` (..., B): the clips that count (None: all). ``labels`` are not used.
    """
    p, t = student.adapted.double(), teacher.embedding.detach().double()
    if form == "log":
        value = log_of_fourth_powers(p, t, rows)
    else:
        value = mean_of_clips(1 - (directions(p, rows) * directions(t, rows)).sum(-1), rows)
    return as_result(value, student.adapted)


def log_of_fourth_powers(s: Tensor, t: Tensor, rows: Tensor | None) -> Tensor:
    """ln(10⁻⁶ + Σ |ŝ − t̂|⁴) over the clips that count and all numbers: (..., B, D) → (...,); 0 of fewer than two clips."""
    counted = torch.ones_like(s[..., 0], dtype=torch.bool) if rows is None else rows
    apart = torch.where(counted[..., None], over_batch(s, counted) - over_batch(t, counted), 0.0)
    value = (BESIDE_SUM + apart.pow(4).sum((-2, -1))).log()
    return torch.where(counted.sum(-1) > 1, value, 0.0)


def over_batch(x: Tensor, counted: Tensor) -> Tensor:
    """(x − mean) / √(variance + ε) of each number over the clips that count, the variance divided by their number: (..., B, D)."""
    weights = counted.to(x)[..., None]
    count = weights.sum(-2, keepdim=True).clamp_min(1)
    centred = x - (weights * x).sum(-2, keepdim=True) / count
    variance = (weights * centred.square()).sum(-2, keepdim=True) / count
    return centred / (variance + BESIDE_VARIANCE).sqrt()
