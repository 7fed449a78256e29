"""Whether the arrays of a teacher file fit together, and what their axes are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config import InputError, view_name
from pipeline.plurals import many
from pipeline.teacher_files.schema import FILLER, MAP, VECTORS

#: Names of clips that a message shows.
SHOWN = 3


@dataclass(frozen=True)
class Layout:
    """The axes in front of every output."""

    teachers: int
    """0: there is no such axis."""
    views_of_clip: int
    """0: no such axis; every row has its own view."""

    @property
    def lead(self) -> int:
        return bool(self.teachers) + 1 + bool(self.views_of_clip)

    def rowwise(self, values: np.ndarray) -> np.ndarray:
        """(teacher, row, ...) of an array with these axes."""
        front = values if self.teachers else values[None]
        return front.reshape(len(front), -1, *front.shape[3:]) if self.views_of_clip else front


def layout(
    path: Path,
    outputs: Mapping[str, np.ndarray],
    clips: int,
    views: Sequence[int] | None,
    trained_on: np.ndarray | None,
    folds: np.ndarray | None,
) -> Layout:
    """The axes of the outputs. ``InputError`` for types and shapes that do not fit to clips, views and folds."""
    vectors = [name for name in VECTORS if name in outputs]
    if not {"logits", "embedding"} & set(vectors):
        raise InputError(f"{path}: neither logits nor embedding; expected one of them at least")
    several = trained_on is not None and trained_on.ndim == 2
    teachers = len(trained_on) if several and trained_on is not None else 0 if folds is None else len(folds)
    if (several or folds is not None) and teachers == 0:
        raise InputError(f"{path}: an axis of teachers without any; expected at least one row in trained_on")
    if folds is not None and len(folds) != teachers:
        raise InputError(
            f"{path}: fold names {many(len(folds), 'fold')}, trained_on {many(teachers, 'teacher')}; expected as many"
        )
    if folds is not None and trained_on is not None and not several:
        raise InputError(
            f"{path}: fold names {many(len(folds), 'teacher')} and trained_on is one list; expected a row of trained_on for each"
        )
    behind = outputs[vectors[0]].ndim - bool(teachers)
    axes = Layout(teachers, len(views) if views is not None and behind == 3 else 0)
    expected = (*([teachers] if teachers else []), clips, *([axes.views_of_clip] if axes.views_of_clip else []))
    for name, values in outputs.items():
        require_output(path, name, values, expected)
    if axes.views_of_clip and views is not None and len(set(views)) != len(views):
        raise InputError(f"{path}: a view is there twice; expected clean, noisy and changed ones, each once")
    if not axes.views_of_clip and views is not None and len(views) != clips:
        raise InputError(
            f"{path}: {many(len(views), 'view')} for {many(clips, 'row')} of {vectors[0]} {outputs[vectors[0]].shape}; expected a view for each "
            "row, or an axis of views behind the clips"
        )
    return axes


def require_output(path: Path, name: str, values: np.ndarray, expected: tuple[int, ...]) -> None:
    if values.dtype.kind != "f":
        raise InputError(f"{path}: {name} is {values.dtype}; expected float32 (or float16, float64)")
    behind = 3 if MAP.fullmatch(name) else 1
    if values.ndim != len(expected) + behind or values.shape[: len(expected)] != expected or 0 in values.shape:
        width = {"logits": "classes"}.get(name, "channels, height, width" if behind == 3 else "width")
        raise InputError(
            f"{path}: {name} has the shape {values.shape}; expected ({', '.join(map(str, expected))}, {width}), by clip"
            f"{', view' if len(expected) > 1 else ''} as the file has them"
        )


def rows(clips: Sequence[str], views: Sequence[int] | None, axes: Layout) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Clip and view of each row."""
    if not axes.views_of_clip or views is None:
        return tuple(clips), tuple(views) if views is not None else (0,) * len(clips)
    return tuple(clip for clip in clips for _ in views), tuple(view for _ in clips for view in views)


def require_each_once(path: Path, clips: Sequence[str], views: Sequence[int]) -> None:
    """``InputError`` that names clips which are there twice."""
    counts = Counter(zip(clips, views))
    if double := [key for key, count in counts.items() if count > 1]:
        raise InputError(
            f"{path}: {listed([f'{clip} ({view_name(view)})' for clip, view in double])} there more than once; expected each clip "
            "and view once"
        )


def folds_seen(trained_on: np.ndarray | None, axes: Layout) -> tuple[frozenset[int], ...] | None:
    """Of each teacher the folds that it was trained on."""
    if trained_on is None:
        return None
    each = trained_on if trained_on.ndim == 2 else trained_on[None]
    fillers = {FILLER} if axes.teachers else set()
    return tuple(frozenset(row.tolist()) - fillers for row in each)


def listed(names: Sequence[str]) -> str:
    """The first of the names, and how many more."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
