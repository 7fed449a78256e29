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
from pipeline.label_sets import LabelSets

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

    Row = clip × views + view: all views of a clip (clean, noisy, changed copies) behind each other. Labels are (n,) int64, numbers of
    classes; of clips with several labels each (n, classes) int64, 1 for each class of a clip, else 0.
    """

    number: int
    """The fold that is held out."""
    data: cache.Data
    """All folds as they are kept, with names and recordings of the clips."""
    dataset: str = ""

    @property
    def several_labels(self) -> bool:
        """Whether clips have several labels each."""
        return bool(self.data.label_sets)

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
        """(rows,) int64; of several labels (rows, classes)."""
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
        """(clips,) int64; of several labels (clips, classes)."""
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
        labels = self.data.labels.repeat(self.views)
        return self.data.targets.astype(np.int64)[labels] if self.several_labels else labels


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
    for each, what in ((values, "inputs"), (labels, "labels")):
        if each[0].shape[1:] != each[1].shape[1:]:
            raise InputError(f"train {each[0].shape} and test {each[1].shape}: expected {what} of one shape")
    of_all, sets = numbered(np.concatenate(labels))
    names = named(classes, labels[0].shape[1] if sets else int(of_all.max()) + 1, bool(sets))
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError(f"fold {number!r}: expected a whole number from 1 on")
    folds = np.repeat([number + 1, number], [len(own) for own in labels])
    every = np.concatenate(values)[:, np.newaxis]
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
        {part: digest(every[folds == part], own) for part, own in ((number, labels[1]), (number + 1, labels[0]))},
        label_sets=sets,
    )
    return Fold(number, data, OWN)


def numbered(labels: np.ndarray) -> tuple[np.ndarray, LabelSets]:
    """Labels as a corpus keeps them, (n,): those of (n, classes), 1 for each class of a clip, as numbers of sets of classes, and the sets."""
    if labels.ndim == 1:
        return labels, ()
    each, numbers = np.unique(labels, axis=0, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64), tuple(tuple(np.flatnonzero(row).tolist()) for row in each)


def named(classes: Sequence[str], there: int, several: bool) -> tuple[str, ...]:
    """A name for each class, by default its number. ``there``: how many the labels have, of ``several`` labels a clip exactly."""
    names = tuple(map(str, classes)) or tuple(map(str, range(there)))
    if len(set(names)) < len(names) or len(names) < there or (several and len(names) > there):
        labels = f"labels of {there} classes" if several else f"a label {there - 1}"
        raise InputError(f"{labels} and the classes {', '.join(names)}; expected a name for each label, each once")
    return names


def array_of(values: Any, name: str) -> np.ndarray:
    """What a caller gives as an array; ``InputError`` for rows of different lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: no array ({error}); expected rows of one shape") from None


def checked(values: np.ndarray, labels: np.ndarray, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, C, H, W) float32 and labels (n,) or (n, classes) int64; ``InputError`` for anything else."""
    if values.ndim != 4 or 0 in values.shape or values.dtype.kind not in "fiu":
        raise InputError(
            f"{part}: an array {values.shape} of {values.dtype}; expected numbers (rows, channels, bins, frames)"
        )
    sets = labels.ndim == 2 and labels.shape[1] > 0 and np.isin(labels, (0, 1)).all()
    if sets and len(labels) == len(values):
        labels = labels.astype(np.int64)
    elif labels.shape != values.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(
            f"{part}_labels: {labels.shape} of {labels.dtype} for {len(values)} rows; expected (rows,) whole numbers from 0 on, or of "
            "several labels (rows, classes) of 0 and 1"
        )
    if not np.isfinite(values := values.astype(np.float32)).all():
        raise InputError(f"{part}: values that are not finite in float32; expected finite numbers")
    return values, labels.astype(np.int64)


def digest(values: np.ndarray, labels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes() + labels.tobytes()).hexdigest()
