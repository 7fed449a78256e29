"""Commands of the command line, as processes that a stop reaches: what they were training is kept, and goes on next time."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click import BadParameter

from pipeline.commands.types import Numbers

#: Of a shell: ended by Ctrl-C.
STOPPED = 130


def numbers(text: str) -> tuple[int, ...]:
    """(1, 2, 3) of "1-3", as the command line reads it; for argparse, which says what is none."""
    try:
        return tuple(Numbers().convert(text, None, None))
    except BadParameter as error:
        raise argparse.ArgumentTypeError(error.message) from None


@contextmanager
def alone(lock: Path) -> Iterator[int]:
    """Hold the file ``lock``, whose descriptor a command takes over: what a killed program left training holds it until it ends, and is
    waited for."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waits for the command of another call ({lock})", file=sys.stderr, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def called(words: Sequence[str], held: int | None = None) -> int:
    """The exit code of ``audio-rkd`` with these words. Ctrl-C and SIGTERM are handed to it, once, and waited for: it saves what it
    trains; then the program ends with ``STOPPED``. ``held``: the descriptor of ``alone``, which it keeps open."""
    print("audio-rkd", *words, file=sys.stderr, flush=True)
    stopped: list[int] = []

    def hand_on(number: int, _frame: Any) -> None:
        stopped.append(number)
        child.send_signal(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # A session of its own: else a terminal's Ctrl-C would reach it twice, and a second one ends it at once.
    child = subprocess.Popen(
        [sys.executable, "-m", "cli", *words], start_new_session=True, pass_fds=[] if held is None else [held]
    )
    try:
        for number in before:
            signal.signal(number, hand_on)
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        sys.exit(STOPPED)
    return code
