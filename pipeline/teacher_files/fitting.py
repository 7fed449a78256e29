"""A teacher file beside the corpus: whether it fits, and its outputs by the corpus' rows and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline.config import InputError, view_name
from pipeline.teacher_files.choosing import numbers, teacher_of
from pipeline.teacher_files.schema import TeacherFile
from pipeline.teacher_files.shapes import listed


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of a corpus, in the order of its rows: row = clip × views + view."""

    names: tuple[str, ...]
    folds: np.ndarray
    """(clips,) int64."""
    views: int
    classes: tuple[str, ...]
    digests: Mapping[int, str]
    """Fold → digest of its features."""
    all_folds: tuple[int, ...]
    """Of the published corpus, whatever part of it is there."""
    labels: np.ndarray | None = None
    """(clips,) int64, -1: none; needed where ``learned`` is."""
    learned: tuple[int, ...] | None = None
    """The numbers of the classes that the students of a file tell apart, in their order; None: all."""

    def for_students_of(self, learned: tuple[int, ...] | None) -> Clips:
        """The same for students of some of the classes."""
        return replace(self, learned=learned)

    @property
    def learned_classes(self) -> tuple[str, ...]:
        return self.classes if self.learned is None else tuple(self.classes[label] for label in self.learned)

    def training_rows(self, fold: int) -> np.ndarray:
        """All views of every clip of the other folds that is of the students' classes, or without a label."""
        others = self.folds != fold
        if self.learned is not None and self.labels is not None:
            others &= np.isin(self.labels, self.learned) | (self.labels < 0)
        return (np.flatnonzero(others)[:, None] * self.views + np.arange(self.views)).reshape(-1)

    def tested(self, fold: int) -> np.ndarray:
        """The clips of a fold that its students are tested on."""
        there = self.folds == fold
        if self.learned is not None and self.labels is not None:
            there &= np.isin(self.labels, self.learned)
        return np.flatnonzero(there)

    def named(self, row: int) -> str:
        return f"{self.names[row // self.views]} ({view_name(row % self.views)})"


def check(file: TeacherFile, fold: int, clips: Clips) -> None:
    """``InputError`` where a file cannot teach the students of a held-out fold of this corpus.

    Every clip of the other folds that the students train on must be there in every view (or all in the clean one alone), its outputs
    finite, in classes that the corpus has. Outputs of the held-out fold's clips are not looked at.
    """
    teacher = teacher_of(file, fold)
    if teacher is None:
        seen = numbers(sorted(set().union(*file.trained_on or ())))
        raise InputError(
            f"{file.path} was trained on fold {fold}, which is held out (trained_on: {seen}); expected a teacher that has not seen it"
        )
    require_known_folds(file, clips)
    columns(file, clips)
    rows = clips.training_rows(fold)
    places = file.rows_of(clips.names, clips.views)
    if missing := [clips.named(row) for row in rows[places[rows] < 0]]:
        raise InputError(
            f"{file.path}: {len(missing):,} of {len(rows):,} clips and views that train beside fold {fold} are missing: "
            f"{listed(missing)}; expected all of them, by the corpus' names"
        )
    for name, values in file.outputs.items():
        said = values[teacher][places[rows]]
        finite = np.isfinite(in_float32(said)).reshape(len(rows), -1).all(1)
        if bad := [clips.named(row) for row in rows[~finite]]:
            raise InputError(
                f"{file.path}: {name} of {listed(bad)} not finite in float32; expected finite numbers{remedy(name, said)}"
            )


def remedy(name: str, said: np.ndarray) -> str:
    """What to do about numbers of an output that are not finite in float32, by what they are; "" where they do not tell, as NaN."""
    if np.isnan(said).any():
        return ""
    if np.isfinite(said).all():
        return "; float32 ends at 3.4e38: write smaller numbers"
    if not np.isposinf(said).any() and name == "logits":
        return "; log p of a probability of 0 is -inf: take log(max(p, 1e-12))"
    odds = (
        ", or log(p / (1 - p)) of a probability of 0 or 1: keep p between 1e-7 and 1 - 1e-7" if name == "logits" else ""
    )
    return (
        f"; an infinite number is one that was too large for its type (float16 ends at 65504): compute in float32{odds}"
    )


