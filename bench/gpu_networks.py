"""The project's networks as ordinary PyTorch, and ``vmap`` over any such network in the place of the packed layers.

The modules have the names of the packed network's, so that the packed weights (R, ...) are just what
``torch.func.stack_module_state`` makes of R ordinary networks: one training loop serves both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from pipeline.models import Network, Outputs


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Without the count of batches, which only a momentum of None needs and which costs a kernel per layer."""
    layer = nn.BatchNorm2d(channels)
    layer.num_batches_tracked = None
    return layer


class PlainCnn2(nn.Module):
    """The student, for standardised x (B, C, H, W)."""

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 16, 3, padding=1)
        self.linear1 = nn.Linear(16 * (height // 4) * (width // 4), 32)
        self.linear2 = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Outputs:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        embedding = F.relu(F.max_pool2d(self.conv2(x), 2)).flatten(1)
        hidden = F.relu(self.linear1(embedding))
        return Outputs(embedding, hidden, self.linear2(hidden))


class PlainBlock(nn.Module):
    """Two 3 × 3 convolutions with batch norm around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = batch_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = batch_norm(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), batch_norm(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class PlainResNet(nn.Module):
    """A residual network of basic blocks, for standardised x (B, C, H, W)."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int], blocks: int, columns: int) -> None:
        super().__init__()
        self.columns = columns
        self.stem = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.norm = batch_norm(widths[0])
        stages, inputs = [], widths[0]
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                stages.append(PlainBlock(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.linear = nn.Linear(widths[-1] * columns, classes)

    def forward(self, x: Tensor) -> Outputs:
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        embedding = F.adaptive_avg_pool2d(x, (1, self.columns)).flatten(1)
        return Outputs(embedding, embedding, self.linear(embedding))


def plain_network(name: str, shape: Sequence[int], classes: int) -> nn.Module:
    """``pipeline.models.build(name, shape, classes)`` as an ordinary module, without the standardisation."""
    if name == "cnn2":
        return PlainCnn2(shape, classes)
    if name == "resnet18":
        return PlainResNet(shape[0], classes, (8, 16, 32, 64), blocks=2, columns=4)
    return PlainResNet(shape[0], classes, (16, 32, 64), blocks=9, columns=1)


def use_vmap(network: Network) -> Network:
    """Let a packed network compute by ``vmap`` over the ordinary one, with the packed network's own weights.

    Returns the same network, which keeps its parameters and buffers; only ``forward`` is another.
    """
    ordinary = plain_network(network.name, network.shape, network.classes).to(network.mean)
    statistics = {name for name, _ in ordinary.named_buffers()}

    def one_run(weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
        return tuple(functional_call(ordinary, (weights, buffers), (x,)))

    def forward(x: Tensor) -> Outputs:
        ordinary.train(network.training)
        buffers = {name: buffer for name, buffer in network.named_buffers() if name in statistics}
        x = network.standardised(x)
        outputs = torch.func.vmap(one_run)(dict(network.named_parameters()), buffers, x)
        return network.outputs(*outputs)

    network.forward = forward  # type: ignore[method-assign]
    return network
