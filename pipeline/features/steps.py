"""Which way the innermost steps of the fast path are computed: ``vectors`` (numpy) or ``loops`` (numba).

Both give the same bits. numba and its compiled functions take a second and 120 MB to load, and save 2 ms a clip: worth it
for a stage of thousands, not for ``predict``, which is mostly asked about few and keeps its memory small.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from pipeline.features import vectors

chosen: list[ModuleType] = [vectors]


def load() -> None:
    """From here on the compiled functions are taken, unless numba is told to compile none: its loops would be Python's."""
    compiled = importlib.import_module("pipeline.features.loops")
    if not importlib.import_module("numba").config.DISABLE_JIT:
        chosen[0] = compiled


def now() -> ModuleType:
    """The module of the functions to call."""
    return chosen[0]
