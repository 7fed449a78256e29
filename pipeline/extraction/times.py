"""Sounds of another time that have the contents a fold's file says: noted beside it, so that they are read once and not each time.

The file itself keeps the times that it was written with. A note is written whole; of two processes that write at once the later one
counts, and what it lacks is read once more. It also says when anything of the sound's file changed (``st_ctime``), which nobody can
set: a sound whose contents were exchanged and whose time was put back is read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pipeline.cache import File
from pipeline.files import as_signed, json_bytes, signed, write_atomic

NOTES = "times.json"

#: In ns: a sound may change again, and to the same size, within the tick of the clock in which it was touched; FAT's is two seconds.
JUST_NOW = 2_000_000_000

#: Of a sound that changed just now.
UNSETTLED = -1

#: Path from the corpus' folder, size, time of change in ns, time of any change in ns, SHA-256.
Seen = tuple[str, int, int, int, str]


def read(folder: Path) -> frozenset[Seen]:
    """What is noted beside the files of ``folder``; nothing where there is no note, or it is damaged."""
    try:
        notes = as_signed(json.loads((folder / NOTES).read_bytes()))
        rows = notes["seen"] if notes["content"] else ()  # what is not signed is none of ours
        noted = [(str(path), int(size), int(when), int(changed), str(sha)) for path, size, when, changed, sha in rows]
        return frozenset(one for one in noted if one[3] != UNSETTLED)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return frozenset()


def keep(folder: Path, seen: Iterable[Seen]) -> None:
    """Note sounds that were read; nothing where that cannot be written, and none that is ``UNSETTLED``."""
    new = {one for one in seen if one[3] != UNSETTLED}
    if not new or new <= (before := read(folder)):
        return
    paths = {one[0] for one in new}
    rows = sorted(new | {one for one in before if one[0] not in paths})
    with suppress(OSError, UnicodeError):  # names that are no text
        write_atomic(folder / NOTES, json_bytes(signed({"seen": rows}), indent=None))


def settled(state: os.stat_result, now: int) -> int:
    """When anything of a file changed, in ns; ``UNSETTLED`` where that is not ``JUST_NOW`` before ``now``, a time before it was looked at."""
    last = max(state.st_ctime_ns, state.st_mtime_ns)
    return state.st_ctime_ns if last <= now - JUST_NOW else UNSETTLED


def seen(file: File, changed: int) -> Seen:
    """``changed``: what ``settled`` says of it."""
    return file.path, file.size, file.mtime_ns, changed, file.sha256
