"""A second process beside this one, for what two threads do no sooner than one, because they wait for each other's lock.

It is forked, so that libraries, networks and filters lie in memory once. It writes nothing, reads nothing but its line to this
process, and ends with it: by the line's end where this one is killed. Where it dies itself, all is computed here.
"""

from __future__ import annotations

import gc
import math
import mmap
import multiprocessing
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from multiprocessing.connection import Connection

import numpy as np

from pipeline import signals
from pipeline.processes import cores

Compute = Callable[[np.ndarray], np.ndarray]

#: Groups that the second process has at a time: one that it computes, one that lies ready.
AHEAD = 2

#: Seconds without an answer after which it is taken for dead. A wrong guess costs time alone.
PATIENCE = 60.0


def possible() -> bool:
    """Whether a program with large libraries may be forked here (Linux), and may use a second core."""
    return sys.platform == "linux" and cores.usable() > 1


def shared(
    compute: Compute, groups: Iterable[np.ndarray], shape: tuple[int, ...], alone: int | None
) -> Generator[tuple[int, np.ndarray], None, None]:
    """Number and ``compute(group)`` of each group (shape[0] or fewer, *shape[1:]) float32, as they are done; two processes share them.

    ``alone``: groups that are computed before the second process is forked, where that is ``possible``, which then has all that they made
    ready; None for no second one. To be closed (``contextlib.closing``): the process ends with it. Errors of ``compute`` arise here, whoever computed.
    """
    helper = None
    with ExitStack() as stack:
        for number, group in enumerate(groups):
            if number == alone and possible():
                # A signal to stop may come at any moment of its start, by another thread: the stack ends it all the same.
                with suppress(OSError):  # no room for it: this one does all
                    forked = stack.enter_context(closing(Second(compute, shape)))
                    forked.start()
                    helper = forked
            if not (helper and helper.takes(number, group)):
                yield number, compute(group)
            if helper:
                yield from helper.answers()
        if helper:
            yield from helper.rest()


class Second:
    """The second process, as the first one sees it."""

    def __init__(self, compute: Compute, shape: tuple[int, ...]) -> None:
        self.compute = compute
        # Seen by both; a group as bytes through a pipe would have to be waited for.
        memory = mmap.mmap(-1, AHEAD * math.prod(shape) * np.dtype(np.float32).itemsize)
        self.slots = np.frombuffer(memory, np.float32).reshape(AHEAD, *shape)
        self.given, self.alive = 0, True
        self.waiting: deque[tuple[int, np.ndarray]] = deque()
        self.line, self.theirs = multiprocessing.Pipe()
        everything = compute, self.slots, self.theirs, self.line
        self.process = multiprocessing.get_context("fork").Process(target=work, args=everything, daemon=True)

    def start(self) -> None:
        """Fork it. It never sees a signal to stop: whoever stops this process ends it."""
        with signals.held_back(), warnings.catch_warnings():
            # It is of forks beside threads: those of numpy's products sleep.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        self.theirs.close()

    def takes(self, number: int, group: np.ndarray) -> bool:
        """Give it a group, if it has room for one."""
        if not self.alive or len(self.waiting) == AHEAD:
            return False
        place = self.given % AHEAD
        slot = self.slots[place, : len(group)]
        slot[...] = group
        self.given += 1
        self.waiting.append((number, slot))
        with suppress(OSError):  # it died: ``answers`` finds out
            self.line.send((place, len(group)))
        return True

    def answers(self, seconds: float = 0.0) -> Iterator[tuple[int, np.ndarray]]:
        """What it has done since it was asked last; of all that it has, if that takes no more than ``seconds`` each."""
        while self.alive and self.waiting:
            try:
                if not self.line.poll(seconds):
                    return
                answer = self.line.recv()
            except (EOFError, OSError):  # it was killed, or ``compute`` failed: this process tries again
                self.alive = False
            else:
                yield self.waiting.popleft()[0], answer

    def rest(self) -> Iterator[tuple[int, np.ndarray]]:
        """All that it still has."""
        yield from self.answers(PATIENCE)
        self.alive = False
        while self.waiting:
            number, group = self.waiting.popleft()
            yield number, self.compute(group)

    def close(self) -> None:
        """End it, whatever it does; one that was forked and not yet known ends with the line."""
        self.line.close()
        self.theirs.close()
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()


def work(compute: Compute, slots: np.ndarray, line: Connection, parents: Connection) -> None:
    """What the second process does, until the line ends."""
    try:
        gc.freeze()  # a look for garbage in what it was born with would copy it
        parents.close()
        while True:
            place, count = line.recv()
            line.send(compute(slots[place, :count]))
    finally:
        os._exit(0)  # without a word, and without the ends of blocks that are the first one's
