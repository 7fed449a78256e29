"""The networks, each with a leading runs axis: R runs are one network, and R = 1 is the ordinary one.

``build(name, shape, classes, runs)`` gives a module that maps x (B, R, C, H, W), or (B, C, H, W) where R = 1, to
``Outputs``: embedding (R, B, D), hidden (R, B, D2) and logits (R, B, classes). x is raw: each run's buffers ``mean``
and ``std`` (R, C, H, 1) standardise it inside the network. The two networks of the paper (Cho et al. 2023):

- ``resnet18``, the teacher: basic blocks 2-2-2-2 of widths 8, 16, 32, 64 (He et al. 2016), average-pooled to 1 × 4;
  embedding = hidden = the 256. 178,466 parameters at (5, 20, 173) and 10 classes.
- ``cnn2``, the student: two convolutions, each with ReLU and 2 × 2 max-pooling; embedding = the flattened 3,440,
  hidden = the 32 before the output. 116,538 parameters.
- ``resnet56``: the CIFAR network of He et al. 2016, 9-9-9 blocks of widths 16, 32, 64, with a 1 × 1 convolution and
  batch norm where the shape changes (option B); 861,620 parameters at (3, 32, 32) and 100 classes.

Initial weights: convolutions and linear layers of ``cnn2`` and every output layer as torch's default, uniform in
±1/√fan_in; convolutions of the residual networks normal with variance 2/fan_out (He et al. 2015); batch norm 1 and 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import SMALLEST, InputError
from pipeline.layers import KERNELS, BatchNorm2d, Conv2d, Linear, average_windows, max_pool2d

MODELS = ("resnet18", "cnn2", "resnet56")


class Outputs(NamedTuple):
    """What a network says about a batch; every axis list starts with (run, batch)."""

    embedding: Tensor
    hidden: Tensor
    logits: Tensor


class Network(nn.Module):
    """Standardisation of the input and the runs axis, shared by all networks; not a network by itself."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, shape: Sequence[int], classes: int, runs: int) -> None:
        super().__init__()
        self.name, self.shape, self.classes, self.runs = name, tuple(shape), classes, runs
        self.register_buffer("mean", torch.zeros(runs, *self.shape[:2], 1))
        self.register_buffer("std", torch.ones(runs, *self.shape[:2], 1))

    def standardised(self, x: Tensor) -> Tensor:
        """(R, B, C, H, W), or (B, C, H, W) where R = 1, in the type of the buffers (float32) with mean 0 and variance 1 a feature and bin, as ``mean`` and ``std`` say."""
        if x.ndim == 4 and self.runs == 1:
            x = x.unsqueeze(1)
        if tuple(x.shape[1:]) != (self.runs, *self.shape):
            expected = f"(batch, {self.runs}, {', '.join(map(str, self.shape))})"
            raise InputError(f"{self.name}: input of shape {tuple(x.shape)}; expected {expected}")
        x = (x - self.mean) / self.std  # bfloat16 samples become float32 here
        if self.runs > 1:
            return x.transpose(0, 1)
        return (
            x.squeeze(1).contiguous(memory_format=torch.channels_last)
            if x.device.type == "cpu"
            else x.squeeze(1)
        )

    def outputs(self, *values: Tensor) -> Outputs:
        """Embedding, hidden and logits in the type of the buffers, with the runs axis where R = 1 went without."""
        typed = (value.to(self.mean.dtype) for value in values)
        return Outputs(*(value if self.runs > 1 else value.unsqueeze(0) for value in typed))


