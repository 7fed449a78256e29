"""Probabilities of outputs, as several losses need them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def log_probabilities(logits: Tensor, T: float = 1.0) -> Tensor:
    """log softmax(z / T) over the last axis, in float32 at least."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.log_softmax(wide / T, -1)
