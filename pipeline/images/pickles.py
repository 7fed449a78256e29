"""The pickles of CIFAR-100, never trusted: no code of a file's choosing runs, and no small file takes the process down.

A pickle can name any function and have it called. Here only NumPy's three names for its arrays mean anything, and they mean
inert records that keep what they were given; NumPy's code does not run either.
Arrays are made afterwards, from bytes whose type, shape and number were looked at.

Nor may ten bytes take the process down: the reader in C makes room for whatever place in its memo a pickle names, and
hashes keys of any depth. So this one is the standard library's in Python, whose memo is a dict, with the opcodes that
the published form uses and with keys that are names.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, ClassVar

import numpy as np

from pipeline.config import InputError


class Inert:
    """What a pickle says of an array or of its type, kept and nothing done: the arguments, and the state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.state = arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Named(dict[str | bytes, Any]):
    """A dict of names. Other keys are refused before they are hashed, which may take the stack, or for ever."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) not in (bytes, str):
            raise pickle.UnpicklingError("a dict in it whose keys are not names")
        super().__setitem__(key, value)


#: All that a pickle may name: how NumPy 1 and NumPy 2 say that their arrays are made.
NAMES = (
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
)

#: The opcodes of dicts, lists, strings, bytes, whole numbers, arrays and the memo: what Python 2's cPickle wrote and
#: what Python 3 writes for the same, protocols 2 to 4.
OPCODES = tuple(
    getattr(pickle, name)
    for name in (
        "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 "
        "BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BINUNICODE SHORT_BINUNICODE "
        "EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
        "BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD"
    ).split()
)


#: Known to type checkers by its methods in C only.
InPython: Any = pickle._Unpickler


class Unpickler(InPython):
    """The standard library's, in Python; what is not in ``OPCODES`` and ``NAMES`` is refused."""

    def find_class(self, module: str, name: str) -> type[Inert]:
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} in it, expected only arrays, bytes, lists and dicts")
        return Inert

    def refuse(self) -> None:
        raise pickle.UnpicklingError("an opcode in it that the published file has no use for")

    dispatch: ClassVar = {
        **dict.fromkeys(range(256), refuse),
        **{opcode[0]: InPython.dispatch[opcode[0]] for opcode in OPCODES},
        pickle.EMPTY_DICT[0]: lambda self: self.append(Named()),
    }


def unpickled(content: bytes, where: str) -> dict[str, Any]:
    """The dict in a Python 2 or 3 pickle, its keys as text; arrays are still ``Inert``."""
    try:
        loaded = Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise whatever the stand-ins and pickle's opcodes raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{where}: refused, not a pickle of CIFAR-100: {reason}") from None
    if not isinstance(loaded, Named):
        raise InputError(f"{where}: refused, not a pickle of CIFAR-100: expected a dict with names as keys")
    return {text(key): value for key, value in loaded.items()}


def text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def array(pickled: object, where: str) -> np.ndarray:
    """The uint8 array that ``pickled`` tells of, in memory of its own."""
    state = pickled.state if type(pickled) is Inert else None
    if isinstance(state, tuple) and len(state) == 5:
        _, shape, kind, column_major, content = state
        if (
            (type(kind) is Inert and kind.arguments[:1] in ((b"u1",), ("u1",)))
            and (type(shape) is tuple and len(shape) == 2 and all(type(n) is int and n >= 0 for n in shape))
            and (type(content) is bytes and len(content) == math.prod(shape))
        ):
            flat = np.frombuffer(content, np.uint8)
            return flat.reshape(shape, order="F" if column_major else "C").copy(order="C")
    raise InputError(f"{where}: expected data, an array of bytes (uint8)")
