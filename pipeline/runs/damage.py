"""What a command met that was damaged, and did without: a picture, an interval beside the figures that it was asked for.

The rest is done; then each is a line of error, and the exit code is 1 (``commands.group``). A figure itself is never made of fewer
runs than there are: whoever computes one lets the error through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import Damaged

T = TypeVar("T")

#: What was met since the last ``told``.
met: dict[str, None] = {}


def spared(read: Callable[[], T]) -> T | None:
    """What ``read`` gives; None where it meets a damaged file, which is told at the command's end."""
    try:
        return read()
    except Damaged as error:
        met[str(error)] = None
        return None


def told() -> list[str]:
    """A line for each damaged file, once."""
    lines = list(met)
    met.clear()
    return lines
