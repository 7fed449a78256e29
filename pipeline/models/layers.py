"""Layers with a leading runs axis: R convolutions, batch norms or linear layers as one.

Every activation has the axes (run, batch, channel, height, width), or none for the run where R = 1; every parameter
starts with the runs axis, and nothing flows from one run to another. How the axes lie in memory is the kernel's affair:

- ``grouped``: one convolution with ``groups=R`` over (batch, run · channel, height, width);
- ``channels_last``: the same with the channels last in memory;
- ``bmm``: the patches of every run as a matrix, one batched product; memory (run, channel, batch, h, w);
- one run (R = 1) is an ordinary convolution, channels-last on the CPU whatever the kernel.

All are equal up to rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNELS = ("grouped", "channels_last", "bmm")


class _Patches(torch.autograd.Function):
    """(R, B, C, H, W) → (R, C·k·k, B·h·w), the columns that a convolution multiplies with its weight.

    ``F.unfold`` would do, but on a GPU it launches one kernel per batch element.
    """

    @staticmethod
    def forward(ctx, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.shape, ctx.geometry = x.shape, (kernel, stride, padding)
        runs, channels = x.shape[0], x.shape[2]
        padded = F.pad(x, (padding,) * 4) if padding else x
        windows = padded.unfold(3, kernel, stride).unfold(4, kernel, stride)  # (R, B, C, h, w, k, k)
        return windows.permute(0, 2, 5, 6, 1, 3, 4).reshape(runs, channels * kernel * kernel, -1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[no-untyped-def, override]
        runs, batch, channels, height, width = ctx.shape
        kernel, stride, padding = ctx.geometry
        rows = (height + 2 * padding - kernel) // stride + 1
        columns = (width + 2 * padding - kernel) // stride + 1
        windows = gradient.view(runs, channels, kernel, kernel, batch, rows, columns)
        size = (runs, channels, batch, height + 2 * padding, width + 2 * padding)
        padded = gradient.new_zeros(size)
        for i in range(kernel):
            for j in range(kernel):
                last = (i + stride * (rows - 1) + 1, j + stride * (columns - 1) + 1)
                padded[..., i : last[0] : stride, j : last[1] : stride] += windows[:, :, i, j]
        inner = padded[..., padding : padding + height, padding : padding + width]
        return inner.transpose(1, 2), None, None, None


def merged(x: Tensor) -> Tensor:
    """(R, B, C, H, W) as (B, R·C, H, W): a view where memory runs (batch, run, ...), else a copy."""
    return x.transpose(0, 1).flatten(1, 2)


class Conv2d(nn.Module):
    """R convolutions: ``weight`` (R, out, in, k, k), ``bias`` (R, out); x (R, B, in, H, W) → (R, B, out, h, w)."""

    def __init__(self, runs: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1,
                 padding: int = 1, bias: bool = True) -> None:  # fmt: skip
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(runs, outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(runs, outputs)) if bias else None
        self.stride, self.padding = stride, padding
        self.kernel = "grouped"

    def forward(self, x: Tensor) -> Tensor:
        runs, outputs = self.weight.shape[:2]
        if runs == 1:
            # squeeze, not [0]: the gradient of an index is a copy into zeros, and loses the memory format
            bias = None if self.bias is None else self.bias.squeeze(0)
            return F.conv2d(x, self.weight.squeeze(0), bias, self.stride, self.padding)
        if self.kernel == "bmm":
            return self.product(x)
        bias = None if self.bias is None else self.bias.flatten()
        whole = merged(x)
        if self.kernel == "channels_last":
            whole = whole.contiguous(memory_format=torch.channels_last)
        y = F.conv2d(whole, self.weight.flatten(0, 1), bias, self.stride, self.padding, groups=runs)
        return y.unflatten(1, (runs, outputs)).transpose(0, 1)

    def product(self, x: Tensor) -> Tensor:
        """The convolution as one batched product of weights (R, out, in·k·k) and patches (R, in·k·k, B·h·w)."""
        runs, outputs, _, size, _ = self.weight.shape
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(
                torch.get_autocast_dtype(x.device.type)
            )  # patches are nine times the input: halve them early
        columns = _Patches.apply(x, size, self.stride, self.padding)
        height, width = ((side + 2 * self.padding - size) // self.stride + 1 for side in x.shape[3:])
        weight = self.weight.flatten(2)
        y = (
            torch.bmm(weight, columns)
            if self.bias is None
            else torch.baddbmm(self.bias[..., None], weight, columns)
        )
        return y.view(runs, outputs, x.shape[1], height, width).transpose(1, 2)


class BatchNorm2d(nn.Module):
    """R batch norms of (R, B, C, H, W): statistics per run and channel (Ioffe and Szegedy 2015), as torch's own."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, runs: int, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(runs, channels))
        self.bias = nn.Parameter(torch.zeros(runs, channels))
        self.register_buffer("running_mean", torch.zeros(runs, channels))
        self.register_buffer("running_var", torch.ones(runs, channels))
        self.eps, self.momentum = eps, momentum

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return self.normalised(x)
        runs, batch, channels, height, width = x.shape
        by_channel = x.transpose(1, 2)
        if by_channel.is_contiguous():  # from a batched product: all runs' channels of one very tall picture
            y = self.normalised(by_channel.reshape(1, runs * channels, batch * height, width))
            return y.view(runs, channels, batch, height, width).transpose(1, 2)
        return self.normalised(merged(x)).unflatten(1, (runs, channels)).transpose(0, 1)

    def normalised(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean.view(-1), self.running_var.view(-1)  # views: updated in place
        return F.batch_norm(x, mean, variance, self.weight.flatten(), self.bias.flatten(),
                            self.training, self.momentum, self.eps)  # fmt: skip


class Linear(nn.Module):
    """R linear layers: ``weight`` (R, out, in), ``bias`` (R, out); x (R, B, in) → (R, B, out)."""

    def __init__(self, runs: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(runs, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(runs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.shape[0] == 1:
            return F.linear(x, self.weight.squeeze(0), self.bias.squeeze(0))
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(1, 2))


def max_pool2d(x: Tensor, size: int) -> Tensor:
    """The largest of every ``size`` × ``size`` window of (R, B, C, H, W); what does not fill a window is left out."""
    if x.ndim == 4:
        return F.max_pool2d(x, size)
    if x.transpose(1, 2).is_contiguous():  # of a batched product
        pooled = F.max_pool2d(x.transpose(1, 2).flatten(0, 1), size)
        return pooled.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
    return F.max_pool2d(merged(x), size).unflatten(1, (x.shape[0], x.shape[2])).transpose(0, 1)


def average_windows(width: int, windows: int) -> Tensor:
    """(windows, width) weights of adaptive average pooling: window i averages ⌊i·w/n⌋ up to ⌈(i+1)·w/n⌉."""
    weights = torch.zeros(windows, width)
    for i in range(windows):
        first, last = i * width // windows, -(-(i + 1) * width // windows)
        weights[i, first:last] = 1 / (last - first)
    return weights
