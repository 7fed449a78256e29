"""What is trained on and tested where a fold is held out, as arrays: of a corpus' kept features, or of anybody's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline import cache
from pipeline.config import InputError
from pipeline.engine import tasks
from pipeline.label_sets import NOT_OF_API

#: The corpus that arrays of a user's own are of, where none is named.
OWN = "arrays"


@dataclass(frozen=True)
class OfArrays:
    """In place of settings of features: the arrays are a user's own, and no sound file can be made one."""

    names: tuple[str, ...] = ()
    arrays: str = "a user's own"


@dataclass(frozen=True, eq=False)
class Fold:
    """What is trained on and tested where a fold is held out.

    Row = clip × views + view: all views of a clip (clean, noisy, changed copies) behind each other.
    """

    number: int
    """The fold that is held out."""
    data: cache.Data
    """All folds as they are kept, with names and recordings of the clips."""
    dataset: str = ""

    def __post_init__(self) -> None:
        if self.data.label_sets:
            raise InputError(f"{self.data.corpus}: {NOT_OF_API}")

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of the labels."""
        return self.data.classes

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and test rows (n,) int64, of clips with a label."""
        return tasks.rows(self.data, self.number)

    @property
    def train(self) -> np.ndarray:
        """(rows, feature, bin, frame) float32: all views of every clip of the other folds; a copy."""
        return cache.rows_of(self.data.features, self.rows[0])

    @property
    def train_labels(self) -> np.ndarray:
        """(rows,) int64."""
        return self._labels[self.rows[0]]

    @property
    def train_clips(self) -> tuple[str, ...]:
        """The name of the clip of each row."""
        return tuple(self.data.clips[row // self.views] for row in self.rows[0].tolist())

    @property
    def test(self) -> np.ndarray:
        """(clips, feature, bin, frame) float32: the clean view of the held-out fold's clips; a copy."""
        return cache.rows_of(self.data.features, self.rows[1])

    @property
    def test_labels(self) -> np.ndarray:
        """(clips,) int64."""
        return self._labels[self.rows[1]]

    @property
    def test_clips(self) -> tuple[str, ...]:
        return tuple(self.data.clips[row // self.views] for row in self.rows[1].tolist())

    @property
    def views(self) -> int:
        return self.data.features.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """(feature, bin, frame) of an input."""
        return tuple(self.data.features.shape[2:])

    @property
    def _labels(self) -> np.ndarray:
        return self.data.labels.repeat(self.views)


def of_arrays(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    classes: Sequence[str] = (),
    number: int = 1,
    name: str = OWN,
) -> Fold:
    """Arrays of any program as a fold; see ``audio_rkd.fold_of``."""
    parts = [(train, train_labels, "train"), (test, test_labels, "test")]
    values, labels = zip(
        *(checked(array_of(array, part), array_of(own, f"{part}_labels"), part) for array, own, part in parts)
    )
    if values[0].shape[1:] != values[1].shape[1:]:
        raise InputError(f"train {values[0].shape} and test {values[1].shape}: expected inputs of one shape")
    largest = int(max(own.max() for own in labels))
    names = tuple(map(str, classes)) or tuple(map(str, range(largest + 1)))
    if largest >= len(names) or len(set(names)) < len(names):
        raise InputError(
            f"a label {largest} and the classes {', '.join(names)}; expected a name for each label, each once"
        )
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError(f"fold {number!r}: expected a whole number from 1 on")
    folds = np.repeat([number + 1, number], [len(own) for own in labels])
    every, of_all = np.concatenate(values)[:, np.newaxis], np.concatenate(labels)
    clips = tuple(f"{'test' if fold == number else 'train'}{place:08}" for place, fold in enumerate(folds.tolist()))
    data = cache.Data(
        every,
        of_all,
        folds,
        clips,
        clips,
        names,
        name,
        False,
        OfArrays(),  # type: ignore[arg-type]
        {},
        {fold: digest(every[folds == fold], of_all[folds == fold]) for fold in (number, number + 1)},
    )
    return Fold(number, data, OWN)


def array_of(values: Any, name: str) -> np.ndarray:
    """What a caller gives as an array; ``InputError`` for rows of different lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: no array ({error}); expected rows of one shape") from None


def checked(values: np.ndarray, labels: np.ndarray, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, C, H, W) float32 and labels (n,) int64; ``InputError`` for anything else."""
    if values.ndim != 4 or 0 in values.shape or values.dtype.kind not in "fiu":
        raise InputError(
            f"{part}: an array {values.shape} of {values.dtype}; expected numbers (rows, channels, bins, frames)"
        )
    if labels.shape != values.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(
            f"{part}_labels: {labels.shape} of {labels.dtype} for {len(values)} rows; expected (rows,) whole numbers from 0 on"
        )
    if not np.isfinite(values := values.astype(np.float32)).all():
        raise InputError(f"{part}: values that are not finite in float32; expected finite numbers")
    return values, labels.astype(np.int64)


def digest(values: np.ndarray, labels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes() + labels.tobytes()).hexdigest()
