"""Reading folds' files."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from pipeline import locks
from pipeline.cache import checking
from pipeline.cache.header import header_of, unknown_setting
from pipeline.cache.schema import (
    FILE_NAMES,
    SCHEMA,
    Data,
    Fold,
    Header,
    content_digest,
    file_name,
)
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus.clips import UNLABELLED, part_name

#: What is to be done about a file of a format, or with a setting, that is not known here.
NEWER = "a newer audio-rkd made it, or it is damaged: update audio-rkd"

ATTRIBUTES = (
    "schema",
    "corpus",
    "dataset",
    "synthetic",
    "fold",
    "classes",
    "spec",
    "versions",
    "plain",
    "digest",
)
DATASETS = ("features", "label", "clip", "source", "file", "skipped")

T = TypeVar("T")

#: What the system says of content that makes no sense: a place before the file's beginning, a length beyond all memory.
SENSELESS = (None, errno.EINVAL, errno.ENOMEM)


class Unavailable(InputError):
    """A fold's file that the system does not give at the moment. It may well be whole: it is neither deleted nor replaced."""


class InUse(Unavailable):
    """A fold's file that another program has open for writing."""


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, for reading; one clear line where it is missing, damaged or of another kind.

    What fails while it is open counts as damage too: a flipped bit may raise anything in h5py, numpy or json. What the
    system refuses does not: that is ``Unavailable``.
    """
    if not path.is_file():
        raise InputError(f"no features in {path}; compute them first: make features (audio-rkd features)")
    remedy = "delete it and compute it again: make features (audio-rkd features)"
    try:
        file = opened_unchecked(path)
    except Unavailable:
        raise
    except Exception as error:
        raise InputError(f"{path}: damaged or not an HDF5 file ({one_line(error)}); {remedy}") from None
    with file:
        try:
            missing = [f"attribute {a}" for a in ATTRIBUTES if a not in file.attrs]
            missing += [name for name in DATASETS if name not in file]
            if missing:
                raise InputError(f"{path}: not the features of a fold (it has no {missing[0]}); {remedy}")
            if file.attrs["schema"] != SCHEMA:
                raise InputError(f"{path}: schema {file.attrs['schema']}, expected {SCHEMA}; {NEWER}, or {remedy}")
            if unknown := unknown_setting(file):
                raise InputError(f"{path}: this version knows no setting {unknown}; {NEWER}, or {remedy}")
            yield file
        except (InputError, BrokenPipeError):
            raise
        except MemoryError as error:
            raise InputError(f"{path}: more than this machine's memory holds, or damaged ({one_line(error)})") from None
        except Exception as error:
            if isinstance(error, OSError) and error.errno not in SENSELESS:
                raise refused(path, error) from None
            raise InputError(f"{path}: damaged ({one_line(error)}); {remedy}") from None


def opened_unchecked(path: Path) -> h5py.File:
    """The file for reading, without a lock where there are none. ``Unavailable`` where the system refuses it."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno in locks.UNSUPPORTED:
            locks.tell_unsupported(path.parent, error)
            return h5py.File(path, "r", locking=False)
        if error.errno in SENSELESS:
            raise
        raise refused(path, error) from None


def refused(path: Path, error: OSError) -> Unavailable:
    """What the system said, in a line."""
    if error.errno in locks.TAKEN:
        return in_use(path)
    if error.errno == errno.EACCES:
        return Unavailable(f"{path}: no permission to read it; it is left as it is: chmod u+r {path}")
    return Unavailable(
        f"{path}: cannot be read at the moment ({os.strerror(error.errno or 0)}); it is left as it is: see "
        "to the disk, then the same command again"
    )


def in_use(path: Path) -> InUse:
    return InUse(
        f"{path}: in use by another program, which has it open for writing (a notebook, a viewer); it is left as "
        "it is: close it there, then the same command again"
    )


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def read_header(path: Path) -> Header:
    """What a fold's file says, without its features. ``InputError`` where it is missing, damaged or foreign."""
    with opened(path) as file:
        return header_of(file)


def read_digests(paths: Mapping[int, Path]) -> dict[int, str]:
    """Fold → digest of its content, by folds' files. ``InputError`` also where one holds another fold than its name says."""
    digests = {}
    for fold, path in paths.items():
        header = read_header(path)
        require_own_name(path, header)
        digests[fold] = header.digest
    return digests


def read_fold(path: Path) -> Fold:
    """A fold's whole file. ``InputError`` as for ``read_header``, and where features are not what was written."""
    with opened(path) as file:
        fold = Fold(header_of(file), file["features"][()])
    checking.require(path, fold.header, fold.features)
    return fold


def feature_blocks(path: Path, clips: int = 64) -> Iterator[np.ndarray]:
    """The features of a fold's file, ``clips`` clips at a time. ``InputError`` at the first that are not what was written."""
    header, start = read_header(path), 0
    for block in blocks(path, header, clips):
        checking.require(path, header, block, start)
        start += len(block)
        yield block


def blocks(path: Path, header: Header, clips: int = 64) -> Iterator[np.ndarray]:
    """``feature_blocks`` as they are, of the file that ``header`` is of."""
    with opened(path) as file:
        require_same_file(path, file, header)
        features = file["features"]
        for start in range(0, len(features), clips):
            yield features[start : start + clips]


