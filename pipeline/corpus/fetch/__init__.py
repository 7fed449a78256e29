"""Published data sets fetched on request: size and licence first, resumed where cut, checked, unpacked atomically.

What has its final name is whole: a download is ``NAME.part`` until its last byte came and ``NAME.fetched`` until it is
checked and unpacked, an archive is unpacked beside its folder and renamed, and an archive that fails its check is set
aside as ``NAME.bad``. An archive downloaded by hand and put into the data folder under ``Source.filename`` is taken
instead of the network's, and kept.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pooch

from pipeline import locks
from pipeline.config import InputError
from pipeline.corpus.fetch.download import PAUSES, download
from pipeline.corpus.fetch.sources import (
    SOURCES,
    Source,
    gigabytes,
    notice,
    source,
)
from pipeline.corpus.fetch.unpack import BadArchive, unpack
from pipeline.plurals import many

__all__ = ["SOURCES", "BadArchive", "Source", "fetch", "notice", "obtain", "source"]


def fetch(
    dataset: str,
    data_root: Path,
    *,
    url: str | None = None,
    confirm: Callable[[str], bool] | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Download, check and unpack ``dataset`` into ``data_root``; the path of its folder (CIFAR-100: its archive).

    ``url`` is a mirror's address of the same archive. ``confirm`` is asked one question after size and licence
    were said; None goes ahead. What is there already is not downloaded again. Raises ``InputError``.
    """
    return obtain(source(dataset), data_root, url=url, confirm=confirm, say=say)


def obtain(
    source: Source,
    data_root: Path,
    *,
    url: str | None = None,
    confirm: Callable[[str], bool] | None = None,
    say: Callable[[str], None] = print,
    pauses: tuple[float, ...] = PAUSES,
) -> Path:
    """``fetch`` of any ``Source``; ``pauses``: seconds before each new attempt."""
    place, archive = data_root / source.folders[0], data_root / source.filename
    fetched = archive.with_name(archive.name + ".fetched")
    for folder in source.folders:
        if (data_root / folder).is_dir() and any((data_root / folder).iterdir()):
            say(f"{data_root / folder}: already there, nothing to fetch")
            with suppress(OSError):  # of a process that was killed just behind the unpacking
                fetched.unlink(missing_ok=True)
            return data_root / folder
    by_hand = f"Or download {url or source.url} by hand, put it at {archive} and run this again"
    try:
        data_root.mkdir(parents=True, exist_ok=True)
        with alone(data_root):
            present = next((path for path in (archive, fetched) if path.is_file()), None)
            if present:
                say(f"{present}: found, not downloaded again")
            else:
                say(notice(source, url))
                if confirm is not None and not confirm(f"Download {gigabytes(source.size)} to {data_root}?"):
                    raise InputError(f"{source.name}: not confirmed, nothing fetched; answer yes, or pass --yes")
            check_space(source, data_root)
            if not present:
                download(url or source.url, archive, fetched, remedy=by_hand, say=say, pauses=pauses)
            take(source, present or fetched, place, by_hand, say)
            if not source.unpacked and present != archive:
                fetched.replace(archive)
            fetched.unlink(missing_ok=True)  # not an archive put there by hand, which stays its owner's
    except OSError as error:
        raise InputError(
            f"{error.filename or data_root}: {error.strerror or error}. See to space and rights there, then run "
            "this again: what has come is kept"
        ) from None
    say(f"{place}: {source.name} is there, checked")
    return place


def take(source: Source, archive: Path, place: Path, by_hand: str, say: Callable[[str], None]) -> None:
    """Check and unpack a complete download; set it aside and raise ``InputError`` where it is not as published."""
    try:
        if source.md5:
            say(f"{archive}: checking the MD5")
            check_md5(archive, source.md5)
        if source.unpacked:
            say(f"{archive}: unpacking to {place}")
            unpack(archive, place, limit=2 * source.unpacked, check=lambda folder: check_files(folder, source))
    except BadArchive as error:
        aside = archive.with_name(source.filename + ".bad")
        archive.replace(aside)
        raise InputError(f"{error}; set aside as {aside.name}. Run this again for a fresh one. {by_hand}") from None


@contextmanager
def alone(data_root: Path) -> Iterator[None]:
    """Keep a second fetch out of ``data_root``; a killed process leaves nothing behind that would."""

    def refuse(holder: str) -> None:
        raise InputError(f"{data_root}: {holder} is fetching into it; wait until it is done")

    with locks.held(data_root / ".fetch.lock", refuse):
        yield


def check_space(source: Source, data_root: Path) -> None:
    """Raise ``InputError`` unless what is still to come and to unpack fits on the disk."""
    archive = data_root / source.filename
    part = archive.with_name(archive.name + ".part")
    have = part.stat().st_size if part.is_file() else 0
    there = archive.is_file() or archive.with_name(archive.name + ".fetched").is_file()
    missing = 0 if there else max(0, source.size - have)
    free = shutil.disk_usage(data_root).free
    if free < missing + source.unpacked:
        raise InputError(
            f"{data_root}: {gigabytes(free)} free, {source.name} needs {gigabytes(missing + source.unpacked)} more; "
            "make room, or choose a data folder on another disk"
        )


def check_md5(path: Path, expected: str) -> None:
    """Raise ``BadArchive`` unless the file's MD5 is ``expected``."""
    digest = pooch.file_hash(str(path), alg="md5")
    if digest != expected:
        raise BadArchive(f"{path}: MD5 {digest}, expected {expected}")


def check_files(folder: Path, source: Source) -> None:
    """Raise ``BadArchive`` unless the unpacked ``folder`` has the files and the number of clips of ``what``."""
    for name, expected in source.files:
        path = folder / name
        digest = hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "of no such file"
        if digest != expected:
            raise BadArchive(f"{source.filename}: {name} in it has MD5 {digest}, expected {expected}")
    clips = len(list(folder.glob("audio/*.wav")))
    if source.clips and clips != source.clips:
        raise BadArchive(f"{source.filename}: {many(clips, 'clip')} in it, expected {source.clips}")
