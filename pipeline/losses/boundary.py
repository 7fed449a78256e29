"""Activation boundaries: which of the teacher's neurons are on, not how much.

L = Σ over pairs of stages of mean [ρ · max(μ − s, 0)² + (1 − ρ) · max(μ + s, 0)²],

s the adapted student and t the teacher before their ReLU, ρ = 1 where t > 0, else 0. Heo et al., AAAI 2019, eq. 4; their
code sums over a clip's neurons, times 3/1000, and halves each earlier stage's weight. For two stages of ``cnn2`` from
``resnet18`` at (5, 20, 173) that is exactly 20.64 of these means. Meant as a first training, without labels.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.needs import reduced_maps
from pipeline.losses.regressors import NormalisedRegressors
from pipeline.losses.stages import OFTEN_LOSE, Shapes, Stages, at_common_size, full, mean

FORMULA = (
    "sum over pairs of stages of mean max(margin - s, 0)^2 where t > 0, max(margin + s, 0)^2 elsewhere, "
    "s = norm(A map), t = map, before ReLU"
)
SOURCE = "Heo et al., AAAI 2019, eq. 4, as a mean"
READS = ("maps",)
TEACHER = ("maps",)
WEIGHT = 20.64
MIX = "boundary:20.64,soft:0"
NOTE = OFTEN_LOSE
CHAIN = "a second training with labels or outputs, which starts from this one"
RECIPE = "boundary-first"


def adapter(student: Shapes, teacher: Shapes, *, stages: Stages = "all") -> nn.Module:
    """A 1 × 1 convolution and batch norm for each pair with different numbers of channels."""
    return NormalisedRegressors(student, teacher, stages, where_equal=False)


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes, stages: Stages = "all") -> Tensor | None:
    """ρ of a stage of the teacher's that is compared, at its common size: a byte a neuron."""
    target = at_common_size(maps, stage, student, teacher, stages)
    return None if target is None else target > 0


def boundary(
    student: Outputs, teacher: Outputs, labels: Tensor | None, *, stages: Stages = "all", margin: float = 1.0
) -> Tensor:
    """Squared distance to the right side of zero by ``margin``: adapted maps (..., B, K, H, W) → (...,).

    0 where every neuron is on or off as the teacher's, by the margin at least. ``stages``: the pairs that are compared.
    ``labels`` are not used.
    """
    each, adapted = [], dict(student.adapted)
    kept = reduced_maps(reduced, student, teacher, stages=stages)
    for stage, guess in adapted.items():
        guess = full(guess)
        outward = 1 - 2 * kept[stage].to(guess.dtype)  # a product: torch.where takes three times as long
        each.append(mean((margin + outward * guess).relu().square()))
    return torch.stack(each).sum(0)


def agreement(guess: Tensor, target: Tensor) -> Tensor:
    """Share of neurons that are on or off as the teacher's: maps (..., B, K, H, W) → (...,)."""
    return mean(((guess > 0) == (target > 0)).float())


def figures(parts: Iterable[tuple[Outputs, Outputs]], *, stages: Stages = "all") -> dict[str, float]:
    """``agreement`` over the clips of all ``parts`` (B, ...), mean over pairs of stages, and of the teacher's channels the shares
    that are off, or on, in every cell of every clip: a channel that is always off pushes the student's below −μ for good."""
    equal: dict[str, float] = {}
    on: dict[str, Tensor] = {}
    off: dict[str, Tensor] = {}
    clips = 0
    for student, teacher in parts:
        kept = reduced_maps(reduced, student, teacher, stages=stages)
        for stage, guess in dict(student.adapted).items():
            target = kept[stage] > 0
            equal[stage] = equal.get(stage, 0.0) + len(target) * float(agreement(guess, target))
            on[stage] = target.any(0).flatten(1).any(1) | on.get(stage, torch.tensor(False))
            off[stage] = (~target).any(0).flatten(1).any(1) | off.get(stage, torch.tensor(False))
        clips += len(student.logits)
    ever_on, ever_off = torch.cat(list(on.values())), torch.cat(list(off.values()))
    return {
        "agreement": sum(equal.values()) / len(equal) / clips,
        "always off": float((~ever_on).double().mean()),
        "always on": float((~ever_off).double().mean()),
    }