def require_known_folds(file: TeacherFile, clips: Clips) -> None:
    """``InputError`` for folds that the corpus does not have, and for clips or features of another state of it."""
    known = {*clips.all_folds, *map(int, clips.folds)}
    named = {*file.folds, *(fold for seen in file.trained_on or () for fold in seen)}
    if unknown := sorted(named - known):
        raise InputError(
            f"{file.path} names fold {unknown[0]}, and the corpus has {numbers(sorted(known))}; expected the corpus' own numbers"
        )
    there = dict(zip(clips.names, clips.folds.tolist()))
    for clip, fold in zip(file.clips, file.clip_folds):
        if there.get(clip, fold) != fold:
            raise InputError(
                f"{file.path}: {clip} was in fold {fold} for its teacher, and is in fold {there[clip]} here, so the teacher may "
                "have seen what is held out; expected a teacher of the same folds"
            )
    changed = [fold for fold, digest in file.data.items() if clips.digests.get(fold) != digest]
    if changed:
        raise InputError(
            f"{file.path} is of other features of fold {numbers(sorted(changed))} (clips were added, removed, moved or changed "
            "since, or it is of other settings); expected one of this corpus as it is: write it again, of runs on other features with "
            "audio-rkd teacher-file --other-features"
        )


def classes_told(file: TeacherFile, classes: tuple[str, ...], learned: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a corpus' classes that a file tells apart: in the order of its students where these learn the same, in the corpus' where
    it has them all, else in its own.

    Of a file without logits, which names none, they are the students'.
    """
    named = tuple(name for name in file.classes if name in classes)
    if "logits" not in file.outputs or set(named) == set(learned):
        return learned
    return classes if set(named) == set(classes) else named


def columns(file: TeacherFile, clips: Clips) -> list[int]:
    """The column of each of ``classes_told`` among the file's; [] where it has no logits.

    ``InputError`` where it has neither all of the students' classes nor classes of the corpus alone: names that do not agree.
    """
    if "logits" not in file.outputs:
        return []
    told = classes_told(file, clips.classes, clips.learned_classes)
    missing = [name for name in clips.learned_classes if name not in told]
    if missing and len(told) < max(2, len(file.classes)):
        raise InputError(
            f"{file.path} has no class {listed(missing)}; it has {listed(file.classes)}: expected the corpus' classes, in any order"
        )
    return [file.classes.index(name) for name in told]


def outputs(file: TeacherFile, fold: int, clips: Clips) -> dict[str, np.ndarray]:
    """Name → (clips × views, ...) float32 of the students' training rows; NaN on the held-out fold's, which are not read.

    The file must have passed ``check``.
    """
    rows, teacher = clips.training_rows(fold), teacher_of(file, fold)
    places, order = file.rows_of(clips.names, clips.views), columns(file, clips)
    laid: dict[str, np.ndarray] = {}
    for name, values in file.outputs.items():
        taken = values[teacher or 0][places[rows]]
        taken = in_float32(taken[:, order] if name == "logits" else taken)
        laid[name] = np.full((len(places), *taken.shape[1:]), np.nan, np.float32)
        laid[name][rows] = taken
    return laid


def held_out_logits(file: TeacherFile, fold: int, clips: Clips) -> np.ndarray | None:
    """(clips of the fold, classes) float32 of the clean view, to be compared with a student's of the same classes; None where the file
    lacks some."""
    teacher, test = teacher_of(file, fold), clips.tested(fold) * clips.views
    places = file.rows_of(clips.names, clips.views)[test]
    if teacher is None or "logits" not in file.outputs or (places < 0).any():
        return None
    logits = in_float32(file.outputs["logits"][teacher][places][:, columns(file, clips)])
    return logits if np.isfinite(logits).all() else None


def in_float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what does not fit is infinite, and refused
        return values.astype(np.float32)
