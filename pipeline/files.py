"""One process at a file: a lock beside it that the system gives back when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from pipeline.config import InputError


def lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of ``path`` for a while. ``InputError`` says who else holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = lock_of(path)
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 1000).decode(errors="replace") or "another process"
            os.close(handle)
            raise InputError(f"{what} is being written by {holder}; wait for it, or stop it, then the same command "
                             f"again ({path})") from None  # fmt: skip
        # The holder before deletes the file: a lock on a deleted file is nobody's.
        with suppress(FileNotFoundError):
            if lock.stat().st_ino == os.fstat(handle).st_ino:
                break
        os.close(handle)
    try:
        os.ftruncate(handle, 0)
        os.write(
            handle, f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%F %T}".encode()
        )
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)
