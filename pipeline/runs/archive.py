"""Runs as one file, and back: a zip with their folders as they lie, and ``archive.json``, which names every file with its SHA-256.

The same runs give the same bytes. An archive is anybody's: nothing of it is believed, or written, before its table of contents
was looked at as a whole. Names that would lie elsewhere, links, sizes that are not the ones stated, and files that are not named
are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pipeline import files
from pipeline.config import InputError
from pipeline.runs import ancestry, calibration, experiments, refusal
from pipeline.runs import folder as run_files
from pipeline.runs.reading import read
from pipeline.runs.record import Record
from pipeline.runs.weights import damaged_files

CONTENTS, SCHEMA = "archive.json", 1

#: First part of every name in it, wherever the runs lay.
ROOT = "runs"

#: Of a run, what is kept of it; weights apart.
KEPT = (*(name for name in run_files.FILES if name != "model.pt"), calibration.NAME, refusal.NAME)

#: Of each file, by its last name: what may lie in an archive.
NAMES = frozenset({*KEPT, "model.pt", experiments.NOTE, experiments.WEIGHTS})

#: All files together may be so many times as large as the archive: texts of figures shrink to a twentieth.
RATIO, SLACK = 100, 1 << 20

#: Longest table of contents, in bytes.
LONGEST = 256 << 20

#: Read at a time.
BLOCK = 1 << 20

#: Dates in a zip begin here; those of the files are left out, so that the same runs give the same bytes.
DATE = (1980, 1, 1, 0, 0, 0)


def chosen(places: Sequence[Path], root: Path) -> list[Record]:
    """The finished runs in ``places`` (runs, or folders of them) below ``root``, and all that they go back to, by path.

    ``InputError`` for a place that is not there, lies elsewhere or has no finished run, and for a run that is damaged.
    """
    there: dict[Path, Record] = {}
    for place in places:
        if not place.resolve().is_relative_to(root.resolve()):
            raise InputError(f"{place} is not in {root}; expected runs as 'audio-rkd runs' lists them")
        below = root / place.resolve().relative_to(root.resolve())
        folders = [path for path, names in run_files.run_folders(below, None) if "result.json" in names]
        if not folders:
            reason = "no finished run in it" if below.exists() else "no such folder"
            raise InputError(f"{place}: {reason}; expected runs as 'audio-rkd runs' lists them")
        there |= {folder: read(folder) for folder in folders}
    waiting = list(there.values())
    while waiting:
        record = waiting.pop()
        for parent in ancestry.before(record):
            if parent not in there and run_files.finished(parent) and parent.is_relative_to(root):
                there[parent] = read(parent)
                waiting.append(there[parent])
    for folder in there:
        if reason := damaged_files(folder):
            raise InputError(f"{folder}: {reason}; nothing was written: audio-rkd check {folder} says more")
    return sorted(there.values(), key=lambda record: run_files.natural(record.folder))


def write(path: Path, records: Sequence[Record], root: Path, *, weights: bool = True) -> None:
    """The runs as an archive, in full or not at all. ``weights``: without them no run can predict, and tables are the same.

    ``InputError`` as of ``require_target``.
    """
    require_target(path)
    sources = {
        str(PurePosixPath(ROOT, *file.relative_to(root).parts)): file for file in files_of(records, root, weights)
    }
    about = {
        "schema": SCHEMA,
        "runs": [str(PurePosixPath(ROOT, *record.folder.relative_to(root).parts)) for record in records],
        "weights": weights,
        "files": {name: {"sha256": files.sha256(file), "bytes": file.stat().st_size} for name, file in sources.items()},
    }

    def fill(stream: IO[bytes]) -> None:
        with zipfile.ZipFile(stream, "w") as packed:
            packed.writestr(entry(CONTENTS, True), files.json_bytes(files.signed(about)))
            for name, file in sources.items():
                packs = file.suffix not in (".pt", ".npz")  # which hold compressed, or nearly random, numbers
                with packed.open(entry(name, packs), "w", force_zip64=True) as target, file.open("rb") as source:
                    shutil.copyfileobj(source, target, BLOCK)

    files.write_atomic(path, fill)


def require_target(path: Path) -> None:
    """``InputError`` where ``path`` is something else than an archive, which would be lost."""
    if path.is_dir() or (path.exists() and not is_archive(path)):
        raise InputError(f"{path} is there and is no archive of runs; expected another name, or none of it there")


def entry(name: str, packs: bool) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, DATE)
    info.compress_type = zipfile.ZIP_DEFLATED if packs else zipfile.ZIP_STORED
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def files_of(records: Iterable[Record], root: Path, weights: bool) -> list[Path]:
    """The files of the runs, and of the experiments that name rows of them, in order."""
    each: list[Path] = []
    homes: set[Path] = set()
    for record in records:
        each += [record.folder / name for name in KEPT]
        if weights:
            each += sorted(record.folder.rglob("*.pt"))
        homes.add(root / record.corpus)
    for home in sorted(homes):
        each += [
            path
            for name in (experiments.NOTE, experiments.WEIGHTS)
            for path in sorted(home.glob(f"experiment-*/{name}"))
        ]
    return [path for path in dict.fromkeys(each) if path.is_file() and not path.is_symlink()]


def is_archive(path: Path) -> bool:
    """Whether a file is an archive of runs, by its table of contents alone."""
    try:
        with zipfile.ZipFile(path) as packed:
            return CONTENTS in packed.namelist()
    except (OSError, zipfile.BadZipFile, ValueError):
        return False


def unpack(path: Path, target: Path) -> tuple[str, ...]:
    """Write the runs of an archive below ``target``, an empty folder: ``runs/CORPUS/…``; the corpora that it has runs of.

    ``InputError``, one line, for a file that is no archive, is damaged, or would write anything else than it says.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected an archive of runs: audio-rkd archive RUNS… -o FILE")
    try:
        with zipfile.ZipFile(path) as packed:
            stated = contents(packed, path.stat().st_size)
            for name, size, sha256 in stated:
                extract(packed, name, size, sha256, target / name)
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        RuntimeError,
        NotImplementedError,
        RecursionError,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: no whole archive of runs ({reason[:200]}); nothing of it is used: copy it again, or make it again: audio-rkd archive"
        ) from None
    return tuple(sorted({name.split("/")[1] for name, _, _ in stated}))


