"""One network of one run: the standardisation of its input, then a body of ordinary PyTorch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.config import InputError
from pipeline.models.dropout import Dropout
from pipeline.models.outputs import Outputs

#: A body for inputs (channel, bin, frame) and a number of classes.
Maker = Callable[[Sequence[int], int], nn.Module]


class Network(nn.Module):
    """x (B, C, H, W), raw → ``Outputs``; buffers ``mean`` and ``std`` (C, H, 1) standardise x before ``body`` sees it."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, body: nn.Module, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.name, self.shape, self.classes = name, tuple(shape), classes
        self.register_buffer("mean", torch.zeros(*self.shape[:2], 1))
        self.register_buffer("std", torch.ones(*self.shape[:2], 1))
        self.body = body

    def forward(self, x: Tensor, taught: Mapping[str, Tensor] | None = None) -> Outputs:
        """``taught``: what a teacher says of the batch, for a body that listens; None: it is not given any."""
        if tuple(x.shape[1:]) != self.shape:
            expected = f"(batch, {', '.join(map(str, self.shape))})"
            raise InputError(f"{self.name}: input of shape {tuple(x.shape)}; expected {expected}")
        more = () if taught is None else (taught,)
        return typed(self.body(standardised(x, self.mean, self.std), *more), self.mean.dtype)


def standardised(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(B, C, H, W) with mean 0 and variance 1 per channel and bin, in the type of ``mean``; channels last on a CPU."""
    x = (x - mean) / std  # bfloat16 samples become float32 here
    # A copy, for one channel is both formats at once, and convolutions would go by its strides.
    return x.clone(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def typed(outputs: Outputs, dtype: torch.dtype) -> Outputs:
    """The outputs in ``dtype``: under autocast layers give bfloat16."""
    return Outputs({name: value.to(dtype) for name, value in outputs.items()})


def first_network(
    name: str, maker: Maker, shape: Sequence[int], classes: int, seed: int = 0, fold: int = 0, dropout: float = 0.0
) -> Network:
    """The network with first weights that depend on (name, seed, fold) alone.

    A body with a method ``draw(generator)`` draws them itself; another one as its layers do, under torch's own generator,
    seeded the same and put back afterwards.
    """
    generator = seeded(f"{name}/{seed}/{fold}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        body = maker(shape, classes)
    if not isinstance(body, nn.Module):
        raise InputError(
            f"the network {name} gives {body!r:.80}; expected a torch.nn.Module: class {name}(torch.nn.Module), or def "
            f"{name}(shape, classes) that returns one (docs/extending.md)"
        )
    if (draw := getattr(body, "draw", None)) is not None:
        draw(generator)
    begin_dropout(body, dropout, name, f"{seed}/{fold}")
    return Network(name, body, shape, classes)


def begin_dropout(body: nn.Module, share: float, name: str, run: str) -> None:
    """Have every ``Dropout`` of a run's network set a ``share`` of values to 0. ``InputError`` where it has none, or torch's own."""
    layers = dict(body.named_modules())
    foreign = [path for path, layer in layers.items() if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p]
    if foreign:
        raise InputError(
            f"{name}: dropout in {', '.join(foreign)}; expected a network without torch's own: its draws would depend on "
            "what trains beside it, so a run could not be repeated (pipeline.models.dropout has one that can)"
        )
    dropping = {path: layer for path, layer in layers.items() if isinstance(layer, Dropout)}
    if share and not dropping:
        raise InputError(f"dropout = {share:g}: {name} has no place for it; expected 0, or a network with a Dropout")
    for path, layer in dropping.items() if share else ():
        layer.begin(share, seeded(f"dropout {name}/{run}/{path}").initial_seed())


def seeded(text: str) -> torch.Generator:
    """A generator whose numbers depend on ``text`` alone."""
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1)