class Cnn2(Network):
    """The two-convolution student: 3 × 3 to 32 and to 16 channels, linear to 32, linear to the classes."""

    def __init__(self, shape: Sequence[int], classes: int, runs: int) -> None:
        super().__init__("cnn2", shape, classes, runs)
        channels, height, width = shape
        if min(height, width) < (least := SMALLEST["cnn2"]):
            raise InputError(
                f"cnn2: input of {height} × {width}; expected at least {least} × {least} (it is halved twice)"
            )
        self.conv1 = Conv2d(runs, channels, 32)
        self.conv2 = Conv2d(runs, 32, 16)
        self.linear1 = Linear(runs, 16 * (height // 4) * (width // 4), 32)
        self.linear2 = Linear(runs, 32, classes)

    def forward(self, x: Tensor) -> Outputs:
        x = self.standardised(x)
        # ReLU after the pooling: the same values and gradients as before it, on a quarter of the elements.
        x = F.relu(max_pool2d(self.conv1(x), 2))
        x = F.relu(max_pool2d(self.conv2(x), 2))
        embedding = x.flatten(-3)
        hidden = F.relu(self.linear1(embedding))
        return self.outputs(embedding, hidden, self.linear2(hidden))


class Block(nn.Module):
    """Two 3 × 3 convolutions with batch norm around a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, runs: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(runs, inputs, outputs, stride=stride, bias=False)
        self.norm1 = BatchNorm2d(runs, outputs)
        self.conv2 = Conv2d(runs, outputs, outputs, bias=False)
        self.norm2 = BatchNorm2d(runs, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = Conv2d(runs, inputs, outputs, kernel=1, stride=stride, padding=0, bias=False)
            self.shortcut = nn.Sequential(conv, BatchNorm2d(runs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)).add_(self.shortcut(x)), inplace=True)


class ResNet(Network):
    """A residual network: a 3 × 3 stem, stages of basic blocks that halve the picture from the second on."""

    windows: Tensor

    def __init__(self, name: str, shape: Sequence[int], classes: int, runs: int,
                 widths: Sequence[int], blocks: int, columns: int) -> None:  # fmt: skip
        super().__init__(name, shape, classes, runs)
        channels, height, width = shape
        if min(height, width) < 1:
            raise InputError(f"{name}: input of {height} × {width}; expected at least 1 × 1")
        self.stem = Conv2d(runs, channels, widths[0], bias=False)
        self.norm = BatchNorm2d(runs, widths[0])
        stages, inputs = [], widths[0]
        for stage, outputs in enumerate(widths):
            strides = [2 if stage and not block else 1 for block in range(blocks)]
            stages += [Block(runs, inputs if not i else outputs, outputs, s) for i, s in enumerate(strides)]
            inputs = outputs
        self.blocks = nn.Sequential(*stages)
        for _ in widths[1:]:
            width = (width + 1) // 2
        self.register_buffer("windows", average_windows(width, columns), persistent=False)
        self.linear = Linear(runs, widths[-1] * columns, classes)

    def forward(self, x: Tensor) -> Outputs:
        x = F.relu(self.norm(self.stem(self.standardised(x))), inplace=True)
        x = self.blocks(x).mean(-2, dtype=self.mean.dtype)  # (..., C, W)
        embedding = (x.unsqueeze(-2) * self.windows).sum(-1).flatten(-2)
        return self.outputs(embedding, embedding, self.linear(embedding))


def build(name: str, shape: Sequence[int], classes: int, runs: int = 1) -> Network:
    """The network ``name`` for inputs (channel, bin, frame), with ``runs`` independent sets of weights.

    Run r is initialised with seed 0 and fold r; see ``initialise``. Raises ``InputError`` for an unknown name, an
    input that is too small, or a number of classes or runs below 1.
    """
    if name not in MODELS:
        raise InputError(f"no model {name!r}; expected one of {', '.join(MODELS)}")
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(
            f"{name}: input shape {tuple(shape)}; expected (channels, bins, frames), each at least 1"
        )
    if classes < 1 or runs < 1:
        raise InputError(f"{name}: {classes} classes and {runs} runs; expected at least 1 of each")
    network: Network
    if name == "cnn2":
        network = Cnn2(shape, classes, runs)
    elif name == "resnet18":
        network = ResNet(name, shape, classes, runs, (8, 16, 32, 64), blocks=2, columns=4)
    else:
        network = ResNet(name, shape, classes, runs, (16, 32, 64), blocks=9, columns=1)
    initialise(network, [(0, run) for run in range(runs)])
    return network


@torch.no_grad()
def initialise(network: Network, keys: Iterable[tuple[int, int]]) -> None:
    """Draw the weights of run r from a generator of its own, seeded by (model, seed, fold) = (name, *keys[r]) alone."""
    for run, (seed, fold) in enumerate(keys):
        text = f"{network.name}/{seed}/{fold}".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1)
        for layer in network.modules():
            if isinstance(layer, Conv2d | Linear):
                draw_weights(
                    layer, run, generator, he=isinstance(network, ResNet) and isinstance(layer, Conv2d)
                )
            elif isinstance(layer, BatchNorm2d):
                for tensor, value in (
                    (layer.weight, 1),
                    (layer.bias, 0),
                    (layer.running_mean, 0),
                    (layer.running_var, 1),
                ):
                    tensor[run] = value


def draw_weights(layer: Conv2d | Linear, run: int, generator: torch.Generator, he: bool) -> None:
    """Weights (and bias) of one run of a layer: He's normal, or torch's uniform in ±1/√fan_in."""
    size = layer.weight.shape[1:]
    fan_in, fan_out = size[1:].numel(), size[0] * size[2:].numel()
    if he:
        layer.weight[run] = torch.randn(size, generator=generator) * (2 / fan_out) ** 0.5
        return
    bound = fan_in**-0.5
    layer.weight[run] = torch.rand(size, generator=generator) * 2 * bound - bound
    if layer.bias is not None:
        layer.bias[run] = torch.rand(size[0], generator=generator) * 2 * bound - bound


def parameters(network: nn.Module) -> int:
    """Trainable parameters of one run."""
    return sum(parameter[0].numel() for parameter in network.parameters())


def set_kernels(network: nn.Module, layout: str) -> None:
    """Choose how a network of several runs computes its convolutions: one of ``layers.KERNELS`` for all of them, or
    one for each, ``name=kernel`` with commas between, as ``conv1=bmm,conv2=grouped``. ``InputError`` for others."""
    convolutions = {name: layer for name, layer in network.named_modules() if isinstance(layer, Conv2d)}
    pairs = [part.partition("=") for part in layout.split(",")]
    chosen = (
        {name: kernel for name, _, kernel in pairs} if "=" in layout else dict.fromkeys(convolutions, layout)
    )
    if chosen.keys() != convolutions.keys() or not set(chosen.values()) <= set(KERNELS):
        raise InputError(f"layout {layout!r}; expected one of {', '.join(KERNELS)}, or NAME=KERNEL for each of "
                         f"{', '.join(convolutions)}")  # fmt: skip
    for name, layer in convolutions.items():
        layer.kernel = chosen[name]


@torch.no_grad()
def cut(network: Network, run: int) -> Network:
    """The network of one run, with weights and buffers of its own."""
    single = view(network, run)
    for tensor in (*single.parameters(), *single.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    return single


def view(network: Network, run: int) -> Network:
    """The network of one run, whose weights and buffers are those of ``network``, not copies."""
    single = (
        build(network.name, network.shape, network.classes).to(network.mean.device).train(network.training)
    )
    whole = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for name, tensor in (*single.named_parameters(), *single.named_buffers()):
        if name != "windows":
            tensor.data = whole[name].data[run : run + 1]
    return single
