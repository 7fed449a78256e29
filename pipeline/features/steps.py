"""Which way the innermost steps of the fast path are computed: ``vectors`` (numpy) or ``loops`` (numba).

Both give the same bits. numba and its compiled functions take a second to load and save 3 ms a clip, so the first clips
of a process, all that ``predict`` is mostly asked about, do without.
"""

from __future__ import annotations

import importlib
from itertools import count
from types import ModuleType

from pipeline.features import vectors

#: Clips of a process after which the compiled functions are worth their loading.
FEW = 150

computed = count(1)
chosen: list[ModuleType] = [vectors]


def count_clip() -> None:
    """One more is computed in this process."""
    if next(computed) == FEW:
        load()


def load() -> None:
    """From here on the compiled functions are taken."""
    chosen[0] = importlib.import_module("pipeline.features.loops")


def now() -> ModuleType:
    """The module of the functions to call."""
    return chosen[0]
