"""Tolerance: a first teacher that keeps some probability on similar classes.

L = mean_n [p_(1) − (1 / (K − 1)) · Σ_{k = 2..K} p_(k)],  p = softmax(z_s) sorted downwards

Yang et al. 2019 (AAAI): the teacher learns η · ce + (1 − η) · L with K = 5, η from 0.6 to 0.9, and its descendants get
better, though it is less accurate itself. Whether the paper takes the scores before or after the softmax was not verified:
``on = probabilities`` has a bounded gradient (at most ½ per clip), ``on = outputs`` takes z itself. A public re-use divides by
K instead of K − 1. No teacher and no labels are read.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs

FORMULA = "mean over the batch of p_(1) - mean of p_(2) to p_(K), p = softmax(z_s) sorted downwards"
SOURCE = "Yang et al. 2019 (AAAI), tolerant teachers; K - 1, as in the paper, not K as in a public re-use"
READS = ("logits",)
TEACHER = ()
WEIGHT = 0.1
MIX = "ce:0.9,tolerance:0.1"
CLASSES = "K"


def tolerance(
    student: Outputs,
    teacher: Outputs | None,
    labels: Tensor | None,
    *,
    K: Annotated[int, "[2, inf)"] = 5,
    on: Literal["probabilities", "outputs"] = "probabilities",
) -> Tensor:
    """How far the first class stands above the next K − 1: logits (..., B, C) → (...,), 0 to 1 on probabilities.

    0 where the K first classes are equal. ``K`` is a whole number from 2 to C. ``teacher`` and ``labels`` are not used.
    """
    scores = student.logits.double()
    if on == "probabilities":
        scores = scores.softmax(-1)
    ordered = torch.sort(scores, dim=-1, descending=True, stable=True).values
    apart = ordered[..., 0] - ordered[..., 1:K].mean(-1)
    return apart.mean(-1).to(torch.promote_types(student.logits.dtype, torch.float32))
