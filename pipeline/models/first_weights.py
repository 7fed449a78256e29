"""The first weights of layers, drawn from a generator that is passed in."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def draw_uniform(layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    """Weight and bias uniform in ±1/√fan_in, as torch's layers are by default."""
    bound = layer.weight[0].numel() ** -0.5
    layer.weight.copy_(torch.rand(layer.weight.shape, generator=generator) * 2 * bound - bound)
    if layer.bias is not None:
        layer.bias.copy_(torch.rand(layer.bias.shape, generator=generator) * 2 * bound - bound)


@torch.no_grad()
def draw_he(layer: nn.Conv2d, generator: torch.Generator) -> None:
    """Weight normal with variance 2/fan_out (He et al. 2015)."""
    fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
    layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / fan_out) ** 0.5)
