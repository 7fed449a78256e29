"""Knowledge distillation of softened outputs.

L = T² · mean_n KL(p_t ‖ p_s),  p = softmax(z / T)

Hinton et al. 2015; T² keeps the gradient's size when T changes. Cho et al. 2023 use T = 1.5.
"""

from __future__ import annotations

from torch import Tensor

from pipeline.losses import Outputs, log_probabilities

FORMULA = "T^2 * mean over the batch of KL(softmax(z_t / T) || softmax(z_s / T))"
SOURCE = "Hinton et al. 2015; T = 1.5 from Cho et al. 2023, section 4"
READS = ("logits",)
TEACHER = ("logits",)
WEIGHT = 1.0


def hinton(student: Outputs, teacher: Outputs, labels: Tensor | None, *, T: float = 1.5) -> Tensor:
    """Softened Kullback-Leibler divergence: logits (..., B, C) → (...,), in nats, 0 when outputs agree.

    ``T`` is the temperature, positive. ``labels`` are not used.
    """
    targets = log_probabilities(teacher.logits.detach(), T)
    divergence = targets.exp() * (targets - log_probabilities(student.logits, T))
    return T**2 * divergence.sum(-1).mean(-1)
