"""Names of files as they are spelled: letters and accents in one piece (NFC) or decomposed (NFD) by a Mac are the same.

A table that was written on one system names files that another one spelled; so names are compared by ``same``, and a
file is opened by the name that it has on the disk.
"""

from __future__ import annotations

import difflib
import json
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

#: Unicode's categories of control characters, and of what separates lines and paragraphs.
BREAKS = ("Cc", "Zl", "Zp")


def same(name: str) -> str:
    """The one spelling (NFC) of all names that are the same."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def one_line(text: str) -> str:
    """``text`` with line breaks and other control characters as JSON escapes them.

    Names of files may hold them: printed as they are, one name would read as several lines, or steer the terminal.
    """
    return "".join(json.dumps(letter)[1:-1] if unicodedata.category(letter) in BREAKS else letter for letter in text)


def suggestion(word: str, known: Iterable[str]) -> str:
    """The nearest of the names that are known, for the end of an error; "" where none is near."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def spelled(name: str, there: Iterable[str]) -> str | None:
    """Which of the names that are ``there`` is ``name``, letter by letter or else in another spelling; None for none."""
    there = set(there)
    if name in there or name.isascii():
        return name if name in there else None
    return next((other for other in sorted(there) if same(other) == same(name)), None)


def on_disk(path: Path) -> Path:
    """``path`` as its parts are spelled on the disk; as it is where there is no such file in any spelling."""
    if str(path).isascii() or os.path.lexists(path) or path.parent == path:
        return path
    parent = on_disk(path.parent)
    try:
        name = spelled(path.name, os.listdir(parent))  # noqa: PTH208
    except OSError:
        return path
    return parent / name if name else path
