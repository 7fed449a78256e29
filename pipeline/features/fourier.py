"""Real Fourier transforms in one thread: MKL's, the soonest at hand, from torch's library but without importing torch.

torch takes two seconds to import; its library on the disk exports MKL's own C interface (DFTI), and takes a fifth of that to load.
A transform is planned once a thread and goes into memory that lies ready: the bits of ``torch.fft.rfft`` in less time. Where there
is no such library (other processors and systems) torch's function is taken, and without torch scipy's: the same to rounding.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

#: MKL's last bit can depend on where its input lies: on multiples of so many bytes here.
BOUNDARY = 64

#: Bytes of one array, and number of plans, that a thread keeps for the next clip.
KEPT_BYTES, KEPT_PLANS = 1 << 22, 64

#: Names of MKL's interface, as mkl_dfti.h has them.
NUMBER_OF_TRANSFORMS, CONJUGATE_EVEN_STORAGE, PLACEMENT = 7, 10, 11
INPUT_DISTANCE, OUTPUT_DISTANCE, THREAD_LIMIT = 14, 15, 27
REAL, COMPLEX_COMPLEX, NOT_INPLACE = 33, 39, 44


class Plan:
    """MKL's descriptor of ``rows`` transforms of ``size`` real samples, whose first ones lie ``distance`` samples apart."""

    def __init__(self, library: ctypes.CDLL, rows: int, size: int, distance: int, kind: str) -> None:
        self.library, self.handle = library, ctypes.c_void_p()
        self.check(
            getattr(library, f"DftiCreateDescriptor_{kind}_1d")(ctypes.byref(self.handle), REAL, ctypes.c_long(size))
        )
        for name, value in (
            (PLACEMENT, NOT_INPLACE),
            (CONJUGATE_EVEN_STORAGE, COMPLEX_COMPLEX),
            (NUMBER_OF_TRANSFORMS, rows),
            (INPUT_DISTANCE, distance),
            (OUTPUT_DISTANCE, 1 + size // 2),
            (THREAD_LIMIT, 1),
        ):
            self.check(library.DftiSetValue(self.handle, name, ctypes.c_long(value)))
        weakref.finalize(self, library.DftiFreeDescriptor, ctypes.byref(self.handle)).atexit = False
        self.check(library.DftiCommitDescriptor(self.handle))

    def __call__(self, source: int, target: int) -> None:
        """From one address to another."""
        self.check(self.library.DftiComputeForward(self.handle, ctypes.c_void_p(source), ctypes.c_void_p(target)))

    def check(self, status: int) -> None:
        if status:
            raise MemoryError(f"a Fourier transform by MKL: status {status}; expected 0, with memory free for its plan")


class Own(threading.local):
    """What a thread keeps from clip to clip: nobody plans, or asks the system for memory, twice."""

    def __init__(self) -> None:
        self.plans: dict[tuple[int, int, int, str], Plan] = {}
        self.arrays: dict[str, np.ndarray] = {}


own = Own()


@cache
def mkl() -> ctypes.CDLL | None:
    """torch's library, where it is there and its MKL gives what numpy gives."""
    with suppress(ImportError, OSError, AttributeError, MemoryError, ValueError):
        module = find_spec("torch")
        if module is None or module.origin is None:
            return None
        library = ctypes.CDLL(str(Path(module.origin).parent / "lib" / "libtorch_cpu.so"))
        ramp = np.arange(32.0).reshape(2, 16) ** 2
        for kind, dtype in (("d", np.float64), ("s", np.float32)):
            frames, out = aligned(ramp.shape, dtype), aligned((2, 9), np.result_type(dtype, np.complex64).type)
            frames[...] = ramp
            Plan(library, 2, 16, 16, kind)(address(frames), address(out))
            if not np.allclose(out, np.fft.rfft(ramp), rtol=1e-5, atol=1e-3):
                return None
        return library
    return None


def address(array: np.ndarray) -> int:
    """As ``array.ctypes.data``, in a fifth of the time."""
    return int(array.__array_interface__["data"][0])


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An empty array on a ``BOUNDARY``."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + BOUNDARY, np.uint8)
    start = -address(raw) % BOUNDARY
    return raw[start : start + size].view(dtype).reshape(shape)


def scratch(name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """As ``aligned``, with whatever is in it: the thread's own memory of this name, until it asks for that again."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = own.arrays.get(name)
    if raw is None or len(raw) < size:
        raw = aligned((size,), np.uint8)
        if size <= KEPT_BYTES:
            own.arrays[name] = raw
    return raw[:size].view(dtype).reshape(shape)


def rfft(frames: np.ndarray, out: np.ndarray) -> np.ndarray:
    """``out`` (row, 1 + n // 2), complex of the precision of ``frames`` (row, n), which may overlap each other."""
    if not len(frames):
        return out
    library = mkl()
    if library is None:
        out[...] = elsewhere(frames)
        return out
    rows, size = frames.shape
    key = rows, size, frames.strides[0] // frames.itemsize if rows > 1 else size, "d" if frames.itemsize == 8 else "s"
    if key not in own.plans:
        if len(own.plans) == KEPT_PLANS:
            own.plans.clear()
        own.plans[key] = Plan(library, *key)
    own.plans[key](address(frames), address(out))
    return out


def elsewhere(frames: np.ndarray) -> np.ndarray:
    """The transform by torch's function, or scipy's."""
    try:
        import torch
    except ImportError:
        import scipy.fft

        return scipy.fft.rfft(frames)  # type: ignore[no-any-return]
    return torch.fft.rfft(torch.from_numpy(frames)).numpy()
