"""Whether a finished run still belongs to the data and the teachers of today: one check, one wording."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pipeline import class_subsets
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus.clips import part_names
from pipeline.runs import folder as files
from pipeline.runs.reading import read
from pipeline.runs.record import Record
from pipeline.teacher_files.schema import content_digest, is_teacher_file

#: What happened to clips whose features have another digest now.
CHANGED = "clips were added, removed, moved or changed since"


def outdated(
    record: Record,
    *,
    data: Mapping[int, str] | None = None,
    folds: Collection[int] | None = None,
    classes: Sequence[str] = (),
    features: FeatureSpec | None = None,
    teachers: bool = False,
) -> str:
    """In what a run is not of what is at hand, as the words behind its name ("was trained …"); "" where it fits.

    ``data``: fold → digest of its content now, compared over ``folds`` (default: all that either knows). ``classes`` and
    ``features``: today's. ``teachers``: whether those that the run goes back to must still be the ones that taught. What is
    not given, or was not recorded, is not compared.
    """
    if features is not None:
        for field in dataclasses.fields(FeatureSpec):
            old, new = (getattr(spec, field.name) for spec in (record.settings.features, features))
            if old != new:
                return f"was trained with other features (features.{field.name} = {old}, here {new})"
    if classes and record.classes and (today := own_classes(record, classes)) != record.classes:
        return f"was trained with other classes ({' '.join(record.classes)}; here {' '.join(today)})"
    if data is not None:
        compared = record.data.keys() | data.keys() if folds is None else folds
        others = sorted(fold for fold in compared if record.data.get(fold) != data.get(fold))
        if others:
            named = ", ".join(map(str, others))
            if record.is_of_images:
                return (
                    f"was trained on other images (part {named}; from another archive or one that was changed "
                    "since, or standardised per channel and row, as earlier versions did)"
                )
            return f"was trained on other features of {part_names(others)} ({CHANGED})"
    if teachers and (retrained := retrained_teachers(record)):
        how = "was changed" if is_teacher_file(retrained[0]) else "was trained again, with other weights"
        return f"goes back to {retrained[0]} as it was before it {how}"
    return ""


def own_classes(record: Record, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes that a run would have today, of all ``classes`` of its corpus; all of them where what it names is gone."""
    try:
        return class_subsets.names(record.trained_by.classes, classes, record.seed)
    except InputError:
        return tuple(classes)


def retrained_teachers(record: Record) -> list[Path]:
    """The teachers in a run's lineage that were trained again since, and came out with other weights; files that were changed.

    By the digests on record alone: runs of before there were any, and teachers that are gone, are taken as they are.
    """
    ancestors = [read(folder) for folder in record.lineage if files.finished(folder)]
    retrained = [
        teacher
        for run in (record, *ancestors)
        for teacher, weights in run.teacher_weights.items()
        if weights_now(teacher, weights) != weights
    ]
    return list(dict.fromkeys(retrained))


def weights_now(teacher: Path, recorded: str) -> str:
    """Digest of a teacher's weights today, of a file of its content; as it was ``recorded`` where nothing is there to tell."""
    if is_teacher_file(teacher):
        return content_digest(teacher) or recorded
    return (read(teacher).result.weights or recorded) if files.finished(teacher) else recorded
