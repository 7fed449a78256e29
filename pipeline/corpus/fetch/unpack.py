"""An archive unpacked whole or not at all, and never outside its folder."""

from __future__ import annotations

import errno
import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from pipeline.config import InputError
from pipeline.corpus.fetch.sources import gigabytes

DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    RuntimeError,
    NotImplementedError,
    ValueError,
)

#: Faults of the disk. Any other OSError while unpacking is the archive's: gzip's, or a file taken for a folder.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


#: Bytes on the disk that a member takes at most for itself and for each folder above it, beside its content.
ENTRY = 4096


class BadArchive(InputError):
    """An archive that is damaged, not the published one, or that would write outside its folder."""


def unpack(archive: Path, place: Path, *, limit: int, check: Callable[[Path], None] = lambda _: None) -> None:
    """Unpack a .zip or .tar.gz with one top folder so that ``place`` is that folder, whole or not there at all.

    Raises ``BadArchive`` for a damaged archive, for more than ``limit`` bytes, a member that is neither file nor
    folder or has a name that leaves the folder, two members of one name, and what ``check`` raises about the
    unpacked folder; ``OSError`` for faults of the disk.
    """
    temp = place.with_name(f".{place.name}.unpacking")
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir(parents=True)
    try:
        write_members(archive, temp, limit)
        tops = list(temp.iterdir())
        if len(tops) != 1 or not tops[0].is_dir():
            raise BadArchive(f"{archive}: {len(tops)} files and folders at its top, expected one folder")
        check(tops[0])
        tops[0].rename(place)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def write_members(archive: Path, folder: Path, limit: int) -> None:
    """Write every member below ``folder``; owners, modes and times are the writer's, not the archive's."""
    seen: set[str] = set()
    total = 0
    try:
        for name, size, content in members(archive):
            path = inside(archive, name)
            total += size + ENTRY * len(path.parts)
            if total > limit:
                raise BadArchive(f"{archive}: unpacks to more than {gigabytes(limit)}")
            if content is None:
                (folder / path).mkdir(parents=True, exist_ok=True)
                continue
            if str(path).casefold() in seen:
                raise BadArchive(f"{archive}: two members named {name!r} (or the same but for capitals)")
            seen.add(str(path).casefold())
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with content, (folder / path).open("xb") as out:
                shutil.copyfileobj(content, out, 1 << 18)
    except BadArchive:
        raise
    except DAMAGE as error:
        raise BadArchive(f"{archive}: damaged archive ({error})") from None
    except OSError as error:
        if error.errno in DISK:
            raise
        raise BadArchive(f"{archive}: damaged archive ({error})") from None


def inside(archive: Path, name: str) -> PurePosixPath:
    """A member's relative path; ``BadArchive`` where it is absolute or climbs, to Unix or to Windows."""
    windows = PureWindowsPath(name)  # takes both kinds of slashes, and knows drives
    if windows.anchor or ".." in windows.parts:
        raise BadArchive(f"{archive}: member {name!r} leaves the folder")
    return PurePosixPath(name)


def members(archive: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    """(name, bytes, content) of every member, content None for a folder; ``BadArchive`` for any other kind."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise BadArchive(f"{archive}: member {info.filename!r} is neither file nor folder")
                yield info.filename, info.file_size, None if info.is_dir() else packed.open(info)
    else:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if not (member.isreg() or member.isdir()):
                    raise BadArchive(f"{archive}: member {member.name!r} is neither file nor folder")
                yield member.name, member.size, tar.extractfile(member)
            while stream.read(1 << 20):  # gzip's own checksum comes after tar's last block
                pass
