"""SGD with Nesterov momentum for R runs at once, on one flat tensor (R, P), and each run's learning rate.

The formula is torch.optim.SGD's: g ← g + λp; m ← μm + g; p ← p − lr (g + μm), or p − lr·m without Nesterov.
Gradient clipping is torch.nn.utils.clip_grad_norm_'s, by the norm of each run's own gradient, before λp is added.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.config import TrainSettings


@torch.no_grad()
def descend(
    weights: Tensor,
    gradients: Tensor,
    momentum: Tensor,
    lr: Tensor,
    settings: TrainSettings,
    alive: Tensor | None = None,
) -> None:
    """One step in place; ``gradients`` are used up. All (R, P); ``lr`` and ``alive`` (boolean) are (R, 1).

    A run that is not alive keeps its weights and momentum bit for bit. ``alive`` None: all are.
    """
    if settings.clip_norm:
        norm = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        gradients.mul_((settings.clip_norm / (norm + 1e-6)).clamp_(max=1))
    if settings.weight_decay:
        gradients.add_(weights, alpha=settings.weight_decay)
    if alive is not None:
        lr = torch.where(alive, lr, 0)
        kept = momentum.clone()
    momentum.mul_(settings.momentum).add_(gradients)
    direction = gradients.add_(momentum, alpha=settings.momentum) if settings.nesterov else momentum
    if alive is None:
        weights.addcmul_(direction, lr, value=-1)
    else:
        momentum.copy_(torch.where(alive, momentum, kept))
        weights.copy_(torch.where(alive, weights.addcmul(direction, lr, value=-1), weights))


def learning_rate(settings: TrainSettings, epoch: int, step: int, steps: int) -> float:
    """The learning rate of a step (0 ≤ step < steps of an epoch) of a run with ``steps`` steps per epoch.

    The warm-up rises linearly to the schedule's value and reaches it at its last step; the cosine runs from the end
    of the warm-up to the end of the training; the step schedule counts epochs from the start, and drops at its milestones where it has some.
    """
    done, warmup = epoch * steps + step, settings.warmup_epochs * steps
    rate = settings.lr * min(1.0, (done + 1) / warmup) if warmup else settings.lr
    if settings.schedule == "step":
        marks = [int(mark) for mark in settings.milestones.split(",")] if settings.milestones else []
        drops = sum(epoch >= mark for mark in marks) if marks else epoch // settings.step_epochs
        return rate * settings.gamma**drops
    if settings.schedule == "cosine":
        progress = max(0.0, done - warmup) / max(1.0, settings.epochs * steps - warmup)
        return rate * 0.5 * (1 + math.cos(math.pi * progress))
    return rate
