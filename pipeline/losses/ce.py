"""Cross-entropy of the student's output with the labels.

L = Σ_n w_{y_n} (−log p_s(y_n | x_n)) / Σ_n w_{y_n},  p_s = softmax(z_s)

With all class weights w = 1 this is the mean over the batch. With label smoothing ε the target is (1 − ε) of the label
and ε / C of every class (Szegedy et al. 2016), each class with its own weight, as in ``torch.nn.functional.cross_entropy``.
(Others put ε' / (C − 1) on the wrong classes alone: the same with ε' = ε · (C − 1) / C.) Clips without a label (−1) are in neither sum.

Of clips with several labels it is the binary cross-entropy of each class by itself,

L = mean_n (1/C) Σ_c [−w_c t_c log σ(z_c) − (1 − t_c) log σ(−z_c)],  t_c = 1 where clip n has class c, else 0,

as ``torch.nn.functional.binary_cross_entropy_with_logits`` has it, w its ``pos_weight``. Label smoothing makes t (1 − ε) t + ε / 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.losses import Outputs, log_probabilities

FORMULA = "mean over the batch of -log softmax(z_s)[label]"
FORMULA_OF_SEVERAL = "mean over the batch and the classes of -[t log sigmoid(z_s) + (1 - t) log sigmoid(-z_s)], t = 1 where the clip has the class"
SOURCE = "standard; the base term of plain training (not in the area paper's total loss)"
READS = ("logits",)
TEACHER = ()
WEIGHT = 1.0
MIX = "ce:1"
MIXES = True
LABELS = "several"


def ce(
    student: Outputs,
    teacher: Outputs | None,
    labels: Tensor,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    rows: Tensor | None = None,
    targets: Tensor | None = None,
) -> Tensor:
    """Cross-entropy with the labels: logits (..., B, C), labels (..., B) → (...,), in nats.

    ``class_weights`` (..., C) are those of each run. Clips without a label (−1) are left out of numerator and denominator;
    without any labelled one it is 0, with gradient 0; so are those that ``rows`` (..., B) leaves out, boolean, or by how much each
    counts. ``teacher`` is not used. ``targets`` (labels, C) where clips have several labels: 1 for each class of a label; then it is
    the binary cross-entropy, and ``class_weights`` those of positives.
    """
    if targets is not None:
        return of_several_labels(student.logits, targets, labels, label_smoothing, class_weights, rows)
    labels = labels if rows is None else labels.where(rows > 0, -1)
    costs = -log_probabilities(student.logits)
    weights = costs.new_ones(costs.shape[-1]) if class_weights is None else class_weights.to(costs)
    label, labelled = labels.clamp_min(0)[..., None], (labels >= 0).to(costs)
    if rows is not None and rows.is_floating_point():
        labelled = labelled * rows.to(costs)
    chosen = labelled * weights[..., None, :].expand_as(costs).gather(-1, label)[..., 0]
    hard = (chosen * costs.gather(-1, label)[..., 0]).sum(-1)
    if label_smoothing:
        spread = (labelled * (weights[..., None, :] * costs).mean(-1)).sum(-1)
        hard = (1 - label_smoothing) * hard + label_smoothing * spread
    total = chosen.sum(-1)
    return hard / torch.where(total > 0, total, 1.0)


def of_several_labels(
    logits: Tensor,
    targets: Tensor,
    labels: Tensor,
    label_smoothing: float,
    positive_weights: Tensor | None,
    rows: Tensor | None,
) -> Tensor:
    """The binary cross-entropy (...,) of logits (..., B, C), in nats; clips as ``ce`` counts them, (..., B)."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    target = targets.to(wide)[labels.clamp_min(0)]
    target = (1 - label_smoothing) * target + label_smoothing / 2
    weights = wide.new_ones(wide.shape[-1]) if positive_weights is None else positive_weights.to(wide)
    costs = -(weights[..., None, :] * target * F.logsigmoid(wide) + (1 - target) * F.logsigmoid(-wide)).mean(-1)
    counted = (labels >= 0).to(costs) if rows is None else (labels >= 0).to(costs) * rows.to(costs)
    total = counted.sum(-1)
    return (counted * costs).sum(-1) / torch.where(total > 0, total, 1.0)
