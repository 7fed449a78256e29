"""Where a command stands: its folder, and what it sets in the environment. Work that it hands to others is done as if they stood there.

Relative paths, records and digests then mean the same in a worker that was started in another folder, and one that a cluster started
anew in place of a lost one needs no preparing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import places, plugins, signals

VARIABLES = (places.VARIABLE, plugins.VARIABLE)


class Place(NamedTuple):
    """The working folder, absolute, and what ``VARIABLES`` are there; "" of one that is not set."""

    folder: str
    values: tuple[str, ...]

    @property
    def variables(self) -> dict[str, str]:
        return dict(zip(VARIABLES, self.values))


#: Of this process: the place where work is done at the moment, once for each that is under way.
under_way: list[Place] = []
turn = threading.Condition()

#: Where this process was started, once it went elsewhere.
started: list[str] = []


def here() -> Place:
    return Place(str(Path.cwd()), tuple(os.environ.get(name, "") for name in VARIABLES))


class Stopped(NamedTuple):
    """What comes of work that was asked to stop: a ``KeyboardInterrupt`` would end dask's worker."""

    words: str


#: How often work asks whether anybody still waits for it, in seconds.
LOOK_SECONDS = 1

#: Command → the threads that are at its work; and the commands that were stopped.
at_work: dict[str, set[int]] = {}
stopped: set[str] = set()


def work(place: Place, pickled: bytes, command: str = "") -> Any:
    """``function(*values)`` of the ``pickled`` pair, in that place. They are unpickled there: they may name plugins.

    ``Stopped`` where its ``command`` was asked to stop, before or meanwhile, or is gone without a word.
    """
    from distributed.protocol import pickle  # dask: an extra

    number = threading.get_ident()
    with at(place), working(command, number):
        if command in stopped:
            return Stopped("")
        try:
            function, values = pickle.loads(pickled)
            return function(*values)
        except KeyboardInterrupt as stop:
            return Stopped(str(stop))


@contextmanager
def working(command: str, number: int) -> Iterator[None]:
    """While the block runs this thread is at the work of a command, and is asked to stop where nobody waits for it any more."""
    ended, given_up = threading.Event(), when_given_up()
    with turn:
        signals.asked.discard(number)
        at_work.setdefault(command, set()).add(number)

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            with turn:
                if not ended.is_set() and given_up():
                    signals.ask_thread(number)
                    return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        with turn:
            ended.set()
            signals.asked.discard(number)
            at_work[command].discard(number)
            if not at_work[command]:
                at_work.pop(command)


def when_given_up() -> Callable[[], bool]:
    """Whether dask wants what this thread is at no more: the command was killed, say. It does not end what has begun, which would
    then train on beside the same command, given again."""
    from distributed import get_worker  # dask: an extra

    try:
        worker = get_worker()
        key = worker.get_current_task()
    except (ValueError, KeyError):  # in no worker
        return lambda: False
    return lambda: (task := worker.state.tasks.get(key)) is None or task.state == "cancelled"


def stop(command: str) -> int:
    """Ask what is done for a command to end and to keep how far it came; how many threads are still at it."""
    with turn:
        stopped.add(command)
        threads = list(at_work.get(command, ()))
        for number in threads:
            signals.ask_thread(number)
    return len(threads)


def busy() -> list[tuple[str, str]]:
    """The commands whose work is done in this process at the moment, and the folder where it stands for them."""
    with turn:
        return [(command, under_way[0].folder) for command in at_work if under_way]


@contextmanager
def at(place: Place) -> Iterator[None]:
    """While the block runs this process stands there; work for another place waits, for a process stands in one alone."""
    with turn:
        turn.wait_for(lambda: not under_way or under_way[0] == place)
        if not under_way:
            go(place)
        under_way.append(place)
    try:
        yield
    finally:
        with turn:
            under_way.remove(place)
            turn.notify_all()


def go(place: Place) -> None:
    """Stand there. A folder that is not seen under this name is the one where this process was started, by a name of its own: it was asked."""
    if not started:
        with suppress(FileNotFoundError):  # it is gone: who was asked there sees the command's by its name
            started.append(os.getcwd())  # noqa: PTH109
    try:
        there = os.path.samefile(place.folder, ".")  # noqa: PTH121
    except (FileNotFoundError, NotADirectoryError):
        os.chdir(started[0] if started else ".")
    else:
        if not there:
            os.chdir(place.folder)
    if place.variables != here().variables:
        os.environ.update(place.variables)
        plugins.refresh()
