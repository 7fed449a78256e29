"""Sounds of another time that have the contents a fold's file says: noted beside it, so that they are read once and not each time.

The file itself keeps the times that it was written with. A note is written whole; of two processes that write at once the later one
counts, and what it lacks is read once more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pipeline.cache import File
from pipeline.files import as_signed, json_bytes, signed, write_atomic

NOTES = "times.json"

#: In ns: a sound may change again, and to the same size, within the tick of the clock in which it was touched; FAT's is two seconds.
JUST_NOW = 2_000_000_000

#: Path from the corpus' folder, size, time of change in ns, SHA-256.
Seen = tuple[str, int, int, str]


def read(folder: Path) -> frozenset[Seen]:
    """What is noted beside the files of ``folder``; nothing where there is no note, or it is damaged."""
    try:
        notes = as_signed(json.loads((folder / NOTES).read_bytes()))
        rows = notes["seen"] if notes["content"] else ()  # what is not signed is none of ours
        return frozenset((str(path), int(size), int(when), str(digest)) for path, size, when, digest in rows)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


def keep(folder: Path, files: Iterable[File]) -> None:
    """Note that ``files``, with their SHA-256, were read as they stand now; nothing where that cannot be written."""
    now = time.time_ns()
    new = {seen(file) for file in files if not 0 <= now - file.mtime_ns < JUST_NOW}
    before = read(folder)
    if new <= before:
        return
    paths = {one[0] for one in new}
    rows = sorted(new | {one for one in before if one[0] not in paths})
    with suppress(OSError):
        write_atomic(folder / NOTES, json_bytes(signed({"seen": rows}), indent=None))


def seen(file: File) -> Seen:
    return file.path, file.size, file.mtime_ns, file.sha256
