"""Which way the innermost steps of the fast path are computed: ``vectors`` (numpy), ``machine`` or ``loops`` (numba).

All give the same bits. numba and its compiled functions take a second and 120 MB to load, and save 2 ms a clip: worth it
for a stage of thousands, not for ``predict``, which is mostly asked about few and keeps its memory small. It takes the machine code
that numba left, without numba, where that is there.
"""

from __future__ import annotations

import importlib
import platform
from functools import cache
from types import ModuleType

import numpy as np

from pipeline.audio.reading import numpys_normal
from pipeline.features import machine, vectors

chosen: list[ModuleType] = [vectors]


def load() -> None:
    """From here on the compiled functions are taken, unless numba is told to compile none: its loops would be Python's."""
    compiled = importlib.import_module("pipeline.features.loops")
    if not importlib.import_module("numba").config.DISABLE_JIT:
        chosen[0] = compiled


def load_machine_code() -> None:
    """From here on the machine code of the compiled functions is taken, where it is kept: a thirtieth of a second."""
    if machine.functions():
        chosen[0] = machine


def now() -> ModuleType:
    """The module of the functions to call."""
    return chosen[0]


def standard_normal(bits: np.random.SFC64, count: int) -> np.ndarray:
    """As ``reading.numpys_normal``, compiled where numba is loaded and gives the same."""
    if now() not in (vectors, machine):
        normal = importlib.import_module("pipeline.features.normal")
        if draws_as_numpy(normal):
            drawn: np.ndarray = normal.standard_normal(bits.state["state"]["state"], count)
            if len(drawn) == count:
                return drawn
    return numpys_normal(bits, count)


@cache
def draws_as_numpy(normal: ModuleType) -> bool:
    """Whether a module draws what numpy of this version does; elsewhere than on x86 numpy's compiler may contract products and sums,
    and one number of some hundred millions would be another.
    """
    bits = np.random.SFC64(0)
    alike = np.array_equal(normal.standard_normal(bits.state["state"]["state"], 9999), numpys_normal(bits, 9999))
    return alike and platform.machine() in ("x86_64", "AMD64")
