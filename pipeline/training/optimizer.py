"""SGD with Nesterov momentum and AdamW for R runs at once, on one flat tensor (R, P), averaged weights, and learning rates.

Formulas are torch.optim's. SGD: g ← g + λp; m ← μm + g; p ← p − lr (g + μm), or p − lr·m without Nesterov. AdamW (Loshchilov
and Hutter 2019): p ← p − lr·λp; m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; p ← p − lr·m̂ / (√v̂ + 10⁻⁸), where m̂ and v̂ are
divided by 1 − β₁ᵗ and 1 − β₂ᵗ at a run's own step t, and β₁ is the setting ``momentum``.
Gradient clipping is torch.nn.utils.clip_grad_norm_'s, by the norm of each run's own gradient, before λp is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.config import TrainSettings

#: What AdamW adds to √v̂: torch's default.
EPSILON = 1e-8


def state_of(weights: Tensor, settings: TrainSettings) -> dict[str, Tensor]:
    """What the optimizer remembers of R runs before their first step, zeros: each (R, P), but ``taken``, (R, 1), their steps."""
    state = {"momentum": torch.zeros_like(weights)}
    if settings.optimizer == "adamw":
        state["squares"] = torch.zeros_like(weights)
    if settings.optimizer == "adamw" or settings.average:
        state["taken"] = torch.zeros(len(weights), 1, dtype=torch.float64, device=weights.device)
    return state


@torch.no_grad()
def descend(
    weights: Tensor,
    gradients: Tensor,
    state: Mapping[str, Tensor],
    lr: Tensor,
    settings: TrainSettings,
    alive: Tensor | None = None,
    decays: Tensor | None = None,
) -> None:
    """One step in place; ``gradients`` are used up. All (R, P); ``lr`` and ``alive`` (boolean) are (R, 1).

    ``state``: as ``state_of`` began it. A run that is not alive keeps its weights and state bit for bit. ``alive`` None: all are.
    ``decays`` (P,) boolean: the weights that decay (None: all).
    """
    if settings.clip_norm:
        norm = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        gradients.mul_((settings.clip_norm / (norm + 1e-6)).clamp_(max=1))
    changed = (weights, *state.values())
    before = [tensor.clone() for tensor in changed] if alive is not None else []
    if "taken" in state:
        state["taken"].add_(1)
    if settings.optimizer == "adamw":
        adamw(weights, gradients, state, lr, settings, decays)
    else:
        sgd(weights, gradients, state["momentum"], lr, settings, decays)
    for tensor, old in zip(changed, before):
        tensor.copy_(torch.where(alive, tensor, old))  # type: ignore[arg-type]


def sgd(
    weights: Tensor,
    gradients: Tensor,
    momentum: Tensor,
    lr: Tensor,
    settings: TrainSettings,
    decays: Tensor | None = None,
) -> None:
    if settings.weight_decay:
        gradients.add_(weights if decays is None else weights * decays, alpha=settings.weight_decay)
    momentum.mul_(settings.momentum).add_(gradients)
    direction = gradients.add_(momentum, alpha=settings.momentum) if settings.nesterov else momentum
    weights.addcmul_(direction, lr, value=-1)


def adamw(
    weights: Tensor,
    gradients: Tensor,
    state: Mapping[str, Tensor],
    lr: Tensor,
    settings: TrainSettings,
    decays: Tensor | None = None,
) -> None:
    first, second = (1 - beta ** state["taken"] for beta in (settings.momentum, settings.beta2))
    weights.mul_(1 - lr * settings.weight_decay * (1 if decays is None else decays))
    momentum = state["momentum"].lerp_(gradients, 1 - settings.momentum)
    squares = state["squares"].mul_(settings.beta2).addcmul_(gradients, gradients, value=1 - settings.beta2)
    length = squares.sqrt().div_(second.sqrt().to(weights)).add_(EPSILON)
    weights.addcmul_(momentum / length, (lr / first).to(weights), value=-1)


@torch.no_grad()
def follow(
    averages: Mapping[str, Tensor],
    latest: Mapping[str, Tensor],
    taken: Tensor,
    decay: float,
    alive: Tensor | None = None,
) -> None:
    """Move the exponential moving averages, each (R, ...), in place: a ← d · a + (1 − d) · latest, of runs that are alive.

    d is min(``decay``, (1 + t) / (10 + t)) after step t (``taken`` (R, 1)), as in TensorFlow's ExponentialMovingAverage: a
    training is short, and of a constant decay the first values keep a share, 1 % after 456 steps of 0.99, that is as large as
    the variance itself of a batch norm whose inputs vary little. After a run's first step they are the values themselves, as in
    torch.optim.swa_utils.AveragedModel.
    """
    warm = torch.clamp((1 + taken) / (10 + taken), max=decay)
    share = torch.where(taken == 1, 1.0, 1 - warm)
    for name, average in averages.items():
        by_run = (len(share), *[1] * (average.ndim - 1))
        moved = average.lerp(latest[name], share.view(by_run).to(average))
        average.copy_(moved if alive is None else torch.where(alive.view(by_run), moved, average))


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
