"""Convolutions with batch norm, pooled over frequency and time, which ``small``, ``tiny`` and ``large`` are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import InputError
from pipeline.models.dropout import Dropout
from pipeline.models.first_weights import draw_he, draw_uniform
from pipeline.models.outputs import Outputs
from pipeline.models.residual import batch_norm
from pipeline.plurals import many


class PooledCNN(nn.Module):
    """3 × 3 convolutions of ``widths``, each with batch norm and ReLU, 2 × 2 max-pooling between them; then the mean over
    frequency, and mean + max over time (Kong et al. 2020, PANNs); linear to the classes.

    ``embedding`` = ``hidden``: the pooled vector, as wide as the last convolution; ``map1``, …: each stage before its ReLU.
    The number of weights does not depend on bins and frames.
    """

    def __init__(self, name: str, shape: Sequence[int], classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        inputs, height, width = shape
        least = 2 ** (len(widths) - 1)
        if min(height, width) < least:
            halved = len(widths) - 1
            raise InputError(
                f"{name}: input of {height} × {width}; expected at least {least} × {least} (it is halved {many(halved, 'time')})"
            )
        channels = (inputs, *widths)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), batch_norm(b)) for a, b in zip(channels, widths)
        )
        self.dropout = Dropout()
        self.linear = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Outputs:
        maps: dict[str, Tensor] = {}
        for number, stage in enumerate(self.stages, 1):
            maps[f"map{number}"] = x = stage(x)
            if number == len(self.stages):
                x = F.relu(x)
            elif self.training:
                # The same bits, and ReLU of a quarter of the values. Exported files join ReLU and convolution.
                x = F.relu(F.max_pool2d(x, 2))
            else:
                x = F.max_pool2d(F.relu(x), 2)
        frames = x.mean(-2)
        embedding = frames.mean(-1) + frames.amax(-1)
        return Outputs(embedding=embedding, hidden=embedding, logits=self.linear(self.dropout(embedding)), **maps)

    def draw(self, generator: torch.Generator) -> None:
        """First weights: convolutions as He et al. 2015, the output layer as torch's default, batch norm 1 and 0."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                draw_he(layer, generator)
        draw_uniform(self.linear, generator)
