"""Knowledge distillation of softened outputs.

L = T² · mean_n KL(p_t ‖ p_s),  p = softmax(z / T)

Hinton et al. 2015; T² keeps the gradient's size when T changes. Cho et al. 2023 use T = 1.5.

Wen, Lai and Qian 2019: ``wrong`` corrects p_t where the teacher does not name the label (knowledge adjustment), and
``vary`` gives each clip a temperature of its own, τ_n = max(T + (w̄ − w_n) · beta, 1) with w̄ the mean over the batch, and
L = mean_n τ_n² · KL(softmax(z_t / τ_n) ‖ softmax(z_s / τ_n)). Confusing clips get a lower one:

    angle        w_n = (1 − cos(z_s, z_t))^gamma     how far the outputs are apart
    confidence   w_n = 1 / max_c softmax(z_s)(c)     how unsure the student is

``logits`` = standard: both sides' outputs are standardised over the classes of each clip first (Sun et al. 2024), with the
gradient through mean and deviation; published code divides by sd + 10⁻⁷ with C − 1, the paper by C. ``weigh`` = wsld: every
clip counts by w_n = 1 − exp(−ce_s / (ce_t + 10⁻⁷)), ce the cross-entropy of the label at T = 1, without gradient (Zhou et al.
2021, weighted soft labels): where the student is right and sure it learns little of the teacher. Their code has the
cross-entropy form, of the same gradient: theirs = ours + mean_n w_n T² H(softmax(z_t / T)).

``T`` = learned (Li et al. 2023, curriculum temperature): T = 1 + 20 σ(θ), one number per run that is trained with the student and no part
of it, from θ = 1 on; T² stands in the graph. θ's gradient is multiplied by λ_e = ½ (cos(π min(e, 10) / 10) + 1) − 1, e from 1: from −0.02
to −1 in epoch 10, so that θ climbs the loss that the student descends. The paper's temperature per clip is not in its code, nor here.

Public code differs in whether T² is there, and in taking the cosine of outputs or of probabilities. Here T² stands per
clip, so that the temperature does not reweigh clips, and cosines are those of outputs. The floor of 1 is this project's.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.probabilities import (
    Logits,
    Number,
    Share,
    Wrong,
    corrected,
    log_probabilities,
    log_probabilities_of_clips,
    mean_of_clips,
    per_run,
    prepared,
)
from pipeline.losses.stages import Shapes

FORMULA = (
    "T^2 * mean over the batch of w KL(softmax(z_t / T) || softmax(z_s / T)), w = 1 without weigh; T per clip by vary, z_t "
    "corrected by wrong"
)
SOURCE = (
    "Hinton et al. 2015; T = 1.5 from Cho et al. 2023, section 4; wrong and vary: Wen et al. 2019; logits = standard: Sun et al. "
    "2024 (CVPR), sd with C - 1 as their code (the paper's with C from memory); weigh = wsld: Zhou et al. 2021 (ICLR), as their "
    "code, T = 2 and weight 2.5 on ImageNet (T = 4 and 2.25 on CIFAR-100 from memory); T = learned: Li et al. 2023 (AAAI), CTKD, as their code"
)
READS = ("logits",)
TEACHER = ("logits",)
WEIGHT = 1.0
MIX = "hinton:1,soft:1"
FORMS = {
    "ce:0.1,hinton:9@T=2@logits=standard": "Sun et al. 2024 (CVPR), as their code",
    "ce:0.1,hinton:0.9@T=learned": "Li et al. 2023 (AAAI), CTKD, as their code",
    "ce:1,hinton:2.5@T=2@weigh=wsld": "Zhou et al. 2021 (ICLR), as their code",
}
MIXES = True
CLASSES = {"standard": 3}  # of two every clip is standardised to the same numbers
ADAPTS = ("T=learned",)
WITH = {"epsilon": ("wrong=smooth",), "beta": ("vary=angle", "vary=confidence"), "gamma": ("vary=angle",)}

#: A temperature that is learned: its least, and how far above that the largest is.
COLDEST = 1.0
SPAN = 20.0

#: The epochs in which its gradient is turned.
TURN = 10

Temperature = Number | Literal["learned"]
Vary = Literal["off", "angle", "confidence"]


class Theta(nn.Module):
    """θ of ``T`` = learned, the same for every clip: (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(1))

    def forward(self, outputs: Outputs) -> Tensor:
        return self.theta.expand(len(outputs["logits"]))


