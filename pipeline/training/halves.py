"""Items in packs of a size, and in halves of them where the memory does not suffice; items that must stay together do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from pipeline.config import InputError

#: The error of a run that does not fit alone.
ONE_TOO_LARGE = (
    "out of memory with a single run; expected a device with more free memory: choose a smaller batch, "
    "data = 'bfloat16' or the device cpu"
)

T = TypeVar("T")
U = TypeVar("U")


def split(items: Sequence[T], pack: int, unit: int = 1, processes: int = 1) -> list[list[T]]:
    """``items`` in order, in as few packs of at most ``pack`` (but one ``unit``) as there must be, of sizes that differ by one
    unit at most: so many items behind each other stay together. Of several ``processes`` each has as many packs, where there are
    items enough: else all but one would wait for the last."""
    units = len(items) // unit
    packs = -(-units // max(1, pack // unit))
    packs = min(units, -(-packs // processes) * processes)
    cuts = [units * i // packs * unit for i in range(packs + 1)] if packs else [0]
    return [list(items[a:b]) for a, b in itertools.pairwise(cuts)]


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is the device's, or this machine's, lack of memory."""
    refused = "DefaultCPUAllocator: can't allocate" in str(error)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (isinstance(error, RuntimeError) and refused)


def in_halves(
    train: Callable[[list[T]], list[U]], items: Sequence[T], say: Callable[[str], None], unit: int = 1
) -> list[U]:
    """``train(items)``; where the memory does not suffice, the halves one after the other, and so on.

    ``train`` returns one result per item. A single item, or ``unit`` of items, that does not fit is an ``InputError``.
    """
    try:
        return train(list(items))
    except Exception as error:
        if not out_of_memory(error):
            raise
        if len(items) <= unit:
            raise InputError(ONE_TOO_LARGE) from error
    # Outside the handler, so that nothing of the failed pack is still held by its traceback.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(items) // unit // 2 * unit
    say(f"out of memory with {len(items)} runs in a pack: going on with packs of {half} and {len(items) - half}")
    return in_halves(train, items[:half], say, unit) + in_halves(train, items[half:], say, unit)
