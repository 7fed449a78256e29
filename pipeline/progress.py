"""How far a stage is: a bar in a terminal, at most two lines per minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

SECONDS_A_LINE = 30.0


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
            line = f"{stage}: {done} of {total} {unit}s"
            if done > first:
                rate = (done - first) / (now - start)
                minutes, seconds = divmod(round((total - done) / rate), 60)
                line += f", {rate:.1f} per second, {minutes} min {seconds} s left"
            print(line, file=stream, flush=True)

    return tell
