"""How files are written: in full or not at all, with their digests; one process at a time is for ``pipeline.locks`` to see to.

- ``write_atomic``: under another name, synced, renamed;
- ``sha256`` of a file's content, ``stamp`` of its state.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import dropwhile
from pathlib import Path
from typing import IO, Any

#: Time of writing in ns, size, inode.
Stamp = tuple[int, int, int]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A failure of the system inside the block that names no file (a full disk, a limit) is one of ``path``."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def write_atomic(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write ``path`` under another name, sync it and rename it: it is there in full or not at all.

    ``content`` is the bytes, or a function that writes them to an open binary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two processes on one folder from writing into each other's unfinished file.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), unfinished.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut, where the system can (Windows cannot)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def json_bytes(value: Any, *, indent: int | None = 2) -> bytes:
    return (json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=False) + "\n").encode()


def plain(value: Any) -> Any:
    """``value`` in JSON's types: numpy scalars and arrays unpacked, non-finite numbers as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if type(value).__module__ == "numpy":  # not imported here: the command line starts without it
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def sha256(path: Path) -> str:
    """Of a file's content; empty where it cannot be read, or is a pipe, which would be waited for."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        pass
    return ""


def content_digest(values: Mapping[str, Any], key: str) -> str:
    """SHA-256 of what a JSON file says, spaces and order apart; it stands in the file itself under ``key``."""
    rest = {name: value for name, value in values.items() if name != key}
    return hashlib.sha256(json.dumps(plain(rest), sort_keys=True).encode()).hexdigest()


def signed(values: Mapping[str, Any], key: str = "content") -> dict[str, Any]:
    """``values`` with their ``content_digest``."""
    return {**values, key: content_digest(values, key)}


def as_signed(values: Any, key: str = "content") -> Any:
    """``values`` of a JSON file; ``ValueError`` where it does not say what was written. Those without a digest are older than it."""
    if isinstance(values, dict) and key in values and values[key] != content_digest(values, key):
        raise ValueError("it does not say what was written: its digest is another")
    return values


def damaged_part(path: Path) -> str:
    """The first part of a zip file (weights, arrays) that is not what its CRC-32 says; "" where all are, or it is no zip.

    ``zipfile.BadZipFile`` and others where its table of parts is damaged.
    """
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as parts:
        return parts.testzip() or ""


def differing(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """The names of files in ``folder`` whose SHA-256 is not the one given, or that are not there."""
    return [name for name, digest in digests.items() if sha256(folder / name) != digest]


def stamp(path: Path) -> Stamp:
    """A file's state, for what is kept of its content in memory: it changes when the file is written anew."""
    try:
        state = path.stat()
    except OSError:  # whoever reads it says what is wrong
        return 0, 0, 0
    return state.st_mtime_ns, state.st_size, state.st_ino


def inert(cell: object) -> object:
    """``cell`` as a spreadsheet shows it and does not compute it: a text that reads as a formula gets an apostrophe.

    Names of classes, files and folders are anybody's. A spreadsheet takes a text that begins with =, +, - or @ for a
    formula, quoted or not, also behind blanks and what is not seen, and in their wide forms. Numbers stay numbers.
    """
    if not isinstance(cell, str):
        return cell
    begins = "".join(dropwhile(unseen, unicodedata.normalize("NFKC", cell)))
    # A sign alone, for example the - of standard input, is no formula.
    return f"'{cell}" if len(begins) > 1 and begins[0] in "=+-@" else cell


def unseen(letter: str) -> bool:
    """Blanks, control characters, and those without a width."""
    return unicodedata.category(letter)[0] in "CZ"


def active(cell: str) -> str:
    """The text that ``inert`` was given."""
    bare = cell.removeprefix("'")
    return bare if inert(bare) == cell else cell
