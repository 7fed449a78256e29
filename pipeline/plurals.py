"""Counts in sentences: "1 run", "2 runs"."""

from __future__ import annotations

import re


def many(count: int, one: str, several: str = "") -> str:
    """ "1 class", "8,732 classes"; ``several`` where the rule of ``plural`` is not enough: ``many(n, "clip is", "clips are")``."""
    return f"{count:,} {plural(count, one, several)}"


def plural(count: int, one: str, several: str = "") -> str:
    """The words behind a count, without it."""
    if count == 1:
        return one
    return several or one + ("es" if re.search(r"(s|x|sh)$", one) else "s")
