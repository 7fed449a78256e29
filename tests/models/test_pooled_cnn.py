"""The networks of preset small: what they compute in training, beside plain calls of torch, and how their maps lie in memory."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import network
from pipeline.models.pooled_cnn import PooledCNN
from pipeline.models.stacked import Stacked


def plain(body: PooledCNN, x: Tensor) -> Tensor:
    """Convolution, batch norm, ReLU, and then max-pooling."""
    for number, stage in enumerate(body.stages, 1):
        x = F.relu(stage(x))
        if number < len(body.stages):
            x = F.max_pool2d(x, 2)
    frames = x.mean(-2)
    return body.linear(frames.mean(-1) + frames.amax(-1))


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [True, False])
def test_pooling_before_relu_gives_the_bits_of_relu_before_pooling(training: bool, form: torch.memory_format) -> None:
    torch.manual_seed(0)
    body = PooledCNN("small", (2, 16, 21), 10, (4, 8, 8, 16)).train(training)
    x = torch.randn(6, 2, 16, 21)
    x[..., 12:] = -1  # as padded clips end: windows of equal values, of which the first has the gradient
    x[3] = 0
    x = x.contiguous(memory_format=form)
    other = copy.deepcopy(body)
    ours, theirs = body(x)["logits"], plain(other, x)
    assert torch.equal(ours, theirs)
    weights = torch.randn_like(ours)
    for out in (ours, theirs):
        (out * weights).sum().backward()
    for (name, one), two in zip(body.named_parameters(), other.parameters()):
        assert torch.equal(one.grad, two.grad), name
    for one, two in zip(body.buffers(), other.buffers()):
        assert torch.equal(one, two)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("name", ["small", "cnn2", "resnet18"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_maps_lie_channels_last_on_a_cpu(name: str, channels: int, precision: torch.dtype) -> None:
    """With one channel too, whose strides alone tell the formats apart: training took twice the time without."""
    single = network(name, (channels, 32, 44), 10)
    x = torch.randn(3, channels, 32, 44)
    for whole, given in ((single, x), (Stacked([single]), x[:, None])):
        seen: list[Tensor] = []
        body = whole.body
        for layer in (one for one in body.modules() if isinstance(one, nn.Conv2d)):
            layer.register_forward_hook(lambda layer, inputs, out, seen=seen: seen.append(out))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
            whole(given)
        assert len(seen) >= 2
        assert all(out.is_contiguous(memory_format=torch.channels_last) for out in seen)