def contents(packed: zipfile.ZipFile, size: int) -> list[tuple[str, int, str]]:
    """(name, bytes, SHA-256) of every file; ``ValueError`` where the table of the zip and ``archive.json`` are not of one archive."""
    entries = packed.infolist()
    for info in entries:
        require_plain(info)
    if len({info.filename.casefold() for info in entries}) < len(entries):
        raise ValueError("a name is there twice")
    if sum(info.compress_size for info in entries) > size:
        raise ValueError("its files overlap")
    if (whole := sum(info.file_size for info in entries)) > RATIO * size + SLACK:
        raise ValueError(f"{size:,} bytes that would become {whole:,}")
    by_name = {info.filename: info for info in entries}
    if CONTENTS not in by_name or by_name[CONTENTS].file_size > LONGEST:
        raise ValueError(f"no {CONTENTS}")
    about: Any = json.loads(packed.read(by_name.pop(CONTENTS)))
    if not isinstance(about, dict) or about.get("schema") != SCHEMA or "content" not in about:
        raise ValueError(f"{CONTENTS} is of another kind, or another version")
    files.as_signed(about)
    stated = about["files"] if isinstance(about.get("files"), dict) else {}
    if stated.keys() != by_name.keys():
        different = sorted(stated.keys() ^ by_name.keys())
        raise ValueError(f"{different[0]} is there and not named, or named and not there")
    each = []
    for name, info in by_name.items():
        said = stated[name]
        if not isinstance(said, dict) or said.get("bytes") != info.file_size or not isinstance(said.get("sha256"), str):
            raise ValueError(f"{name} has {info.file_size:,} bytes, and {CONTENTS} says something else")
        each.append((name, info.file_size, said["sha256"]))
    if not each:
        raise ValueError("no run in it")
    return each


def require_plain(info: zipfile.ZipInfo) -> None:
    """``ValueError`` for anything but a regular file of a run below ``runs/CORPUS``."""
    name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or info.is_dir() or info.external_attr & 0x10:
        raise ValueError(f"{name!r} is a link or no file")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name!r} is encrypted, or packed in another way")
    if name == CONTENTS:
        return
    parts = name.split("/")
    plain = all(
        part and part == part.strip() and part[0] != "." and not re.search(r'[\x00-\x1f\\:*?"<>|]', part)
        for part in parts
    )
    if not plain or len(parts) < 4 or parts[0] != ROOT or not (parts[-1] in NAMES or parts[-1].endswith(".pt")):
        raise ValueError(f"{name!r} is no file of a run")


def extract(packed: zipfile.ZipFile, name: str, size: int, sha256: str, target: Path) -> None:
    """One file, as long as it says and no longer; ``ValueError`` where it is another than was put there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), size
    with packed.open(name) as source, target.open("xb") as file:
        while block := source.read(min(BLOCK, left + 1)):
            if (left := left - len(block)) < 0:
                break
            digest.update(block)
            file.write(block)
    if left or digest.hexdigest() != sha256:
        raise ValueError(f"{name} is not what was put there")
