"""Outputs on three levels: those of each clip, which classes go together, and which clips are answered alike.

P = softmax(z / T), (B, C); over T in 2, 3, 4, 5, 6:
L = Σ_T [ T² mean_n KL(p_t ‖ p_s) + (64 / B)² · |P_tᵀ P_t − P_sᵀ P_s|² / C + (64 / B) · |P_t P_tᵀ − P_s P_sᵀ|² / B ]

Jin et al. 2023 (CVPR, multi-level logit distillation). The second part grows with B² and the third with B, so that they are
multiplied to what they are at 64 clips, the authors' batch: theirs = ours there.

Their published numbers are of something else: masks of unsure clips multiply sums that are reduced already, so that each part
is weighed by the share of such clips; of the strongly augmented view the first part takes the weak one's outputs at T = 2 and 6,
and the other parts are computed and not added; training is two or four times as long, with RandAugment. Here all of the equation
is trained, on one view; on both, as the equation is meant, with ``ce:0.1@views=2,levels:0.9@views=2`` and a setting ``augment``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.probabilities import Logits, mean_of_clips, prepared

FORMULA = (
    "sum over T = 2..6 of T^2 mean KL(p_t || p_s) + (64/B)^2 |P_t' P_t - P_s' P_s|^2 / C + (64/B) |P_t P_t' - P_s P_s'|^2 / B, "
    "P = softmax(z / T)"
)
SOURCE = (
    "Jin et al. 2023 (CVPR), the equation, on one view or, with views = 2, on both; their code trains less of it; the factors 64 / B and (64 / B)^2, "
    "1 at the authors' batch, are this project's"
)
READS = ("logits",)
TEACHER = ("logits",)
WEIGHT = 0.9
CLASSES = {"standard": 3}  # of two every clip is standardised to the same numbers
MIX = "ce:0.1,levels:0.9"
NOTE = "published for two views of each clip, strongly augmented, and 240 epochs: no figure of theirs is comparable; two views: ce:0.1@views=2,levels:0.9@views=2 and augment"

#: The temperatures.
TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)

#: The batch at which class and batch parts are the authors'.
BATCH = 64


def levels(
    student: Outputs, teacher: Outputs, labels: Tensor | None, rows: Tensor | None = None, *, logits: Logits = "raw"
) -> Tensor:
    """Multi-level divergence of outputs: logits (..., B, C) → (...,), 0 where outputs agree.

    ``rows`` (..., B): the clips that count (None: all), of which B is the number; ``logits`` as ``prepared``. ``labels`` are not
    used.
    """
    z_s, z_t = prepared(student.logits, logits), prepared(teacher.logits.detach(), logits)
    counted = torch.ones_like(z_s[..., 0], dtype=torch.bool) if rows is None else rows
    share = BATCH / counted.sum(-1).clamp_min(1).to(z_s)
    value = torch.zeros_like(z_s[..., 0, 0])
    for T in TEMPERATURES:
        instance, of_classes, of_batch = parts(z_s, z_t, T, counted)
        value = value + instance + share**2 * of_classes + share * of_batch
    return as_result(value, student.logits)


def parts(z_s: Tensor, z_t: Tensor, T: float, counted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three parts at one temperature, of the clips that are ``counted`` (..., B): logits (..., B, C) → three (...,)."""
    log_p, log_q = ((z / T).log_softmax(-1) for z in (z_s, z_t))
    p, q = (torch.where(counted[..., None], each.exp(), 0.0) for each in (log_p, log_q))
    instance = T**2 * mean_of_clips((log_q.exp() * (log_q - log_p)).sum(-1), counted)
    of_classes = (q.mT @ q - p.mT @ p).square().sum((-2, -1)) / p.shape[-1]
    of_batch = (q @ q.mT - p @ p.mT).square().sum((-2, -1)) / counted.sum(-1).clamp_min(1)
    return instance, of_classes, of_batch
