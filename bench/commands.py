"""Commands of the command line, as processes that a stop reaches: what they were training is kept, and goes on next time."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

#: Of a shell: ended by Ctrl-C.
STOPPED = 130


def called(words: Sequence[str]) -> int:
    """The exit code of ``audio-rkd`` with these words. Ctrl-C and SIGTERM are handed to it, once, and waited for: it saves what it
    trains; then the program ends with ``STOPPED``."""
    print("audio-rkd", *words, file=sys.stderr, flush=True)
    stopped: list[int] = []

    def hand_on(number: int, _frame: Any) -> None:
        stopped.append(number)
        child.send_signal(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # A session of its own: else a terminal's Ctrl-C would reach it twice, and a second one ends it at once.
    child = subprocess.Popen([sys.executable, "-m", "cli", *words], start_new_session=True)
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
