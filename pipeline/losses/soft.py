"""Cross-entropy of the student's output against the teacher's output: the first term of the total loss.

L = mean_n −Σ_c q_n(c) log p_s(c | x_n),  q = softmax(z_t / T),  p_s = softmax(z_s)

Cho et al. 2023, equation of the total loss (the first sum, "CrossEntropy(f_t(x_i), f_s(x_i))"), taken as a
mean over the batch; Hinton et al. 2015 at T = 1. With another T only the teacher is tempered and there is no T²:
the asymmetric term of snapshot distillation (Yang et al. 2019). ``wrong`` corrects the teacher where it does not name
the label; ``label`` is conditional teacher-student learning (Meng et al. 2019). With ``@rows=unlabelled`` it is the second term
of noisy student (Xie et al. 2020), whose ``hard`` targets are pseudo labels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses import Outputs, log_probabilities
from pipeline.losses.probabilities import Number, Share, Wrong, targets

FORMULA = "mean over the batch of -sum_c q[c] log softmax(z_s)[c], q = softmax(z_t / T), corrected by wrong; hard: all on the largest"
SOURCE = (
    "Cho et al. 2023, total loss, first term; Hinton et al. 2015 at T = 1; wrong = label: Meng et al. 2019, "
    "swap and smooth: Wen et al. 2019; other T: Yang et al. 2019; hard: Xie et al. 2020"
)
READS = ("logits",)
TEACHER = ("logits",)
WEIGHT = 1.0
MIX = "soft:1"
MIXES = True
WITH = {"epsilon": ("wrong=smooth",)}


def soft(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    *,
    T: Number = 1.0,
    wrong: Wrong = "keep",
    epsilon: Share = 0.95,
    hard: bool = False,
) -> Tensor:
    """Cross-entropy with the teacher's probabilities: logits (..., B, C) → (...,), in nats.

    At its least it is the entropy of the targets, not 0. ``T``, positive, tempers the teacher alone; ``wrong`` and
    ``epsilon`` are those of ``targets``: only ``wrong`` uses labels, and a clip without one keeps the teacher's. ``hard``: all
    on the largest of these (the first of equals), pseudo labels.
    """
    probabilities = targets(teacher.logits, labels, T, wrong, epsilon)
    if hard:
        largest = probabilities.argmax(-1, keepdim=True)
        probabilities = torch.zeros_like(probabilities).scatter(-1, largest, 1.0)
    return -(probabilities * log_probabilities(student.logits)).sum(-1).mean(-1)


def check(hard: bool = False, **others: object) -> None:
    """``InputError`` for options that do not go together."""
    if hard and "T" in others:
        raise InputError(
            f"soft: T = {others['T']} with hard = true changes nothing, for the largest stays the largest; expected one of them"
        )
