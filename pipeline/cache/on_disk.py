"""Features that stay in their files, and are read from there as they are asked for.

Stored contiguously, a clip's numbers lie at a known place in the file, one behind the other: reading them is one call, into the
array that is wanted, from the system's own memory of files where they were read before. That costs what a copy from a mapping
costs; but where a file is cut short or a disk fails, reading is an error that can be told in a line, and a mapping ends the process.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cache import checking, reading
from pipeline.cache.schema import Header, clip_digest
from pipeline.config import InputError

#: Clips that are read at once where many are asked for.
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Part:
    """One file of several: its clips are those from ``first`` on."""

    path: Path
    header: Header
    first: int
    descriptor: int
    place: int
    """Of the first clip's first number, in bytes from the file's beginning."""
    state: tuple[int, int]
    """When it was written, and its size."""
    sound: np.ndarray
    """(clips,) bool: whose features were compared with their SHA-256."""


class OnDisk:
    """The features of folds' files, one after another: (clip, view, feature, bin, frame) float32, indexed by clips as an array is.

    A clip's features are compared with their SHA-256 when it is first read: ``InputError`` names the damaged clips of its file.
    A file that is replaced is read on as it was; one that is written to is an ``InputError``.
    """

    def __init__(self, paths: Sequence[Path], headers: Sequence[Header]) -> None:
        self.parts: list[Part] = []
        count = 0
        for path, header in zip(paths, headers, strict=True):
            part = part_of(path, header, count)
            weakref.finalize(self, os.close, part.descriptor)
            self.parts.append(part)
            count += len(header.clips)
        self.shape: tuple[int, ...] = (count, *headers[0].shape[1:])
        self.firsts = np.array([part.first for part in self.parts])
        self.row_bytes = 4 * int(np.prod(self.shape[2:]))
        self.lock = threading.Lock()
        self.unseen = sum(int(np.count_nonzero(~part.sound)) for part in self.parts)
        """Clips that were not compared with their SHA-256 yet."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """As of an array, the first index being of clips (a number, a slice, numbers or a mask), and a second one of a view or views."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        clips = np.arange(len(self))[first]
        if not clips.ndim:
            return np.asarray(self[(clips[None], *rest)][0])
        one_view = bool(rest) and isinstance(rest[0], (int, np.integer))
        views = np.arange(self.shape[1])[rest[0]][None] if one_view else np.arange(self.shape[1])
        behind = (slice(None), *rest[one_view:])
        wanted: np.ndarray | None = None
        for start in range(0, max(1, len(clips)), CHUNK):
            some = clips[start : start + CHUNK]
            values = self.rows((some[:, None] * self.shape[1] + views).reshape(-1))
            block = (values if one_view else values.reshape(len(some), len(views), *self.shape[2:]))[behind]
            if wanted is None:
                wanted = np.empty((len(clips), *block.shape[1:]), block.dtype)
            wanted[start : start + len(some)] = block
        assert wanted is not None
        return wanted

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """(n, feature, bin, frame) of rows (n,), row = clip × views + view."""
        rows = self.numbers(rows)
        self.check(rows // self.shape[1])
        values = np.empty((len(rows), *self.shape[2:]), np.float32)
        content, parts = bytes_of(values), {}
        for part, start, stop, place in self.stretches(rows):
            read_into(part, content[start * self.row_bytes : stop * self.row_bytes], place)
            parts[part.first] = part
        for part in parts.values():
            require_unchanged(part)
        return values

    def ahead(self, rows: np.ndarray) -> None:
        """Ask the system for rows that will be read soon; it reads them meanwhile."""
        if not hasattr(os, "posix_fadvise"):
            return
        for part, start, stop, place in self.stretches(self.numbers(rows)):
            os.posix_fadvise(part.descriptor, place, (stop - start) * self.row_bytes, os.POSIX_FADV_WILLNEED)

    def check(self, clips: np.ndarray) -> None:
        """``InputError`` where some of the clips are not what was written; each is read and compared once."""
        if not self.unseen:
            return
        numbers = np.unique(clips)
        places = np.searchsorted(self.firsts, numbers, side="right") - 1
        for at in np.unique(places):
            part = self.parts[at]
            own = numbers[places == at] - part.first
            unseen = own[~part.sound[own]]
            for start in range(0, len(unseen), CHUNK):
                self.compare(part, unseen[start : start + CHUNK])

    def compare(self, part: Part, clips: np.ndarray) -> None:
        """``check`` of some clips of a file, by their places in it."""

        def is_sound(clip: int) -> bool:
            values = np.empty(self.shape[1:], np.float32)
            read_into(part, bytes_of(values), part.place + clip * self.shape[1] * self.row_bytes)
            return clip_digest(values) == part.header.clip_digests[clip]

        with ThreadPoolExecutor(min(checking.HASHERS, len(clips))) as pool:
            sound = list(pool.map(is_sound, clips.tolist()))
        require_unchanged(part)
        if not all(sound):
            named = tuple(part.header.clips[clip] for clip, right in zip(clips, sound) if not right)
            whole = reading.check(part.path).damaged  # all of them, in the words in which they are told elsewhere
            raise InputError(f"{part.path}: {checking.words(whole or named)}; {checking.remedy(part.path)}")
        with self.lock:  # threads may compare the same ones
            self.unseen -= int(np.count_nonzero(~part.sound[clips]))
            part.sound[clips] = True
        if part.sound.all() and written_at(part.path.stat()) == part.state:
            checking.noted(part.path, checking.state(part.path), part.header, ())

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.shape[0] * self.shape[1]:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.shape[0] * self.shape[1]}")
        return rows

    def stretches(self, rows: np.ndarray) -> Iterator[tuple[Part, int, int, int]]:
        """Rows that lie behind each other in a file: the file, places of the first and behind the last in ``rows``, and in the file."""
        if not len(rows):
            return
        places = self.firsts.searchsorted(rows // self.shape[1], side="right") - 1
        ends = np.flatnonzero((rows[1:] != rows[:-1] + 1) | (places[1:] != places[:-1])) + 1
        starts = np.append(0, ends)
        for start, stop, at, row in zip(
            starts.tolist(), [*ends.tolist(), len(rows)], places[starts].tolist(), rows[starts].tolist()
        ):
            part = self.parts[at]
            yield part, start, stop, part.place + (row - part.first * self.shape[1]) * self.row_bytes


def part_of(path: Path, header: Header, first: int) -> Part:
    """A fold's file, opened. ``InputError`` where its features do not lie one behind the other, or are known not to be as written."""
    with reading.opened(path) as file:
        reading.require_same_file(path, file, header)
        place = file["features"].id.get_offset() if header.clips else 0
        if place is None:
            raise InputError(
                f"{path}: {'compressed' if header.compressed else 'stored in chunks'}; features that stay in their files, for they exceed "
                "half of the free memory or features_in is 'files', are read where they lie there; expected uncompressed ones: remove it "
                "and compute it again without --compress: make features (audio-rkd features); or --set features_in=memory"
            )
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        now = checking.state(path)
        if os.fstat(descriptor).st_ino != now[-1]:
            raise InputError(
                f"{path}: another command wrote it anew while it was read; the same command again reads it"
            )
        known = checking.checked.get(now) if header.clip_digests else reading.check(path)
        if known and known.damaged:
            raise InputError(f"{path}: {checking.words(known.damaged)}; {checking.remedy(path)}")
        state = written_at(os.fstat(descriptor))
        return Part(path, header, first, descriptor, place, state, np.full(len(header.clips), known is not None))
    except BaseException:
        os.close(descriptor)
        raise


def written_at(about: os.stat_result) -> tuple[int, int]:
    return about.st_mtime_ns, about.st_size


def require_unchanged(part: Part) -> None:
    """``InputError`` where the file was written to since it was opened: what was compared may be other numbers now."""
    if written_at(os.fstat(part.descriptor)) != part.state:
        raise InputError(
            f"{part.path}: it was written to while it was read; expected it as it was: the same command again"
        )


def bytes_of(values: np.ndarray) -> memoryview:
    """What lies in an array."""
    return values.reshape(-1).view(np.uint8).data


def read_into(part: Part, left: memoryview, place: int) -> None:
    """Fill bytes from a place in the file."""
    while len(left):
        try:
            count = os.preadv(part.descriptor, [left], place)
        except OSError as error:
            raise reading.refused(part.path, error) from None
        if not count:
            raise InputError(
                f"{part.path}: it ends before its features do; remove it and compute it again: make features"
            )
        left, place = left[count:], place + count


def rows_of(features: np.ndarray | OnDisk, rows: np.ndarray) -> np.ndarray:
    """(n, feature, bin, frame) of rows, row = clip × views + view, of features in memory or on disk."""
    if isinstance(features, OnDisk):
        return features.rows(rows)
    return features.reshape(-1, *features.shape[2:])[rows]


def rows_of_clips(features: np.ndarray | OnDisk, clips: np.ndarray) -> np.ndarray:
    """The rows of all views of some clips, view by view within a clip."""
    views = features.shape[1]
    return (clips[:, None] * views + np.arange(views)).reshape(-1)