def adapter(student: Shapes, teacher: Shapes, *, T: Temperature = 1.5) -> nn.Module | None:
    """θ where the temperature is learned."""
    return Theta() if T == "learned" else None


def planned(epoch: int, epochs: int, *, T: Temperature = 1.5) -> dict[str, float]:
    """``reversal``: λ of an epoch (from 0), what the gradient of a learned temperature is multiplied by."""
    return {"reversal": (math.cos(math.pi * min(epoch + 1, TURN) / TURN) + 1) / 2 - 1} if T == "learned" else {}


def hinton(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    reversal: Number = 1.0,
    *,
    T: Temperature = 1.5,
    wrong: Wrong = "keep",
    epsilon: Share = 0.95,
    vary: Vary = "off",
    beta: Number = 1.0,
    gamma: Number = 1.0,
    logits: Logits = "raw",
    weigh: Literal["off", "wsld"] = "off",
) -> Tensor:
    """Softened Kullback-Leibler divergence: logits (..., B, C) → (...,), in nats, 0 when outputs agree.

    ``T`` is the temperature, positive, or learned (``reversal``: what its gradient is multiplied by); ``vary`` with ``beta`` and
    ``gamma`` moves that of each clip, without gradient.
    ``wrong`` and ``epsilon`` are those of ``targets``: only ``wrong`` and ``weigh`` use labels; a clip without one keeps the
    teacher's, and the weight 1. ``logits`` as ``prepared``; ``rows`` (..., B): the clips that count (None: all).
    """
    z_s, z_t = student.logits, teacher.logits.detach()
    if logits == "standard":
        z_s, z_t = prepared(z_s, logits), prepared(z_t, logits)
    if isinstance(T, str):
        T = learned(student.adapted[..., 0], reversal)
    of_clips = per_run(T)
    if vary != "off":
        moved = temperatures(z_s, z_t, T, vary, beta, gamma, rows)
        of_clips = moved + (moved > 1) * (of_clips - of_clips.detach()) if isinstance(of_clips, Tensor) else moved
    log_q = corrected(log_probabilities_of_clips(z_t, of_clips), z_t, labels, wrong, epsilon)
    divergence = (log_q.exp() * (log_q - log_probabilities_of_clips(z_s, of_clips))).sum(-1)
    if weigh == "wsld":
        assert labels is not None
        divergence = unsure(student.logits, teacher.logits, labels) * divergence
    if vary == "off":
        value = T**2 * mean_of_clips(divergence, rows)
    else:
        value = mean_of_clips(of_clips**2 * divergence, rows).to(divergence.dtype)
    return as_result(value, student.logits) if logits == "standard" else value


def learned(theta: Tensor, reversal: Number) -> Tensor:
    """T of θ (...,): from 1 to 21, with the gradient of θ times ``reversal``."""
    fixed = theta.detach()
    return COLDEST + SPAN * (fixed + reversal * (theta - fixed)).sigmoid()


@torch.no_grad()
def unsure(z_s: Tensor, z_t: Tensor, labels: Tensor) -> Tensor:
    """w of each clip: logits (..., B, C), labels (..., B) → (..., B) from 0 to 1; 1 of a clip without a label."""
    label = labels.clamp_min(0)[..., None]
    ours, theirs = (-log_probabilities(z).gather(-1, label)[..., 0] for z in (z_s, z_t))
    return torch.where(labels >= 0, -torch.expm1(-ours / (theirs + 1e-7)), 1.0)


@torch.no_grad()
def temperatures(
    z_s: Tensor, z_t: Tensor, T: Number, vary: str, beta: Number, gamma: Number, rows: Tensor | None = None
) -> Tensor:
    """τ of each clip: (..., B, C) → (..., B), at least 1; T where the batch is one clip. Zero outputs: cosine 0.

    ``rows`` (..., B): the clips that w̄ is the mean of (None: all).
    """
    z_s, z_t = z_s.double(), z_t.double()
    if vary == "angle":
        lengths = torch.linalg.vector_norm(z_s, dim=-1) * torch.linalg.vector_norm(z_t, dim=-1)
        cosines = (z_s * z_t).sum(-1) / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)
        doubt = (1 - cosines).clamp_min(0) ** per_run(gamma)
    else:
        doubt = 1 / z_s.softmax(-1).amax(-1)
    return (per_run(T) + (mean_of_clips(doubt, rows)[..., None] - doubt) * per_run(beta)).clamp_min(1)
