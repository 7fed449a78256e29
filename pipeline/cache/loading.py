"""Folds with their features: in memory, or read from their files as they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.cache import checking, reading
from pipeline.cache.on_disk import OnDisk
from pipeline.cache.reading import opened, require_own_name, require_same_file
from pipeline.cache.schema import Data, Fold, Header
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus.clips import part_name
from pipeline.processes.memory import free_memory

#: The part of the free memory that features may take; more of them stay in their files.
SHARE = 0.5

T = TypeVar("T")


def read_fold(path: Path, features_in: str = "auto") -> Fold:
    """A fold's whole file. ``InputError`` as for ``read_header``, and where features are not what was written. ``features_in``: as
    ``load`` has it."""
    header = reading.read_header(path)
    return Fold(header, features_of([path], [header], features_in, keep=False))


def load(paths: Iterable[Path], features_in: str = "auto") -> Data:
    """The folds in ``paths``, one after another in the given order, clips by name inside a fold.

    ``features_in``: "memory"; "files", where they stay and are read as they are asked for (``OnDisk``); or "auto", in memory where they
    take at most ``SHARE`` of what is free.
    ``InputError`` for no path at all, a missing or damaged file, a fold given twice, files that do not belong together
    (corpus, classes or settings differ), a file whose name says another fold, or features that are not what was written.
    """
    paths = [Path(path) for path in paths]
    if not paths:
        raise InputError("no feature files given; expected one per fold: make features (audio-rkd features)")
    headers, hashes = read_headers(paths)
    first = headers[0]
    for path, header in zip(paths, headers, strict=True):
        for name in ("corpus", "dataset", "synthetic", "classes", "label_sets", "spec"):
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
    return of_headers(headers, hashes, features_of(paths, headers, features_in))


def described(paths: Iterable[Path]) -> Data:
    """``load`` without the features: all else of the clips, and how many views they have; features (clip, view, 0)."""
    headers, hashes = read_headers(map(Path, paths))
    features = np.empty((sum(len(h.clips) for h in headers), headers[0].shape[1], 0), np.float32)
    return of_headers(headers, hashes, features)


def read_headers(paths: Iterable[Path]) -> tuple[list[Header], tuple[str, ...]]:
    """The headers of files without what they say of the clips' own files (more than half of their memory), and the SHA-256 of those."""
    headers: list[Header] = []
    hashes: list[str] = []
    for header in map(reading.read_header, paths):
        hashes += (file.sha256 for file in header.files)
        headers.append(dataclasses.replace(header, files=()))
    return headers, tuple(hashes)


def of_headers(headers: Sequence[Header], hashes: tuple[str, ...], features: np.ndarray | OnDisk) -> Data:
    """What the headers of files say of their clips, one after another, beside these features, and the SHA-256 of the clips' files."""
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
        hashes=hashes,
        label_sets=first.label_sets,
    )


def features_of(
    paths: Sequence[Path], headers: Sequence[Header], features_in: str, keep: bool = True
) -> np.ndarray | OnDisk:
    """The features of files, one after another, whose headers were read. ``keep``: a note of their check beside them."""
    counts = [len(header.clips) for header in headers]
    shape = (sum(counts), *headers[0].shape[1:])
    if features_in == "files" or (features_in == "auto" and 4 * np.prod(shape, dtype=float) > SHARE * free_memory()):
        return OnDisk(paths, headers)
    features = np.empty(shape, dtype=np.float32)
    start = 0
    for path, header, count in zip(paths, headers, counts, strict=True):
        with opened(path) as file:
            require_same_file(path, file, header)
            if count:
                file["features"].read_direct(features[start : start + count])
        checking.require(path, header, features[start : start + count], keep=keep)
        start += count
    return features


def difference(theirs: Any, ours: Any) -> str:
    """What differs between two values, said shortly: of settings the ones that differ."""
    if isinstance(theirs, FeatureSpec):
        other = dataclasses.asdict(ours)
        pairs = [(k, v, other[k]) for k, v in dataclasses.asdict(theirs).items() if v != other[k]]
        return ", ".join(f"{k} = {v!r}, but {k} = {o!r}" for k, v, o in pairs)
    return f"= {theirs!r}, but {ours!r}"


def joined(parts: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    return tuple(value for part in parts for value in part)
