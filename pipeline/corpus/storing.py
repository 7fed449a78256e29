"""When folds that were just assigned are stored: at once, or once a command has looked at all that it might refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: What is to be stored, where that waits.
WAITING: ContextVar[list[Callable[[], None]] | None] = ContextVar("waiting", default=None)


@contextmanager
def later() -> Iterator[list[Callable[[], None]]]:
    """What corpora that are opened meanwhile would store, to be called by whoever refuses nothing."""
    waiting: list[Callable[[], None]] = []
    before = WAITING.set(waiting)
    try:
        yield waiting
    finally:
        WAITING.reset(before)


def store(action: Callable[[], None]) -> None:
    """Call it, now or ``later``."""
    waiting = WAITING.get()
    if waiting is None:
        action()
    else:
        waiting.append(action)
