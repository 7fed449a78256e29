"""MEAL's similarity: pooled features of teachers of any shape, another one of them at every step.

v = mean over channels of a map after its ReLU, averaged to a fixed grid of frequency bins × frames, flattened;
L = Σ over pairs of stages of mean over clips of −Σ softmax(v_t) · log softmax(v_s), or the mean of |v_s − v_t|, or of its square.

The same of logits with ``layer`` = logits, where v are the outputs (of one teacher that is ``soft``).
Shen et al., AAAI 2019, whose code flattens a map before it pools it. Their adversarial part is left out: as published it has
no gradient reversal, so the student is asked to be told apart.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs, log_probabilities
from pipeline.losses.needs import by_member, reduced_maps
from pipeline.losses.probabilities import mean_of_clips
from pipeline.losses.stages import OFTEN_LOSE, Shapes, Stages, full, pairs, partners, resampled

FORMULA = (
    "sum over pairs of stages of -sum softmax(v_t) log softmax(v_s), mean over the batch, v = mean over channels of "
    "relu(map), pooled to a grid of bins x frames"
)
SOURCE = "Shen et al., AAAI 2019 (MEAL), without its discriminator"
READS = ("maps",)
TEACHER = {"maps": ("maps",), "logits": ("members",)}
MEMBERS = True
DRAWS = 1
WEIGHT = 0.1
MIX = "soft:1,pooled:0.1"
WITH = {"stages": ("layer=maps",), "grid": ("layer=maps",)}
NOTE = OFTEN_LOSE
CHAIN = "several teachers, another one of them at every step"
RECIPE = "meal"


def activity(maps: Tensor) -> Tensor:
    """The mean over channels of the activation, a map of one channel: (..., K, H, W) → (..., 1, H, W)."""
    return full(maps).relu().mean(-3, keepdim=True)


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes) -> Tensor | None:
    """The same of a stage of the teacher's that is compared: one number a cell."""
    return activity(maps) if stage in partners(student, teacher) else None


def pooled(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    layer: Literal["maps", "logits"] = "maps",
    stages: Stages = "all",
    similarity: Literal["ce", "l1", "l2"] = "ce",
    grid: Literal["1x2", "2x4", "4x8", "8x16"] = "4x8",
) -> Tensor:
    """Difference of the pooled maps: maps (..., B, K, H, W) → (...,); channels and sizes may differ.

    Of several teachers, with maps (..., B, M, K, H, W) (each with its own pairs of stages where their networks are unlike), or ``teacher.members`` (..., B, M, C) for ``layer`` = logits, the
    one of the step is compared, the same for all clips. ``grid``: frequency bins × frames; ``stages``: the pairs that are compared;
    ``rows`` (..., B): the clips that count (None: all). ``similarity`` ce is in nats and at least the entropy of softmax(v_t);
    l1 and l2 are 0 where both are equal. ``labels`` are not used.
    """
    if layer == "logits":
        target = chosen(full(teacher.members.detach()), student.draws)
        return mean_of_clips(apart(full(student.logits), target, similarity), rows)
    bins, frames = map(int, grid.split("x"))
    of_members = []
    for kept in by_member(reduced_maps(reduced, student, teacher)):
        each = []
        for ours, theirs in pairs(student.maps, kept, stages):
            both = activity(student.maps[ours]), kept[theirs].detach()
            guess, target = (resampled(maps, (bins, frames)).flatten(-3) for maps in both)
            target = chosen(target, student.draws) if target.ndim > guess.ndim else target
            each.append(apart(guess, target, similarity))
        of_members.append(torch.stack(each).sum(0))
    if len(of_members) == 1:
        return mean_of_clips(of_members[0], rows)
    return mean_of_clips(chosen(torch.stack(of_members, -1)[..., None], student.draws)[..., 0], rows)


def apart(student: Tensor, teacher: Tensor, similarity: str) -> Tensor:
    """Of each clip: vectors (..., B, N) → (..., B), by the similarity of that name."""
    if similarity == "ce":
        return -(log_probabilities(teacher).exp() * log_probabilities(student)).sum(-1)
    difference = student - teacher
    return (difference.abs() if similarity == "l1" else difference.square()).mean(-1)


def chosen(members: Tensor, draws: Tensor) -> Tensor:
    """What the teacher of this step says, member ⌊u · M⌋ of a run: (..., B, M, N) → (..., B, N).

    ``draws`` (..., B, n), uniform in [0, 1): u is the first of the first clip, one for all clips of the step.
    """
    count = members.shape[-2]
    member = (draws[..., :1, :1] * count).long().clamp_max(count - 1)[..., None]
    return members.gather(-2, member.expand(*members.shape[:-2], 1, members.shape[-1])).squeeze(-2)
