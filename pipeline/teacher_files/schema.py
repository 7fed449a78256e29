"""What a teacher file says, as a frozen dataclass; how its arrays are named."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.config import InputError, view_index
from pipeline.files import Stamp, sha256, stamp

#: By which the file of a teacher is told from the folder of a run, and from the name of a step.
NPZ, HDF5 = (".npz",), (".h5", ".hdf5")
SUFFIXES = (*NPZ, *HDF5)

#: In the cache of a corpus: what ONNX teachers say of it.
FOLDER = "teachers"

#: Outputs beside stage maps, which are ``maps/map1`` in a file and ``map1`` to whoever reads one.
VECTORS = ("logits", "embedding", "hidden")
MAP = re.compile(r"maps/(?:map)?([1-9]\d{0,3})")

#: What an array may be called besides.
OTHERS = ("clip", "view", "classes", "trained_on", "fold", "clip_fold", "data", "channels_last")

#: The attribute of an HDF5 file that has ``arrays_digest``; an npz has a CRC-32 of each array by itself.
CHECKSUM = "sha256"

#: In ``trained_on`` of several teachers: no fold.
FILLER = -1


def is_teacher_file(path: Path | str) -> bool:
    """Whether a teacher so named is a file, and not a run's folder or a step."""
    return Path(path).suffix.lower() in SUFFIXES


@dataclass(frozen=True, eq=False)
class TeacherFile:
    """One file: what one teacher says of clips, or several, each for another held-out fold."""

    path: Path
    clips: tuple[str, ...]
    """Of each row."""
    views: tuple[int, ...]
    """Of each row: its place among ``config.view_names``."""
    outputs: Mapping[str, np.ndarray]
    """Name → (teacher, row, ...) floating point, as the file has it."""
    classes: tuple[str, ...] = ()
    """What the columns of logits are; () where the file does not say."""
    trained_on: tuple[frozenset[int], ...] | None = None
    """Of each teacher the folds that it saw; None where the file does not say."""
    folds: tuple[int, ...] = ()
    """Of each teacher the held-out fold that it is for; () where the file does not say."""
    clip_folds: tuple[int, ...] = ()
    """Of each row the fold as the teacher had it."""
    data: Mapping[int, str] = field(default_factory=dict)
    """Fold → digest of its features when the teacher was trained."""
    channels_last: tuple[str, ...] = ()
    """Maps that lay so in memory when they were written."""
    unchecked: bool = False
    """Whether nothing in it could tell that its arrays are what was written."""

    @property
    def teachers(self) -> int:
        return len(next(iter(self.outputs.values())))

    @property
    def clean_alone(self) -> bool:
        """Whether it has the clean view only, whose outputs then teach the others too."""
        return not any(self.views)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each output, for one clip and view."""
        return {name: values.shape[2:] for name, values in self.outputs.items()}

    @functools.cached_property
    def places(self) -> dict[tuple[str, int], int]:
        """(clip, view) → its row."""
        return {key: row for row, key in enumerate(zip(self.clips, self.views))}

    def rows_of(self, clips: tuple[str, ...], views: int) -> np.ndarray:
        """(clips × views,) int64: the row of each clip and view, the clip's views behind each other; −1: the file has none."""
        wanted = [0] * views if self.clean_alone else range(views)
        return np.array([self.places.get((clip, view), -1) for clip in clips for view in wanted], dtype=np.int64)


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of arrays under their names, of whichever byte order, text as text: npz and HDF5 store these differently."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        values = np.asarray(arrays[name])
        text = values.dtype.kind not in "biuf"
        kind = "text" if text else values.dtype.newbyteorder("<").str
        state.update(json.dumps([name, kind, values.shape]).encode())
        if text:
            state.update(json.dumps([str(value) for value in values.reshape(-1).tolist()]).encode())
        else:
            state.update(np.ascontiguousarray(values, dtype=kind).tobytes())
    return state.hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; "" where it cannot be read. Kept as long as the file stays as it is."""
    return _content_digest(path, stamp(path))


@functools.lru_cache(maxsize=256)
def _content_digest(path: Path, _state: Stamp) -> str:
    return sha256(path)


def digest_of(path: Path) -> str:
    """``content_digest``; ``InputError`` where the file cannot be read."""
    digest = content_digest(path)
    if not digest:
        reason = "cannot be read (permission, or the disk)" if path.is_file() else "no such teacher file"
        raise InputError(f"{path}: {reason}; expected an npz or HDF5 file with clip, logits or embedding, trained_on")
    return digest


def views_of(names: list[str], path: Path) -> tuple[int, ...]:
    """Names of views, or their numbers, as places among ``config.view_names``."""
    places = []
    for name in names:
        place = view_index(name)
        if place is None:
            raise InputError(
                f"{path}: view {name!r}; expected clean and noisy, and changed1, changed2 … (or 0, 1, 2 …)"
            )
        places.append(place)
    return tuple(places)
