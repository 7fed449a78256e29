"""Distillation without a teacher: a hand-made one that is right about every clip.

u = a on the label, (1 − a) / (C − 1) on each other class;  L = mean_n KL(q_n ‖ softmax(z_s))

Yuan et al. 2020 (CVPR), teacher-free regularisation, mixed as (1 − α) · ce + α · L. What q is:

    code       softmax(u / T), a softmax of probabilities, as the published code has it: nearly uniform (at T = 20 and
               C = 10: 0.10454 on the label, 0.09950 elsewhere), so that it acts as a label smoothing
    tempered   u^(1/T) over its sum, the softmax of log(u) / T, as the paper writes it (0.13498 and 0.09611); u itself at T = 1

The student has no temperature. The authors' divergence is a mean over clips and classes and has a multiplier: a weight here
is α · multiplier / C, so ResNet-18's α = 0.1, T = 20, multiplier 100, at 100 classes, is ``ce:0.9,virtual:0.1``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.probabilities import Number, Share, log_of_smooth, mean_of_labelled, per_run

FORMULA = (
    "mean over the batch of KL(q || softmax(z_s)), q = softmax(u / T), u = a on the label, (1 - a)/(C - 1) elsewhere"
)
SOURCE = "Yuan et al. 2020 (CVPR), teacher-free regularisation; target = code: their code's softmax of probabilities"
READS = ("logits",)
TEACHER = ()
WEIGHT = 0.1
MIX = "ce:0.9,virtual:0.1"


def virtual(
    student: Outputs,
    teacher: Outputs | None,
    labels: Tensor,
    *,
    a: Share = 0.99,
    T: Number = 20.0,
    target: Literal["code", "tempered"] = "code",
) -> Tensor:
    """Divergence from a virtual teacher: logits (..., B, C), labels (..., B) → (...,), in nats, 0 where the student is q.

    ``a``, between 0 and 1, is the teacher's share of the label, ``T`` its temperature, positive. Clips without a label (−1)
    are left out. ``teacher`` is not used.
    """
    log_p = student.logits.double().log_softmax(-1)
    log_u = log_of_smooth(labels.clamp_min(0)[..., None], log_p, a)
    scores = log_u.exp() if target == "code" else log_u
    log_q = (scores / per_run(per_run(T))).log_softmax(-1)
    divergence = (log_q.exp() * (log_q - log_p)).sum(-1)
    return mean_of_labelled(divergence, labels).to(torch.promote_types(student.logits.dtype, torch.float32))
