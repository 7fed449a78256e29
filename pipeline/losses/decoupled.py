"""What a teacher knows of the wrong classes, apart from how sure it is of the right one.

p = softmax(z / T), y the label, b = (p_y, 1 − p_y), p̂ the softmax over the other classes alone:
TCKD = T² KL(b_t ‖ b_s),  NCKD = T² KL(p̂_t ‖ p̂_s);  L = mean_n [alpha · TCKD + beta · NCKD]

Of every clip T² KL(p_t ‖ p_s) = TCKD + (1 − p_t,y) NCKD: a sure teacher takes the second part almost away from ``hinton``, and
here it has a weight of its own, so that no alpha and beta are a multiple of ``hinton``. Zhao et al. 2022 (CVPR). Published code
puts −1000 on the label in place of leaving it out, and takes the logarithm of a summed probability, which is infinite once the
student is sure; here ln(1 − p_y) is a difference of logsumexp.

``form`` = nkd (Yang et al. 2023, ICCV): −p_t,y ln p_s,y − gamma T² Σ_{c≠y} p̂_t ln p̂_s, the first part at T = 1 whatever T is:
cross-entropies, whose least value is not 0.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.probabilities import Logits, Number, mean_of_labelled, per_run, prepared

FORMULA = "mean over the batch of alpha T^2 KL(b_t || b_s) + beta T^2 KL(p_t || p_s), b = (p_y, 1 - p_y) and p of the other classes alone"
SOURCE = (
    "Zhao et al. 2022 (CVPR), DKD, as their code (the paper's section from memory); form = nkd: Yang et al. 2023 (ICCV), "
    "as their code; T^2 on both parts, alpha 1, beta 8 and the 20 epochs of warm-up are those of its CIFAR-100 runs"
)
READS = ("logits",)
TEACHER = ("logits",)
WEIGHT = 1.0
MIX = "ce:1,decoupled:1@warm=20"
FORMS = {"ce:1,decoupled:1@T=1@form=nkd": "Yang et al. 2023 (ICCV), NKD, as their code"}
CLASSES = 3  # of two classes there is one wrong one, of which nothing is known
WITH = {"alpha": ("form=dkd",), "beta": ("form=dkd",), "gamma": ("form=nkd",)}
NOTE = (
    "form = nkd was published with T = 1 and gamma = 1.5; beta by the pair of networks: 2 (resnet56), 6 (vgg13), 8 else"
)

Share = Annotated[Number, "[0, inf)"]


def check(alpha: object = 1.0, beta: object = 8.0, **others: object) -> None:
    """``InputError`` where neither part counts."""
    if alpha == 0 and beta == 0:
        raise InputError("decoupled: alpha = 0 and beta = 0 leave nothing to learn; expected one of them above 0")


def decoupled(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor,
    *,
    form: Literal["dkd", "nkd"] = "dkd",
    T: Number = 4.0,
    alpha: Share = 1.0,
    beta: Share = 8.0,
    gamma: Share = 1.5,
    logits: Logits = "raw",
) -> Tensor:
    """Decoupled distillation: logits (..., B, C), labels (..., B) → (...,), in nats; clips without a label (−1) are left out.

    ``T`` is the temperature, positive; ``alpha``, ``beta``, ``gamma`` weigh the parts; ``logits`` as ``prepared``.
    """
    z_s, z_t = prepared(student.logits, logits), prepared(teacher.logits.detach(), logits)
    label = labels.clamp_min(0)[..., None]
    if form == "nkd":
        hot, cold = Decoupled(z_s, label, T), Decoupled(z_t, label, T)
        right = -Decoupled(z_t, label, 1.0).right.exp() * Decoupled(z_s, label, 1.0).right
        each = right - per_run(gamma) * per_run(T) ** 2 * (cold.others.exp() * hot.others).sum(-1)
    else:
        first, second = parts(z_s, z_t, label, T)
        each = per_run(alpha) * first + per_run(beta) * second
    return as_result(mean_of_labelled(each, labels), student.logits)


class Decoupled:
    """Logarithms of the probabilities of the label, of all other classes together, and of each of them among themselves."""

    def __init__(self, z: Tensor, label: Tensor, T: Number) -> None:
        """z (..., B, C), label (..., B, 1); right, wrong (..., B), others (..., B, C), 0 at the label (where it counts nothing)."""
        scaled = z / per_run(per_run(T))
        at_label = torch.arange(z.shape[-1], device=z.device) == label
        among = scaled.masked_fill(at_label, -torch.inf)
        every, rest = scaled.logsumexp(-1), among.logsumexp(-1)
        self.right = scaled.gather(-1, label)[..., 0] - every
        self.wrong = rest - every
        self.others = (scaled - rest[..., None]).masked_fill(at_label, 0.0)


def parts(z_s: Tensor, z_t: Tensor, label: Tensor, T: Number) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD of each clip: logits (..., B, C), label (..., B, 1) → two (..., B)."""
    ours, theirs = Decoupled(z_s, label, T), Decoupled(z_t, label, T)
    binary = theirs.right.exp() * (theirs.right - ours.right) + theirs.wrong.exp() * (theirs.wrong - ours.wrong)
    among = (theirs.others.exp() * (theirs.others - ours.others)).sum(-1)  # 0 at the label
    return per_run(T) ** 2 * binary, per_run(T) ** 2 * among
