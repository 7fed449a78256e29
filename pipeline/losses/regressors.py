"""Adapters from a student to what a teacher has: a 1 × 1 convolution for each pair of stages, or a linear layer.

They compute in the forward pass of the student, are trained with it, and are no part of it (``pipeline.losses.adapting``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.losses.stages import Shapes, common, pairs, resampled
from pipeline.models import Outputs
from pipeline.models.outputs import stage_maps
from pipeline.models.residual import batch_norm


class MapRegressors(nn.Module):
    """Of each pair of stages the student's map, at the size of the comparison, with the teacher's channels.

    ``Outputs`` → {teacher's stage: (B, K_t, h, w)}. A map is averaged to its size before the convolution: both orders
    give the same, and this one is cheaper.
    """

    def __init__(self, student: Shapes, teacher: Shapes, stages: str, *, rectified: bool) -> None:
        """``rectified``: the maps are taken after their ReLU, else before it."""
        super().__init__()
        ours, theirs = stage_maps(student), stage_maps(teacher)
        self.pairs = pairs(ours, theirs, stages)
        self.sizes = [common(ours[name], theirs[partner]) for name, partner in self.pairs]
        self.channels = [(ours[name][0], theirs[partner][0]) for name, partner in self.pairs]
        self.rectified = rectified
        self.layers = nn.ModuleList(self.layer(few, many) for few, many in self.channels)

    def layer(self, inputs: int, outputs: int) -> nn.Module:
        """First weights uniform in ±1/√K_s, as torch draws them."""
        return nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, outputs: Outputs) -> dict[str, Tensor]:
        regressed = {}
        for (name, partner), to, layer in zip(self.pairs, self.sizes, self.layers):
            maps = F.relu(outputs[name]) if self.rectified else outputs[name]
            regressed[partner] = layer(resampled(maps, to))
        return regressed


class NormalisedRegressors(MapRegressors):
    """The same of the maps before their ReLU, with batch norm behind each convolution (Heo et al. 2019)."""

    def __init__(self, student: Shapes, teacher: Shapes, stages: str, *, where_equal: bool) -> None:
        """``where_equal``: also where both sides have as many channels; else such a pair has no layer."""
        self.where_equal = where_equal
        super().__init__(student, teacher, stages, rectified=False)

    def layer(self, inputs: int, outputs: int) -> nn.Module:
        """First weights normal with variance 2 / K_t, as in the authors' code."""
        if inputs == outputs and not self.where_equal:
            return nn.Identity()
        convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
        nn.init.normal_(convolution.weight, std=(2 / outputs) ** 0.5)
        return nn.Sequential(convolution, batch_norm(outputs))


class ChannelRegressors(nn.Module):
    """Of each given pair the student's map after its ReLU, at its own size, with the teacher's channels.

    ``Outputs`` → {teacher's stage: (B, K_t, H, W)}; a pair with as many channels on both sides has no layer.
    """

    def __init__(self, student: Shapes, teacher: Shapes, pairs: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        channels = [(student[name][0], teacher[partner][0]) for name, partner in pairs]
        self.layers = nn.ModuleList(
            nn.Identity() if few == many else nn.Conv2d(few, many, 1, bias=False) for few, many in channels
        )

    def forward(self, outputs: Outputs) -> dict[str, Tensor]:
        return {partner: layer(F.relu(outputs[name])) for (name, partner), layer in zip(self.pairs, self.layers)}


class Regressor(nn.Module):
    """A linear layer without bias from one of the student's vectors to the width of the teacher's embedding.

    ``Outputs`` → (B, D_t). First weights uniform in ±1/√D_s, as torch draws them.
    """

    def __init__(self, student: Shapes, teacher: Shapes, layer: str) -> None:
        super().__init__()
        self.output = layer
        self.linear = nn.Linear(student[layer][0], teacher["embedding"][0], bias=False)

    def forward(self, outputs: Outputs) -> Tensor:
        regressed: Tensor = self.linear(outputs[self.output])
        return regressed
