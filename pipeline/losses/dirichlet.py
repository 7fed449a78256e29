"""Ensemble distribution distillation: one student that knows an ensemble's answer and how much its members disagree.

α_c = exp(z_c / T), α_0 = Σ_c α_c;  π_m = (1 − γ) softmax(z_m / T) + γ / C of each member, ḡ_c = mean_m log π_m(c)
L = T² · mean_n [Σ_c lnΓ(α_c) − lnΓ(α_0) − Σ_c (α_c − 1) · ḡ_c]

Malinin, Mlodozeniec and Gales 2020 (ICLR), the negative log-likelihood of the members' answers under the Dirichlet density
that the student's outputs are taken for; T falls from 10 to 1 while it learns. Class probabilities stay softmax(z), so the
network is unchanged; ``figures.uncertainty`` says what else the outputs tell. A density: negative values are normal.

In float64, because differences of lnΓ lose their second decimal at z = 11 in float32. lnΓ(α) is taken as lnΓ(α + 1) − ln α, which
stays finite where α is 0. Above α = 10⁴ (z / T = 9.2) outputs count as that, without gradient: where members agree entirely
there is no maximum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.probabilities import Number, Share, per_run

FORMULA = "T^2 * mean over the batch of sum_c lnG(a_c) - lnG(a_0) - sum_c (a_c - 1) mean_m log softmax(z_m / T)[c], a = exp(z_s / T)"
SOURCE = "Malinin, Mlodozeniec and Gales 2020 (ICLR), ensemble distribution distillation"
READS = ("logits",)
TEACHER = ("members",)
WEIGHT = 1.0
MIX = "dirichlet:1@T=10..1,soft:0"
CHAIN = "several teachers"
RECIPE = "distribution"
ALONE = False
NOTE = (
    "published with clip_norm = 10 (--set student.clip_norm=10): without (clip_norm = 0, as in the presets), a few steps carry "
    "outputs past z / T = 9.2, where no gradient brings them back, and the student stays at chance"
)
CLIP_NORM = 10.0

#: The largest z / T that counts: α = 10⁴.
SUREST = 9.2


def dirichlet(
    student: Outputs, teacher: Outputs, labels: Tensor | None, *, T: Number = 1.0, gamma: Share = 1e-3
) -> Tensor:
    """Negative log-density of the members' answers: logits (..., B, C), teacher's ``members`` (..., B, M, C) → (...,).

    In nats per clip, times T²; has no least value where members agree. ``T``, positive, tempers both sides; ``gamma``, between
    0 and 1, is how much of a uniform answer each member's is given. ``labels`` are not used.
    """
    of_clips = per_run(per_run(T))
    scores = (student.logits.double() / of_clips).clamp_max(SUREST)
    concentrations = scores.exp()
    answers = log_smoothed(teacher.members.detach().double() / per_run(of_clips), gamma).mean(-2)
    total = concentrations.sum(-1)
    log_normaliser = (torch.lgamma(concentrations + 1) - scores).sum(-1) - (
        torch.lgamma(total + 1) - scores.logsumexp(-1)
    )
    density = log_normaliser - ((concentrations - 1) * answers).sum(-1)
    return (T**2 * density.mean(-1)).to(torch.promote_types(student.logits.dtype, torch.float32))


def log_smoothed(logits: Tensor, gamma: Number) -> Tensor:
    """log((1 − γ) softmax(z) + γ / C): (..., B, M, C), finite for every γ above 0."""
    share = per_run(per_run(per_run(gamma)))
    return ((1 - share) * logits.softmax(-1) + share / logits.shape[-1]).log()
