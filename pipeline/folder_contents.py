"""Folders of a user's own sounds as settings: ``FOLDER@DIGEST``, so that what lies in them is part of every digest."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from pathlib import Path

from pipeline.errors import InputError

#: Of a setting that says what lies in its folder: the folder, and 16 digits of the contents' SHA-256.
WITH_DIGEST = re.compile(r"(.+)@([0-9a-f]{16})", re.DOTALL)


def folder_of(setting: str) -> Path:
    """The folder that a setting names."""
    with_digest = WITH_DIGEST.fullmatch(setting)
    return Path(with_digest[1] if with_digest else setting)


def with_contents(name: str, setting: str) -> str:
    """The setting ``name`` with the digest of what lies in its folder; "" stays, and so does what has a digest already.

    ``InputError`` for a folder that is not there, cannot be read or holds no file.
    """
    if not setting or WITH_DIGEST.fullmatch(setting):
        return setting
    folder = folder_of(setting)
    if not folder.is_dir():
        raise InputError(
            f"features.{name} = {setting!r}: no such folder; expected one with recordings (WAV, FLAC, OGG …), or ''"
        )
    try:
        files = files_of(folder)
        states = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
        digest = digest_of(folder, states)
    except OSError as error:
        place = error.filename or folder
        raise InputError(
            f"features.{name} = {setting!r}: {place} cannot be read ({error.strerror}); expected files that can"
        ) from None
    if not files:
        raise InputError(
            f"features.{name} = {setting!r}: the folder is empty; expected recordings (WAV, FLAC, OGG …) in it, or ''"
        )
    return f"{setting}@{digest}"


def require_same(name: str, setting: str) -> None:
    """``InputError`` where a folder does not hold any more what the setting says."""
    if setting and (now := with_contents(name, str(folder_of(setting)))) != setting:
        raise InputError(
            f"features.{name} = {setting!r}: the folder holds other files now ({now.rpartition('@')[2]}); expected those, or "
            f"{str(folder_of(setting))!r} alone, which takes it as it is"
        )


def files_of(folder: Path) -> list[Path]:
    """The regular files below a folder, sorted by their place in it; hidden files and folders are left out."""
    files: list[Path] = []
    for here, folders, names in os.walk(folder, onerror=raised):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(here, name) for name in names if not name.startswith(".") and Path(here, name).is_file()]
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def raised(error: OSError) -> None:
    raise error


@functools.lru_cache(maxsize=16)
def digest_of(folder: Path, states: tuple[tuple[Path, int, int], ...]) -> str:
    """16 digits of the SHA-256 of the files' places and contents; once per process and state of the files."""
    whole = hashlib.sha256()
    for path, _, _ in states:
        content = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                content.update(block)
        whole.update(
            f"{path.relative_to(folder).as_posix()}\n{content.hexdigest()}\n".encode("utf-8", "surrogateescape")
        )
    return whole.hexdigest()[:16]
