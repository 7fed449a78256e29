"""Whether the features in a fold's file are what was written: by the SHA-256 of each clip, as they are read.

Once per process and state of a file; ``HASHERS`` threads, about 1 GB/s each where the processor has SHA instructions. What came
of the last check of a whole file stands beside it in ``checks.json``, for ``features`` and ``verify`` to say; it holds as long
as the system says that the file was not touched. A copy from another machine is checked once more: contents alone count.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.cache.schema import Header, clip_digest, content_digest
from pipeline.config import InputError
from pipeline.files import as_signed, json_bytes, signed, write_atomic
from pipeline.plurals import many

NOTES = "checks.json"

#: Threads that compute digests: a GB in a second on any two cores. More than a container may use at a time cost nothing.
HASHERS = min(4, os.cpu_count() or 1)

#: In ns, how long ago a file must have been touched for its time of change to tell it from a later state.
JUST_NOW = 50_000_000

#: Clips that an error names.
SHOWN = 3

#: Path, time of change in ns, size, inode.
State = tuple[str, int, int, int]


class Check(NamedTuple):
    """What came of a check of a whole file."""

    damaged: tuple[str, ...]
    """Clips whose features are not what was written; ``EVERY`` where that cannot be told by clip."""
    time: str = ""
    """In UTC."""
    how: str = ""


#: In place of clips: a file without digests by clip, whose digest as a whole is another.
EVERY = "*"

#: What was checked in this process, or in the one that started it.
checked: dict[State, Check] = {}


def state(path: Path) -> State:
    """Changes whenever the file may have: a program can set the time of writing, not that of change."""
    about = path.stat()
    return str(path.resolve()), about.st_ctime_ns, about.st_size, about.st_ino


def damaged_clips(header: Header, features: np.ndarray, first: int = 0) -> tuple[str, ...]:
    """The clips among ``features`` (clip, view, feature, bin, frame), the file's rows from ``first`` on, that are not as written.

    Of a file without digests by clip all rows are needed: ``EVERY`` where they are not as written.
    """
    if header.clip_digests:
        with ThreadPoolExecutor(HASHERS) as pool:
            now = list(pool.map(clip_digest, features))
        names, expected = header.clips[first:], header.clip_digests[first:]
        return tuple(name for name, one, other in zip(names, now, expected) if one != other)
    if first or len(features) != len(header.clips):
        return ()
    digest = content_digest([features], header.labels, header.clips, header.label_sets)
    return () if digest == header.digest else (EVERY,)


def require(path: Path, header: Header, features: np.ndarray, first: int = 0, *, keep: bool = False) -> None:
    """``InputError`` where rows of a file, as just read, are not what was written: it names clips and remedy.

    ``keep``: a note of it beside the file, where these are all rows.
    """
    now = state(path)
    if now in checked:
        check = checked[now]
    else:
        check = Check(damaged_clips(header, features, first))
        if len(features) == len(header.clips):
            check = noted(path, now, header, check.damaged, keep=keep)
    among = {*header.clips[first : first + len(features)], EVERY}
    if damaged := [name for name in check.damaged if name in among]:
        raise InputError(f"{path}: {words(tuple(damaged))}; {remedy(path)}")


def words(damaged: Sequence[str]) -> str:
    if damaged == (EVERY,):
        return "features, labels or clip names are not what was written (SHA-256 of the fold)"
    more = f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
    clips = "clip" if len(damaged) == 1 else "clips"
    return f"the features of {len(damaged)} {clips} are not what was written ({', '.join(damaged[:SHOWN])}{more}: SHA-256 differs)"


def remedy(path: Path) -> str:
    return "compute them again, and nothing else: make features (audio-rkd features) with the same settings"


def noted(path: Path, now: State, header: Header, damaged: tuple[str, ...], *, keep: bool = True) -> Check:
    """Keep what came of a check of a whole file, in this process, and with ``keep`` beside it, where that can be written."""
    how = "SHA-256 of every clip" if header.clip_digests else "SHA-256 of the fold"
    check = Check(damaged, datetime.now(UTC).isoformat(timespec="seconds"), how)
    if 0 <= time.time_ns() - now[1] < JUST_NOW:  # what is written within the same tick of the clock would look the same
        return check
    checked[now] = check
    if not keep or not header.clips:
        return check
    entry = signed({"state": now[1:], "digest": header.digest, "damaged": damaged, "time": check.time, "how": how})
    with suppress(OSError):
        notes = {name: note for name, note in read_notes(path.parent).items() if (path.parent / name).is_file()}
        write_atomic(path.parent / NOTES, json_bytes({**notes, path.name: entry}))
    return check


def read_notes(folder: Path) -> dict[str, Any]:
    """The notes beside files; none where there is no such file, or it is damaged: then all is checked anew."""
    try:
        notes = json.loads((folder / NOTES).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def last(path: Path) -> Check | None:
    """The last check of a file, where it was not touched since; None without one."""
    try:
        now = state(path)
    except OSError:
        return None
    if now in checked:
        return checked[now]
    try:
        note = as_signed(read_notes(path.parent)[path.name])
        check = Check(tuple(map(str, note["damaged"])), str(note["time"]), str(note["how"]))
        return check if tuple(note["state"]) == now[1:] else None
    except (KeyError, TypeError, ValueError):
        return None


def told(paths: Iterable[Path]) -> str:
    """When and how the contents of files were last checked, in words."""
    checks = [last(path) for path in paths]
    known = [check for check in checks if check is not None]
    if not known:
        return "contents not checked since they were written: audio-rkd check"
    oldest = min(known, key=lambda check: check.time)
    left = (
        f"; {len(checks) - len(known)} of {many(len(checks), 'fold')} not since they were written"
        if None in checks
        else ""
    )
    damaged = sum(bool(check.damaged) for check in known)
    bad = f"; {damaged} of them damaged" if damaged else ""
    return f"contents last checked {oldest.time} ({oldest.how}){left}{bad}"
