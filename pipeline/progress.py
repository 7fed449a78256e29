"""How far a stage is: a bar in a terminal, at most two lines per minute in a log."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from pipeline import goals
from pipeline.spelling import one_line

SECONDS_A_LINE = 30.0

#: Characters of a bar, and seconds between two looks at how far it is.
BAR, LOOK_SECONDS = 24, 1.0

#: Clears the line of a terminal, in which a bar may stand.
CLEARED = "\r\x1b[K"


def say(line: str) -> None:
    """A line of progress, on standard error, so that standard output stays the result's. It takes the place of a bar, of whichever
    process, which is drawn again below it."""
    print((CLEARED if sys.stderr.isatty() else "") + one_line(goals.here(line)), file=sys.stderr, flush=True)


@contextmanager
def foot(told: Callable[[], tuple[float, str]], stream: TextIO) -> Iterator[None]:
    """While the block runs a bar stands at the foot of a terminal; elsewhere nothing does. ``told``: the share that is done, in
    [0, 1], and words; "" for no bar."""
    if not stream.isatty():
        yield
        return
    ended = threading.Event()

    def draw() -> None:
        while not ended.wait(LOOK_SECONDS):
            share, words = told()
            if words:
                stream.write(CLEARED + bar(share, words, shutil.get_terminal_size().columns))
                stream.flush()

    drawing = threading.Thread(target=draw, daemon=True)
    drawing.start()
    try:
        yield
    finally:
        ended.set()
        drawing.join()
        stream.write(CLEARED)
        stream.flush()


def bar(share: float, words: str, columns: int) -> str:
    """At most ``columns`` − 1 characters: what is wrapped cannot be drawn over."""
    done = round(BAR * min(1.0, max(0.0, share)))
    return f"[{'#' * done}{'-' * (BAR - done)}] {words}"[: max(0, columns - 1)]


@contextmanager
def progress(stage: str, total: int, unit: str, stream: TextIO | None) -> Iterator[Callable[[int], None]]:
    """A function that is told how many more are done; ``stream`` None is silence."""
    if stream is None:
        yield lambda count: None
    elif stream.isatty():
        from tqdm import tqdm

        with tqdm(total=total, unit=unit, desc=stage, file=stream, smoothing=0.1, dynamic_ncols=True) as bar:
            yield lambda count: bar.update(count) and None
    else:
        yield lines(stage, total, unit, stream)


@contextmanager
def beside_a_bar() -> Iterator[None]:
    """What is printed meanwhile stands in a line of its own, above a bar."""
    if "tqdm" not in sys.modules:  # no bar was shown
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode():
        yield


def lines(stage: str, total: int, unit: str, stream: TextIO) -> Callable[[int], None]:
    """The rate counts from the first that are done: before them workers start, and on first use kernels are compiled."""
    last = time.monotonic()
    done = first = 0
    start = 0.0

    def tell(count: int) -> None:
        nonlocal done, first, last, start
        done += count
        now = time.monotonic()
        if not first:
            first, start = done, now
        if now - last >= SECONDS_A_LINE and done < total:
            last = now
            line = f"{stage}: {done:,} of {total:,} {unit}s"
            if done > first:
                rate = (done - first) / (now - start)
                minutes, seconds = divmod(round((total - done) / rate), 60)
                line += f", {rate:.1f} per second, {minutes} min {seconds} s left"
            print(line, file=stream, flush=True)

    return tell
