"""Residual networks of basic blocks (He et al. 2016), which ``resnet18`` and ``resnet56`` are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import InputError
from pipeline.models.dropout import Dropout
from pipeline.models.first_weights import draw_he, draw_uniform
from pipeline.models.outputs import Outputs
from pipeline.models.places import Place


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Without the count of batches, which only a momentum of None needs."""
    layer = nn.BatchNorm2d(channels)
    layer.num_batches_tracked = None
    return layer


class Block(nn.Module):
    """Two 3 × 3 convolutions with batch norm around a shortcut (He et al. 2016, figure 2), before the last ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = batch_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = batch_norm(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, batch_norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return self.norm2(self.conv2(y)).add_(self.shortcut(x))


class ResNet(nn.Module):
    """A 3 × 3 stem, stages of ``blocks`` blocks that halve the picture from the second on, pooled to 1 × ``columns``.

    ``embedding`` = ``hidden``: the pooled and flattened last stage; ``map1``, …: each stage before its last ReLU.
    """

    windows: Tensor

    def __init__(self, shape: Sequence[int], classes: int, *, widths: Sequence[int], blocks: int, columns: int) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 1:
            raise InputError(f"input of {height} × {width}; expected at least 1 × 1")
        self.stem = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.norm = batch_norm(widths[0])
        self.stage = blocks
        layers, inputs = [], widths[0]
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                layers.append(Block(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)
        for _ in widths[1:]:
            width = (width + 1) // 2
        self.register_buffer("windows", average_windows(width, columns), persistent=False)
        self.behind = nn.ModuleList(Place() for _ in widths)
        self.before_output = Place()
        self.linear = nn.Linear(widths[-1] * columns, classes)
        self.dropout = Dropout()

    def forward(self, x: Tensor) -> Outputs:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        maps: dict[str, Tensor] = {}
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number % self.stage:
                x = F.relu(x, inplace=True)
            else:  # the map is what comes before the ReLU, so this one must not be in place
                maps[f"map{number // self.stage}"] = x
                x = self.behind[number // self.stage - 1](F.relu(x))
        embedding = in_columns(x, self.windows)
        logits = self.linear(self.dropout(self.before_output(embedding)))
        return Outputs(embedding=embedding, hidden=embedding, logits=logits, **maps)

    def draw(self, generator: torch.Generator) -> None:
        """First weights: convolutions as He et al. 2015, the output layer as torch's default, batch norm 1 and 0."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                draw_he(layer, generator)
            elif isinstance(layer, nn.Linear):
                draw_uniform(layer, generator)


def in_columns(x: Tensor, windows: Tensor) -> Tensor:
    """A map (..., C, H, W) averaged over its height and in ``windows`` (n, W) of its width: (..., C · n)."""
    x = x.mean(-2, dtype=windows.dtype)  # (..., C, W)
    return (x.unsqueeze(-2) * windows).sum(-1).flatten(-2)


def average_windows(width: int, windows: int) -> Tensor:
    """(windows, width) weights of adaptive average pooling: window i averages ⌊i·w/n⌋ up to ⌈(i+1)·w/n⌉."""
    weights = torch.zeros(windows, width)
    for i in range(windows):
        first, last = i * width // windows, -(-(i + 1) * width // windows)
        weights[i, first:last] = 1 / (last - first)
    return weights
