"""All locks: one process at a time, and files that another program has open.

A lock is a file beside what it guards, locked by the system, which gives it back when its holder ends, however it ends.
On a file system without locks everything goes on without them, and one line says so.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.config import InputError

#: What a file system without locks says when it is asked for one.
UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})

#: What it says of a file that another process has locked.
TAKEN = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})

#: File systems of which stderr was told that they have no locks.
TOLD: set[int] = set()


def lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextmanager
def locked(path: Path, subject: str) -> Iterator[None]:
    """Hold the lock of ``path`` for a while. ``InputError`` says who else holds it."""

    def refuse(holder: str) -> None:
        raise InputError(
            f"{subject} is being written by {holder}; wait for it, or stop it, then the same command again ({lock})"
        )

    lock = lock_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(lock, refuse):
        yield


@contextmanager
def held(lock: Path, busy: Callable[[str], None], *, quiet: bool = False) -> Iterator[None]:
    """Hold the file ``lock``, which is deleted at the end.

    Where another process holds it ``busy`` is told which: it raises, or returns, and then this one waits. Where there
    are no locks the block runs without, and stderr says so unless ``quiet``. ``OSError`` where the file cannot be made.
    """
    file_lock = FileLock(lock, on_acquired=sign)
    try:
        try:
            file_lock.acquire(blocking=False)
        except Timeout:
            busy(holder_of(lock))
            file_lock.acquire()
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        if not quiet:
            tell_unsupported(lock.parent, error)
    try:
        yield
    finally:
        # Before the release: filelock takes a file that was deleted meanwhile for nobody's, and makes a new one.
        lock.unlink(missing_ok=True)
        file_lock.release()


def signature() -> str:
    """How the locks of this process begin."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def signature_of(holder: str) -> str:
    """The ``signature`` in what a lock says of its holder: "process 1 on gpu1" is no beginning of "process 1 on gpu10"."""
    return holder.partition(" since ")[0]


def sign(descriptor: int) -> None:
    """Write into a lock who holds it."""
    words = called(sys.argv)
    text = f"{signature()} since {datetime.now():%F %T}" + (f" ({words})" if words else "")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(errors="replace"), 0)


def called(argv: Sequence[str]) -> str:
    """A command up to its first option, in one short line: "audio-rkd experiment survey"; "" of ``python -c`` and of workers."""
    words = itertools.takewhile(lambda word: not word.startswith("-"), [Path(argv[0]).name, *argv[1:]])
    return " ".join(" ".join(words).split())[:80]


def holder_of(lock: Path) -> str:
    try:
        return lock.read_text(errors="replace")[:1000] or "another process"
    except OSError:
        return "another process"


def holder_now(lock: Path) -> str:
    """Who holds a lock at this moment; empty where nobody does, or where nobody can."""
    if not lock.is_file() or not in_use(lock):
        return ""
    return holder_of(lock)


def in_use(path: Path) -> bool:
    """Whether another program has ``path`` locked, as HDF5 does with a file that is open for writing."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in TAKEN
    return False


def unsupported(folder: Path) -> str:
    """What a folder's file system says when it is asked for a lock and has none; empty where it has."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return os.strerror(error.errno) if error.errno in UNSUPPORTED else ""
    finally:
        os.close(handle)
    return ""


def tell_unsupported(folder: Path, error: OSError) -> None:
    """Say on stderr that a folder has no locks: once per file system, and not in each worker process."""
    device = folder.stat().st_dev
    if device in TOLD or multiprocessing.parent_process() is not None:
        return
    TOLD.add(device)
    print(
        f"note: {folder} is on a file system without locks ({os.strerror(error.errno or 0)}); going on without: start no "
        "second command on the same folders meanwhile",
        file=sys.stderr,
        flush=True,
    )
