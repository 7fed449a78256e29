"""Reading folds' files."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from pipeline import locks
from pipeline.cache import checking
from pipeline.cache.header import header_of, unknown_setting
from pipeline.cache.schema import (
    FILE_NAMES,
    SCHEMA,
    Header,
    content_digest,
    file_name,
)
from pipeline.config import InputError
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
    elif content_digest(blocks(path, header), header.labels, header.clips, header.label_sets) != header.digest:
        damaged = (checking.EVERY,)
    return checking.noted(path, now, header, damaged)


def require_own_name(path: Path, header: Header) -> None:
    """``InputError`` where a file that is named as a fold's holds another fold: two were exchanged, or one copied over."""
    name, expected = re.fullmatch(FILE_NAMES, path.name), file_name(header.fold)
    if name and path.name != expected:
        named = part_name(int(name[1]) if name[1] else UNLABELLED)
        raise InputError(
            f"{path} holds {part_name(header.fold)}, not {named}: files were exchanged or renamed; expected {expected} as its name: "
            "rename it back, or remove it and compute it again: make features"
        )
