"""The losses, one file each: a function of the file's name. The folder is the list.

A loss is called as ``f(student, teacher, labels, **options)``. ``student`` and ``teacher`` have
``.embedding`` (..., B, D) and ``.logits`` (..., B, C), the student also ``.hidden`` where the network has
one; ``labels`` (..., B) int64. Leading axes are runs and are kept: one value a run, a scalar without them.
Nothing flows into the teacher, and ``teacher`` may be None for a loss that needs none.

To add a loss, add a file. Its keyword-only arguments (a positive number or a ``Literal``) are the options
that a mix can set; other arguments come from the training settings. These constants of the module are
optional: ``FORMULA`` and ``SOURCE`` (printed by ``--explain``), ``LAYER`` (the output it reads),
``TEACHER`` (False: works without one), ``WEIGHT`` (in a mix that gives none; 1 if absent), ``ROWS`` (the fewest
clips of a batch that it can learn from; 1 if absent; smaller batches are refused).
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config import InputError


class Outputs(Protocol):
    """What a network gives for a batch."""

    @property
    def embedding(self) -> Tensor: ...

    @property
    def logits(self) -> Tensor: ...


def log_probabilities(logits: Tensor, T: float = 1.0) -> Tensor:
    """log softmax(z / T) over the last axis, in float32 at least."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.log_softmax(wide / T, -1)


def names() -> tuple[str, ...]:
    """The names of all losses: the modules of this folder that define a function of their own name."""
    found = (info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    return tuple(sorted({name for name in found if callable(getattr(_import(name), name, None))}))


def module(name: str) -> ModuleType:
    """The module of a loss. Raises ``InputError`` that suggests the nearest name."""
    if name not in names():
        raise InputError(f"unknown loss {name!r}{suggestion(name, names())} (there are {', '.join(names())})")
    return _import(name)


def load(name: str) -> Callable[..., Tensor]:
    """The loss function of that name. Raises ``InputError`` that suggests the nearest name."""
    function: Callable[..., Tensor] = getattr(module(name), name)
    return function


def suggestion(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def _import(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


from pipeline.losses.mix import TABLE3, LossMix, Published, Term, named, published  # noqa: E402
from pipeline.losses.packed import MixedLoss, mixed_loss  # noqa: E402

__all__ = [
    "TABLE3",
    "LossMix",
    "MixedLoss",
    "Outputs",
    "Published",
    "Term",
    "load",
    "log_probabilities",
    "mixed_loss",
    "module",
    "named",
    "names",
    "published",
]
