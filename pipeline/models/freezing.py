"""Modules of a network that stay as they are while the rest of it learns: weights, and batch norm's running statistics."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pipeline.config import InputError
from pipeline.listed import named_by


def is_frozen(names: Sequence[str], path: str) -> bool:
    """Whether one of ``names`` means the module or weight of a dotted name."""
    return any(named_by(name, path) for name in names)


def hold_still(names: Sequence[str], body: nn.Module) -> None:
    """Put the modules into evaluation mode: batch norm uses its running statistics and keeps them."""
    for path, module in body.named_modules():
        if path and is_frozen(names, path):
            module.eval()


def require_modules(names: Sequence[str], body: nn.Module, network: str) -> None:
    """``InputError`` for a name that no module of a ``network`` has, and where nothing of it is left to learn."""
    there = [path for path, module in body.named_modules() if path and any(True for _ in module.parameters())]
    for name in names:
        if not any(named_by(name, path) for path in there):
            tops = ", ".join(path for path in there if "." not in path)
            raise InputError(
                f"freeze: {network} has no module {name!r}; expected some of {tops}, or what lies in one of them"
            )
    if names and all(is_frozen(names, path) for path, _ in body.named_parameters()):
        raise InputError(f"freeze = '{','.join(names)}': nothing of {network} is left to learn; expected fewer modules")
