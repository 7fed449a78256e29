"""What could not be computed or written: clips in a table beside the cache, and lines for people."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.cache import Failure
from pipeline.config import InputError
from pipeline.corpus.clips import part_name
from pipeline.files import inert, write_atomic
from pipeline.spelling import one_line

COLUMNS = ("fold", "clip", "path", "reason", "expected", "found")
SHOWN = 20

#: What the system says where no file can be written.
REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


def rows_of(root: Path, failures: Mapping[int, tuple[Failure, ...]]) -> list[list[str]]:
    return [
        [str(fold), f.clip, str(root / f.file.path), f.reason, f.expected, f.found]
        for fold in sorted(failures)
        for f in failures[fold]
    ]


def write_failures(folder: Path, root: Path, failures: Mapping[int, tuple[Failure, ...]]) -> None:
    """``failures.csv`` in a folder: these folds' failures, other folds' as they were; no file where there are none."""
    path = folder / "failures.csv"
    others: list[list[str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            read = list(csv.reader(line.replace("\0", "") for line in file))[1:]
        # Rows that somebody edited into something else go.
        others = [
            row
            for row in read
            if len(row) == len(COLUMNS) and row[0].removeprefix("-").isdecimal() and int(row[0]) not in failures
        ]
    rows = sorted(others + rows_of(root, failures), key=lambda row: (int(row[0]), row[1]))
    if rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *(map(inert, row) for row in rows)])
        content = text.getvalue().encode("utf-8", "backslashreplace")  # names may be bytes that are no text
        if not path.is_file() or path.read_bytes() != content:
            write_atomic(path, content)
    elif path.is_file():
        path.unlink()


def failed_text(root: Path, failures: Mapping[int, tuple[Failure, ...]], folder: Path) -> str:
    """A line a failed clip, the first ones, and where all of them are listed."""
    rows = rows_of(root, failures)
    lines = [
        one_line(
            f"{part_name(int(fold))}: {path}: {reason}"
            + (f" (expected {expected}, found {found})" if expected or found else "")
        )
        for fold, _, path, reason, expected, found in rows[:SHOWN]
    ]
    more = f"{len(rows) - SHOWN} more; " if len(rows) > SHOWN else ""
    listed = "it is listed" if len(rows) == 1 else f"all {len(rows)} failed clips are listed"
    return "\n".join([*lines, f"{more}{listed} in {folder / 'failures.csv'}"])


@contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """A full or read-only disk, and a worker that died, as one line each."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise InputError(
            f"{folder}: {os.strerror(error.errno)}; what was finished is kept. Make room, or give a "
            "folder that can be written, then the same command again"
        ) from None
    except Exception as error:
        if type(error).__name__ != "TerminatedWorkerError":
            raise
        codes = ", ".join(sorted(set(re.findall(r"(?:EXIT|SIG[A-Z]+)\(-?\d+\)", str(error)))))
        if codes and "SIGKILL" not in codes:
            raise InputError(
                f"a worker process ended in the middle ({codes}); what it said stands above. What was finished is "
                "kept: the same command goes on; --backend sequential shows an error as it is"
            ) from None
        raise InputError(
            "a worker was killed by the system, out of memory maybe; what was finished is kept. Give "
            "the same command again with fewer --jobs"
        ) from None
