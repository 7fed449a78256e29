"""The signals that ask a command to stop: Ctrl-C (SIGINT), SIGTERM, and SIGHUP of a terminal that was closed.

In the process that was started by hand each of them is a ``KeyboardInterrupt``, once; a second one ends it at once, with
its children. A child is ended by its parent, so it only remembers that it was asked to.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:  # this module comes before all others, and at once
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: A signal so soon behind the first is a copy of it, in seconds: ``timeout`` sends one to a process and one to its group.
COPY_SECONDS = 0.5

#: Seconds from the first signal to the line that says what still goes on.
SAY_SECONDS = 0.6

#: The signals that came since the command began: number and time.
received: list[tuple[int, float]] = []

#: What the command does when it is asked to stop, the innermost ``ending`` last; and the lines that say so and are still to come.
endings: list[str] = []
to_come: list[str] = []


def in_main_thread() -> bool:
    """Only there Python takes handlers."""
    threading: Any = sys.modules.get("threading")
    return threading is None or threading.current_thread() is threading.main_thread()


def exit_code() -> int:
    """128 and the number of the first signal, as a shell has it; that of Ctrl-C where none came."""
    return 128 + (received[0][0] if received else signal.SIGINT)


def remember(number: int, _frame: FrameType | None = None) -> None:
    """The handler of a child."""
    received.append((number, time.monotonic()))


def interrupt(number: int, frame: FrameType | None = None) -> None:
    """The handler of the process that was started by hand."""
    remember(number, frame)
    if len(received) == 1:
        say_nothing(True)
        say_soon()
        raise KeyboardInterrupt
    if received[-1][1] - received[0][1] > COPY_SECONDS:
        end_at_once()


@contextmanager
def ending(words: str) -> Iterator[None]:
    """While the block runs ``words`` say what a stop has to wait for, to whoever still waits after ``SAY_SECONDS``."""
    endings.append(words)
    try:
        yield
    finally:
        endings.pop()


def say_soon() -> None:
    """Say what still goes on, where the command has not ended ``SAY_SECONDS`` from now."""
    if not endings:
        return
    to_come.append(f"stopping: {endings[-1]}; a second Ctrl-C ends at once")
    # Not threading: what the signal interrupted may be in the midst of starting a thread, and hold its lock.
    with suppress(RuntimeError):  # no more threads are to be had
        _thread.start_new_thread(say_later, (to_come[-1],))


def say_later(line: str) -> None:
    time.sleep(SAY_SECONDS)
    if line in to_come:
        say(line)


def say(line: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # nobody may be there any more
        print(("\r\x1b[K" if sys.stderr.isatty() else "") + line, file=sys.stderr, flush=True)


def say_no_more() -> None:
    """The command has ended, or says so itself."""
    to_come.clear()


def say_nothing(quiet: bool) -> None:
    """Whether libraries are to keep to themselves what they see in the log and in warnings: connections that break, say."""
    import logging
    import warnings

    logging.disable(logging.CRITICAL if quiet else logging.NOTSET)
    if quiet:
        warnings.simplefilter("ignore")


def end_at_once() -> None:
    """Without tidying up: what was being written has no name yet, and the system gives back the locks."""
    with suppress(OSError):
        os.write(2, b"stopped at once. The same command goes on from what was kept last.\n")
    kill_children()
    os._exit(exit_code())


def kill_children() -> None:
    """End the processes that this one started through multiprocessing, loky's and dask's too, whatever they do."""
    processes: Any = sys.modules.get("multiprocessing")
    for child in processes.active_children() if processes else ():
        with suppress(OSError):
            os.kill(child.pid, signal.SIGKILL)


@contextmanager
def stoppable() -> Iterator[None]:
    """While the block runs, all of ``STOPS`` that are not ignored (``nohup``) are handled by ``interrupt``.

    Behind a block that was stopped they are ignored where the process ends with it: the interpreter ends without a word.
    """
    if not in_main_thread():
        yield
        return
    received.clear()
    before = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    hook, sys.unraisablehook = sys.unraisablehook, once_more(sys.unraisablehook)
    try:
        yield
    finally:
        say_no_more()
        lives_on = not received or sys.stdout is not sys.__stdout__  # click's runner of tests does
        for number, handler in before.items():
            signal.signal(number, handler if lives_on else signal.SIG_IGN)
        if lives_on and received:
            say_nothing(False)
            received.clear()
        if lives_on:
            sys.unraisablehook = hook


def once_more(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A hook that sends a signal again whose exception was raised where Python drops it, in a destructor say."""

    def dropped(unraisable: Any) -> None:
        if not received or not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)
            return
        import threading

        number = received[0][0]
        received.clear()
        threading.Timer(0.02, os.kill, (os.getpid(), number)).start()

    return dropped


