"""Flow of solution procedure: how one stage of a network turns into the next; blind to when.

G = (1 / HW) Σ over cells of a bᵀ, a (m channels) and b (n) two consecutive stages after their ReLU at their common size;
L = Σ over consecutive pairs of mean over clips and the m · n of (G_s − G_t)².

Yim et al. 2017 (CVPR), section 3; their sum over m · n is m · n of these means. A 1 × 1 convolution without norm first gives a stage
of the student's as many channels as its partner has. RepDistiller refuses unlike channels, and pools to (height, height), so that
maps that are not square are compared with a broadcast; it uses the term for 30 epochs of initialisation, and its weight of 50
multiplies 0 then. torchdistill pools by maxima, as the paper did, and takes the norm over one axis, not squared. Averages here.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import InputError
from pipeline.losses import Outputs
from pipeline.losses.needs import reduced_maps
from pipeline.losses.regressors import ChannelRegressors
from pipeline.losses.stages import OFTEN_LOSE, Shapes, Stages, common, full, pairs, resampled
from pipeline.models.outputs import stage_maps

FORMULA = (
    "sum over consecutive stages of mean (G_s - G_t)^2, G = mean over cells of a b^T, a, b = relu(maps) at their common size, "
    "the student's behind a 1 x 1 convolution where channels differ"
)
SOURCE = "Yim et al. 2017 (CVPR), section 3, as a mean; from memory, with averages for its maximum pooling"
READS = ("maps",)
TEACHER = ("maps",)
WEIGHT = 50.0
MIX = "ce:1,flow:50"
NOTE = OFTEN_LOSE


def chain(student: Mapping[str, Any], teacher: Mapping[str, Any], stages: str) -> tuple[tuple[str, str], ...]:
    """The pairs of stages (student's, teacher's) of which each is compared with the next; the first two alone, or the last two.

    Raises ``InputError`` where there is one pair only: nothing turns into anything.
    """
    every = pairs(stage_maps(student), stage_maps(teacher))
    if len(every) < 2:
        raise InputError(
            f"flow compares how one stage turns into the next, and {len(every)} of the student's stages has a partner in the "
            "teacher; expected networks with two pairs of stages: choose another term on maps, for example attention"
        )
    return {"all": every, "first": every[:2], "last": every[-2:]}[stages]


def adapter(student: Shapes, teacher: Shapes, *, stages: Stages = "all") -> nn.Module:
    """A 1 × 1 convolution for each compared stage whose partner has another number of channels."""
    return ChannelRegressors(student, teacher, chain(student, teacher, stages))


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes, stages: Stages = "all") -> Tensor | None:
    """A compared stage of the teacher's after its ReLU; where all that it is compared at is one size, at that size."""
    names = [partner for _, partner in chain(student, teacher, stages)]
    sizes = {common(teacher[a], teacher[b]) for a, b in itertools.pairwise(names) if stage in (a, b)}
    if not sizes:
        return None
    activation = full(maps).relu()
    return resampled(activation, sizes.pop()) if len(sizes) == 1 else activation


def flow(student: Outputs, teacher: Outputs, labels: Tensor | None, *, stages: Stages = "all") -> Tensor:
    """Difference of how stages turn into the next: adapted maps (..., B, K, H, W) → (...,); sizes may differ.

    ``stages``: every consecutive pair, the first alone, or the last alone. The gradient by a is at most 2 |G_s − G_t| |b| / (HW).
    ``labels`` are not used.
    """
    kept, adapted = reduced_maps(reduced, student, teacher, stages=stages), dict(student.adapted)
    names, each = list(adapted), []
    for a, b in itertools.pairwise(names):
        apart = products(adapted[a], adapted[b]) - products(kept[a].detach(), kept[b].detach())
        each.append(apart.square().mean((-3, -2, -1)))
    return torch.stack(each).sum(0)


def products(a: Tensor, b: Tensor) -> Tensor:
    """G of two stages: (..., m, H, W) and (..., n, H', W') → (..., m, n)."""
    to = common(a, b)
    left, right = (resampled(full(maps), to).flatten(-2) for maps in (a, b))
    with torch.autocast(left.device.type, enabled=False):
        return left @ right.mT / left.shape[-1]
