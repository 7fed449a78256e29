"""Cross-entropy of the student's output against the teacher's output: the first term of the total loss.

L = mean_n −Σ_c p_t(c | x_n) log p_s(c | x_n),  p = softmax(z)

Cho et al. 2023, equation of the total loss (the first sum, "CrossEntropy(f_t(x_i), f_s(x_i))"), taken as a
mean over the batch; Hinton et al. 2015 at T = 1.
"""

from __future__ import annotations

from torch import Tensor

from pipeline.losses import Outputs, log_probabilities

FORMULA = "mean over the batch of -sum_c softmax(z_t)[c] log softmax(z_s)[c]"
SOURCE = "Cho et al. 2023, total loss, first term; Hinton et al. 2015 at T = 1"
READS = ("logits",)
TEACHER = ("logits",)
WEIGHT = 1.0


def soft(student: Outputs, teacher: Outputs, labels: Tensor | None) -> Tensor:
    """Cross-entropy with the teacher's probabilities: logits (..., B, C) → (...,), in nats.

    At its least it is the entropy of the teacher's output, not 0. ``labels`` are not used.
    """
    targets = log_probabilities(teacher.logits.detach()).exp()
    return -(targets * log_probabilities(student.logits)).sum(-1).mean(-1)