@contextmanager
def silent() -> Iterator[None]:
    """While the block imports, one of ``STOPS`` ends the process without a word: a traceback of imports tells nothing."""
    if not in_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: os._exit(128 + number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def first_asks(ask: Callable[[], None]) -> Iterator[None]:
    """While the block runs the first of ``STOPS`` calls ``ask``; the ones after it do what they did before.

    Signals that Python does not handle (SIGTERM in a notebook) are left as they are.
    """
    before: dict[int, Any] = {n: handler for n in STOPS if callable(handler := signal.getsignal(n))}

    def asked(number: int, frame: FrameType | None) -> None:
        restore()
        if before[number] in (interrupt, remember):
            remember(number, frame)
        if before[number] is interrupt:
            say_soon()
        ask()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, asked)
    try:
        yield
    finally:
        restore()


#: Thread → what asks the work in it to stop, and the threads that were asked: where others than the main one work, as in a dask worker.
asks: dict[int, Callable[[], None]] = {}
asked: set[int] = set()


def ask_thread(number: int) -> None:
    """Ask the work in a thread to stop, what of it is under way and what is to come until ``asked`` is told otherwise."""
    asked.add(number)
    if ask := asks.get(number):
        ask()


@contextmanager
def thread_asks(ask: Callable[[], None]) -> Iterator[None]:
    """While the block runs in this thread, ``ask`` is called where the thread was, or is, asked to stop."""
    number = _thread.get_ident()
    asks[number] = ask
    if number in asked:
        ask()
    try:
        yield
    finally:
        asks.pop(number, None)


@contextmanager
def held_back() -> Iterator[None]:
    """Processes that are started meanwhile never see ``STOPS``; the one that starts them sees them at the end.

    A mask holds for one thread; the system gives a signal to any other that lets it through (libraries' too), and Python raises what
    comes of it in the main one: so there the handlers only note it, too.
    """
    late: list[int] = []
    handlers = {number: signal.getsignal(number) for number in STOPS} if in_main_thread() else {}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    for number, handler in handlers.items():
        if callable(handler):  # what is ignored stays so, also in the processes
            signal.signal(number, lambda number, _: late.append(number))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
        for came in dict.fromkeys(late):
            signal.raise_signal(came)


def seen_by_child() -> None:
    """In a child that was started while they were ``held_back``: from now on they are remembered.

    One that came meanwhile ends it without a word; its parent has the words.
    """
    if signal.sigpending() & set(STOPS):
        os._exit(exit_code())
    for number in STOPS:
        signal.signal(number, remember)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


@contextmanager
def ctrl_c_held_back(tracker: Any) -> Iterator[None]:
    """Processes that are started meanwhile never see a signal to stop; the one that starts them sees it at the end.

    ``tracker`` is the module of the resource tracker. It and Python's own go first: their start lets Ctrl-C through again,
    and of SIGHUP, which they know nothing of, they would die. What a second Ctrl-C leaves they tidy up without a word.
    """
    from multiprocessing import resource_tracker

    sys.warnoptions.append("ignore:resource_tracker")
    for one in {resource_tracker, tracker}:
        with held_back():
            one.ensure_running()
    sys.warnoptions.remove("ignore:resource_tracker")
    with held_back():
        yield
