"""The networks, one file each: a class or function of the file's name, (shape, classes) → ordinary PyTorch.

A network maps standardised x (B, C, H, W) to ``Outputs`` by name: ``logits``, ``embedding``, ``hidden``, ``map1``, …. The
folder is the list; to add a network, add a file. It needs to know neither standardisation nor the runs axis: ``network``
puts the one before it, ``stacked`` makes R of them one. First weights come from a generator of (name, seed, fold) alone.

Begin with ``cnn2``. Imports: config.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from pipeline.config import InputError
from pipeline.models.network import Maker, Network, made
from pipeline.models.outputs import Outputs
from pipeline.models.stacked import Stacked

__all__ = ["Network", "Outputs", "Stacked", "build", "initialise", "names", "network", "parameters"]


def names() -> tuple[str, ...]:
    """The networks there are: the modules of this folder that define a class or function of their own name."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if defines(info.name)))


def defines(name: str) -> bool:
    """Whether the module ``name`` has a class or function of its own name; by its text, so that nothing is imported."""
    spec = find_spec(f"{__name__}.{name}")
    text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    return re.search(rf"^(?:def|class) {re.escape(name)}\(", text, re.MULTILINE) is not None


def network(name: str, shape: Sequence[int], classes: int, *, seed: int = 0, fold: int = 0) -> Network:
    """The network ``name`` of one run for inputs (channel, bin, frame), with the first weights of (seed, fold).

    Raises ``InputError`` for an unknown name, an input that is too small, or no class.
    """
    if name not in names():
        raise InputError(f"no model {name!r}; expected one of {', '.join(names())}")
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"{name}: input shape {tuple(shape)}; expected (channels, bins, frames), each at least 1")
    if classes < 1:
        raise InputError(f"{name}: {classes} classes; expected at least 1")
    maker: Maker = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    return made(name, maker, shape, classes, seed, fold)


def build(name: str, shape: Sequence[int], classes: int, runs: int = 1) -> Stacked:
    """``runs`` networks as one (``Stacked``); run r has the first weights of seed 0 and fold r.

    Raises ``InputError`` as ``network`` does, and for fewer than one run.
    """
    if runs < 1:
        raise InputError(f"{name}: {runs} runs; expected at least 1")
    return Stacked([network(name, shape, classes, fold=run) for run in range(runs)])


@torch.no_grad()
def initialise(stacked: Stacked, keys: Iterable[tuple[int, int]]) -> None:
    """Give run r the first weights of (seed, fold) = ``keys[r]``."""
    whole = {**dict(stacked.named_parameters()), **dict(stacked.named_buffers())}
    for run, (seed, fold) in enumerate(keys):
        body = network(stacked.name, stacked.shape, stacked.classes, seed=seed, fold=fold).body
        for name, tensor in (*body.named_parameters(), *body.named_buffers()):
            whole[name][run] = tensor


def parameters(module: nn.Module) -> int:
    """Trainable parameters of one run."""
    if isinstance(module, Stacked):
        return sum(parameter[0].numel() for parameter in module.parameters())
    return sum(parameter.numel() for parameter in module.parameters())
