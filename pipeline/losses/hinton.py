"""Knowledge distillation of softened outputs.

L = T² · mean_n KL(p_t ‖ p_s),  p = softmax(z / T)

Hinton et al. 2015; T² keeps the gradient's size when T changes. Cho et al. 2023 use T = 1.5.

Wen, Lai and Qian 2019: ``wrong`` corrects p_t where the teacher does not name the label (knowledge adjustment), and
``vary`` gives each clip a temperature of its own, τ_n = max(T + (w̄ − w_n) · beta, 1) with w̄ the mean over the batch, and
L = mean_n τ_n² · KL(softmax(z_t / τ_n) ‖ softmax(z_s / τ_n)). Confusing clips get a lower one:

    angle        w_n = (1 − cos(z_s, z_t))^gamma     how far the outputs are apart
    confidence   w_n = 1 / max_c softmax(z_s)(c)     how unsure the student is

Public code differs in whether T² is there, and in taking the cosine of outputs or of probabilities. Here T² stands per
clip, so that the temperature does not reweigh clips, and cosines are those of outputs. The floor of 1 is this project's.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.probabilities import (
    Number,
    Share,
    Wrong,
    corrected,
    log_probabilities_of_clips,
    mean_of_clips,
    per_run,
)

FORMULA = (
    "T^2 * mean over the batch of KL(softmax(z_t / T) || softmax(z_s / T)); T per clip by vary, z_t corrected by wrong"
)
SOURCE = "Hinton et al. 2015; T = 1.5 from Cho et al. 2023, section 4; wrong and vary: Wen et al. 2019"
READS = ("logits",)
TEACHER = ("logits",)
WEIGHT = 1.0
MIX = "hinton:1,soft:1"
MIXES = True
WITH = {"epsilon": ("wrong=smooth",), "beta": ("vary=angle", "vary=confidence"), "gamma": ("vary=angle",)}


def hinton(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    T: Number = 1.5,
    wrong: Wrong = "keep",
    epsilon: Share = 0.95,
    vary: Literal["off", "angle", "confidence"] = "off",
    beta: Number = 1.0,
    gamma: Number = 1.0,
) -> Tensor:
    """Softened Kullback-Leibler divergence: logits (..., B, C) → (...,), in nats, 0 when outputs agree.

    ``T`` is the temperature, positive; ``vary`` with ``beta`` and ``gamma`` moves that of each clip, without gradient.
    ``wrong`` and ``epsilon`` are those of ``targets``: only ``wrong`` uses labels, and a clip without one keeps the teacher's.
    ``rows`` (..., B): the clips that count (None: all).
    """
    z_t = teacher.logits.detach()
    of_clips = per_run(T) if vary == "off" else temperatures(student.logits, z_t, T, vary, beta, gamma, rows)
    log_q = corrected(log_probabilities_of_clips(z_t, of_clips), z_t, labels, wrong, epsilon)
    divergence = (log_q.exp() * (log_q - log_probabilities_of_clips(student.logits, of_clips))).sum(-1)
    if vary == "off":
        return T**2 * mean_of_clips(divergence, rows)
    return mean_of_clips(of_clips**2 * divergence, rows).to(divergence.dtype)


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
