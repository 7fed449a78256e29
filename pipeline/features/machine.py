"""The compiled steps without numba: the machine code of ``flat``, kept on the disk and loaded by LLVM's library alone.

numba takes a second and 120 MB before its first function runs, this 0.03 s and 50 MB, of which 40 are the library's file: little enough
for ``predict``. The same functions as in ``vectors``, with the same bits. They are called without Python's lock, so that threads
do not wait for each other. numba makes the code once on a machine, with its kernels, and it goes by all that they go by (``kernels``).
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.features import definition, fourier, kernels

#: Step → a letter for each argument: arrays of ``ARRAYS``, and numbers of ``NUMBERS``.
KINDS = {
    "gather_chosen": "fiildii",
    "windowed": "fiiddii",
    "sounding": "fil",
    "divided": "firf",
    "add_magnitudes": "fiifii",
    "add_peaks": "fifiiifi",
    "candidates": "fiifiiwb",
    "peaks": "fiifwiwff",
    "frequencies": "wffirrif",
    "mode": "fidil",
}
ARRAYS = {letter: np.dtype(name) for letter, name in zip("fdwlb", ("float32", "float64", "int32", "int64", "uint8"))}
NUMBERS: dict[str, Any] = {"i": ctypes.c_int64, "r": ctypes.c_double}

#: Where both ways are known to give the same bits, and the code to be loaded.
SUPPORTED = sys.platform.startswith("linux") and platform.machine() == "x86_64"


def path() -> Path:
    """Of the code, beside the stamp of the kernels that it was made with."""
    return kernels.stamp_path(False).with_suffix(kernels.CODE)


def keep() -> None:
    """Have numba make the code; nothing where it does not, or where the code cannot be written."""
    if not SUPPORTED:
        return
    with suppress(Exception):  # another numba, or one that may not compile: then numpy computes
        from pipeline.features import flat

        objects = {
            f"{step} {name}": np.frombuffer(code, np.uint8) for step, (name, code) in flat.machine_code().items()
        }
        definition.store(path(), definition.packed(objects, path().stem))


@cache
def functions() -> dict[str, Any]:
    """Step → its function, once a process; empty where the code is not there, not whole, or not to be loaded."""
    try:
        content = path().read_bytes() if SUPPORTED else b""
    except OSError:
        content = b""
    if not content:
        return {}
    try:
        objects = definition.unpacked(content, path().stem)
    except (
        Exception
    ):  # of what is damaged anything; without it the kernels count as not compiled, and the next process makes all anew
        with suppress(OSError):
            path().unlink()
        return {}
    with suppress(Exception):  # another library of LLVM
        return loaded(objects)
    return {}


def loaded(objects: definition.Arrays) -> dict[str, Any]:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    for code in objects.values():
        engine.add_object_file(llvm.ObjectFileRef.from_data(code.tobytes()))
    engine.finalize_object()
    found = {}
    for key in objects:
        step, name = key.split()
        arguments = [NUMBERS.get(letter, ctypes.c_void_p) for letter in KINDS[step]]
        address = engine.get_function_address(name)
        # As numba calls: places for the answer and for an error, then the arguments.
        found[step] = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *arguments)(address)
    engines.append(engine)
    return found


#: For as long as the process lives: the functions lie in them.
engines: list[Any] = []


class Own(threading.local):
    """A thread's places for the answer and for an error, which numba's functions write to."""

    def __init__(self) -> None:
        self.answer, self.error = ctypes.c_int64(), ctypes.c_void_p()
        self.places = ctypes.byref(self.answer), ctypes.byref(self.error)


own = Own()


def call(step: str, *values: Any) -> int:
    """What a function returns. ``TypeError`` for arrays of another type than it reads, or with gaps."""
    arguments = []
    for letter, value in zip(KINDS[step], values, strict=True):
        kind = ARRAYS.get(letter)
        if kind is not None:
            if value.dtype != kind or not value.flags.c_contiguous:
                raise TypeError(f"{step}: {value.dtype}, strides {value.strides}; expected {kind} without gaps")
            value = fourier.address(value)
        arguments.append(value)
    functions()[step](*own.places, *arguments)
    return own.answer.value


def gather_chosen(y: np.ndarray, hop: int, wanted: np.ndarray, out: np.ndarray) -> None:
    call("gather_chosen", y, len(y), hop, wanted, out, *out.shape)


def windowed(sound: np.ndarray, hop: int, window: np.ndarray, out: np.ndarray) -> None:
    call("windowed", sound, len(sound), hop, window, out, *out.shape)


def sounding(y: np.ndarray) -> tuple[int, int]:
    ends = np.empty(2, np.int64)
    call("sounding", y, len(y), ends)
    return int(ends[0]), int(ends[1])


def divided(y: np.ndarray, by: float) -> np.ndarray:
    out = np.empty(len(y), np.float32)
    call("divided", y, len(y), by, out)
    return out


def add_magnitudes(total: np.ndarray, parts: np.ndarray) -> None:
    call("add_magnitudes", total, *total.shape, parts, len(parts), parts.shape[2])


def add_peaks(total: np.ndarray, y: np.ndarray, hop: int, n_fft: int) -> None:
    blocks = np.empty(-(-len(y) // hop), np.float32)
    call("add_peaks", total, len(total), y, len(y), hop, n_fft, blocks, len(blocks))


def candidates(power: np.ndarray, floors: np.ndarray, low: int, high: int) -> np.ndarray:
    positions, mask = np.empty(len(power) * (high - low) + 1, np.int32), np.empty(high - low, np.uint8)
    return positions[: call("candidates", power, *power.shape, floors, low, high, positions, mask)]


def peaks(spectrum: np.ndarray, floors: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    where, shifts, heights = (np.empty(len(places), kind) for kind in (np.int32, np.float32, np.float32))
    count = call("peaks", spectrum, *spectrum.shape, floors, places, len(places), where, shifts, heights)
    return where[:count], shifts[:count], heights[:count]


def frequencies(
    where: np.ndarray, shifts: np.ndarray, heights: np.ndarray, least: float, sr: float, n_fft: int
) -> np.ndarray:
    hertz = np.empty(len(where), np.float32)
    return hertz[: call("frequencies", where, shifts, heights, len(where), least, sr, n_fft, hertz)]


def mode(places: np.ndarray, edges: np.ndarray) -> int:
    counts = np.empty(len(edges) - 1, np.int64)
    return call("mode", places, len(places), edges, len(counts), counts)
