"""The paper's networks in plain torch, as an oracle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.models import Stacked


class PlainBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class PlainCosines(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return 16 * nn.functional.linear(nn.functional.normalize(x), nn.functional.normalize(self.weight))


class PlainPooling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        frames = x.mean(dim=2)
        return frames.mean(dim=2) + frames.max(dim=2).values


def plain_pooled(channels: int, widths: tuple[int, ...], classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in zip((channels, *widths), widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding="same", bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:-1], PlainPooling(), nn.Linear(widths[-1], classes))


def plain_reuse(name: str, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """METHODS2, 3.3: ``cnn2``'s convolutions, a projector, and the output layer of a ``resnet18``."""
    _, height, width = shape
    body = plain("cnn2", shape, classes)[:7]
    if name == "cnn2_reuse_hidden":
        flat = 16 * (height // 4) * (width // 4)
        ends = [nn.Linear(flat, 32), nn.ReLU(), nn.Linear(32, 256), nn.ReLU()]
        return nn.Sequential(*body, *ends, nn.Linear(256, classes))
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d((-(-height // 8), -(-width // 8)))]
    for few, many, size in ((16, 32, 1), (32, 32, 3), (32, 64, 1)):
        layers += [nn.Conv2d(few, many, size, padding="same", bias=False), nn.BatchNorm2d(many), nn.ReLU()]
    ends = [nn.AdaptiveAvgPool2d((1, 4)), nn.Flatten(), nn.Linear(256, classes)]
    return nn.Sequential(*body[:6], *layers, *ends)


#: The teacher's.
WIDTHS = (8, 16, 32, 64)

#: Of networks that are pooled over time: the widths of their convolutions.
POOLED = {"tiny": (8, 16, 32, 56), "small": (16, 32, 64, 128), "large": (32, 64, 128, 256)}


def plain(name: str, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """The network as torch's own modules, without standardisation: written from DESIGN, not from the code."""
    channels, height, width = shape
    if name in POOLED:
        return plain_pooled(channels, POOLED[name], classes)
    if name in ("cnn2", "cnn2_cosine"):
        return nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding="same"),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 16, 3, padding="same"),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * (height // 4) * (width // 4), 32),
            nn.ReLU(),
            nn.Linear(32, classes) if name == "cnn2" else PlainCosines(32, classes),
        )
    if name.startswith("cnn2_reuse"):
        return plain_reuse(name, shape, classes)
    kinds = {"resnet10": (WIDTHS, 1, 4), "resnet18": (WIDTHS, 2, 4), "resnet56": ((16, 32, 64), 9, 1)}
    widths, blocks, pool = kinds[name]
    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    inputs = widths[0]
    for stage, outputs in enumerate(widths):
        for block in range(blocks):
            layers.append(PlainBlock(inputs, outputs, 2 if stage and not block else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d((1, pool)), nn.Flatten(), nn.Linear(inputs * pool, classes))


def with_weights_of(network: Stacked, run: int) -> nn.Sequential:
    """The plain network with the weights and batch norm statistics of one run: both list them in one order."""
    reference = plain(network.name, network.shape, network.classes).to(network.mean.dtype)
    for mine, theirs in zip(reference.parameters(), network.parameters(), strict=True):
        mine.data.copy_(theirs.data[run])
    running = [b for n, b in network.named_buffers() if "running" in n]
    for mine, theirs in zip((b for n, b in reference.named_buffers() if "running" in n), running, strict=True):
        mine.data.copy_(theirs[run])
    return reference.train(network.training)