def require_same_file(path: Path, file: h5py.File, header: Header) -> None:
    """``InputError`` where the file was replaced since its header was read: its features would be taken for damaged ones."""
    if str(file.attrs["digest"]) != header.digest:
        raise InputError(f"{path}: another command wrote it anew while it was read; the same command again reads it")


def check(path: Path, *, again: bool = False) -> checking.Check:
    """Whether all features of a file are what was written: reads all of them, where it was touched since the last check.

    ``again``: also where another process checked it, as the note beside it says. ``InputError`` as for ``read_header``.
    """
    header, now = read_header(path), checking.state(path)
    require_own_name(path, header)
    if last := checking.checked.get(now) or (None if again else checking.last(path)):
        return last
    damaged: tuple[str, ...] = ()
    if header.clip_digests:
        start = 0
        for block in blocks(path, header):
            damaged += checking.damaged_clips(header, block, start)
            start += len(block)
    elif content_digest(blocks(path, header), header.labels, header.clips) != header.digest:
        damaged = (checking.EVERY,)
    return checking.noted(path, now, header, damaged)


def load(paths: Iterable[Path]) -> Data:
    """The folds in ``paths``, one after another in the given order, clips by name inside a fold.

    ``InputError`` for no path at all, a missing or damaged file, a fold given twice, files that do not belong together
    (corpus, classes or settings differ), a file whose name says another fold, or features that are not what was written.
    """
    paths = [Path(path) for path in paths]
    if not paths:
        raise InputError("no feature files given; expected one per fold: make features (audio-rkd features)")
    headers = [read_header(path) for path in paths]
    first = headers[0]
    for path, header in zip(paths, headers, strict=True):
        for name in ("corpus", "dataset", "synthetic", "classes", "spec"):
            theirs, ours = getattr(header, name), getattr(first, name)
            if theirs != ours:
                raise InputError(
                    f"{path}: {name} {difference(theirs, ours)} in {paths[0]}; "
                    "folds of one corpus and one set of settings go together"
                )
    for path, header in zip(paths, headers, strict=True):
        require_own_name(path, header)
    folds = [header.fold for header in headers]
    for fold in folds:
        if folds.count(fold) > 1:
            raise InputError(f"{part_name(fold)} is given twice: {', '.join(map(str, paths))}")
    counts = [len(header.clips) for header in headers]
    features = np.empty((sum(counts), *first.shape[1:]), dtype=np.float32)
    start = 0
    for path, header, count in zip(paths, headers, counts, strict=True):
        with opened(path) as file:
            require_same_file(path, file, header)
            if count:
                file["features"].read_direct(features[start : start + count])
        checking.require(path, header, features[start : start + count], keep=True)
        start += count
    return of_headers(headers, features)


def described(paths: Iterable[Path]) -> Data:
    """``load`` without the features: all else of the clips, and how many views they have; features (clip, view, 0)."""
    headers = [read_header(Path(path)) for path in paths]
    return of_headers(headers, np.empty((sum(len(h.clips) for h in headers), headers[0].shape[1], 0), np.float32))


def of_headers(headers: Sequence[Header], features: np.ndarray) -> Data:
    """What the headers of files say of their clips, one after another, beside these features."""
    first, folds = headers[0], [header.fold for header in headers]
    return Data(
        features=features,
        labels=np.array(joined(h.labels for h in headers), dtype=np.int64),
        folds=np.repeat(np.array(folds, dtype=np.int64), [len(header.clips) for header in headers]),
        clips=joined(h.clips for h in headers),
        sources=joined(h.sources for h in headers),
        classes=first.classes,
        corpus=first.corpus,
        synthetic=first.synthetic,
        spec=first.spec,
        skipped={h.fold: len(h.skipped) for h in headers},
        digests={h.fold: h.digest for h in headers},
        hashes=joined(tuple(file.sha256 for file in h.files) for h in headers),
    )


def require_own_name(path: Path, header: Header) -> None:
    """``InputError`` where a file that is named as a fold's holds another fold: two were exchanged, or one copied over."""
    name, expected = re.fullmatch(FILE_NAMES, path.name), file_name(header.fold)
    if name and path.name != expected:
        named = part_name(int(name[1]) if name[1] else UNLABELLED)
        raise InputError(
            f"{path} holds {part_name(header.fold)}, not {named}: files were exchanged or renamed; expected {expected} as its name: "
            "rename it back, or remove it and compute it again: make features"
        )


def difference(theirs: Any, ours: Any) -> str:
    """What differs between two values, said shortly: of settings the ones that differ."""
    if isinstance(theirs, FeatureSpec):
        other = dataclasses.asdict(ours)
        pairs = [(k, v, other[k]) for k, v in dataclasses.asdict(theirs).items() if v != other[k]]
        return ", ".join(f"{k} = {v!r}, but {k} = {o!r}" for k, v, o in pairs)
    return f"= {theirs!r}, but {ours!r}"


def joined(parts: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    return tuple(value for part in parts for value in part)
