"""The classes that planned runs train and test on, where these are not all of a corpus; and whether their teachers have the same.

No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline import cache, class_subsets, models, runs
from pipeline.config import InputError, TrainSettings
from pipeline.engine.source import Source
from pipeline.images.archive import Archive
from pipeline.losses.library import teacher_reads
from pipeline.runs import Record
from pipeline.runs.planned import PlannedRun
from pipeline.teacher_files import is_teacher_file
from pipeline.teacher_files.fitting import classes_told
from pipeline.teacher_files.reading import read as read_file

#: What a teacher says of classes: of its own, so that a student of others learns nothing right from it.
OF_CLASSES = ("logits", "members")

#: The same where a term takes it for the teacher's own classes, whichever these are (``losses.needs``).
OWN = "own"


def chosen(run: PlannedRun, classes: Sequence[str]) -> tuple[int, ...] | None:
    """The numbers of a run's classes, of all ``classes`` of its corpus; None: all."""
    return class_subsets.chosen(run.network.classes, classes, run.seed)


def names(run: PlannedRun | Record, classes: Sequence[str]) -> tuple[str, ...]:
    """The names of a run's classes, in its order."""
    network = run.network if isinstance(run, PlannedRun) else run.trained_by
    return class_subsets.names(network.classes, classes, run.seed)


def count(network: TrainSettings, classes: Sequence[str]) -> int:
    """How many of all ``classes`` of a corpus a network tells apart: as many for every seed, though not the same ones."""
    return len(class_subsets.names(network.classes, classes, 0))


def held_out(run: PlannedRun | Record, data: cache.Data) -> tuple[np.ndarray, np.ndarray]:
    """The clips that a run is tested on, (clips,) int64, and their labels as it has them: (clips,) int64, or of clips with several
    labels (clips, classes)."""
    test = np.flatnonzero(data.folds == run.fold)
    network = run.network if isinstance(run, PlannedRun) else run.trained_by
    own = class_subsets.chosen(network.classes, data.classes, run.seed)
    if own is None:
        labels = data.labels[test]
        return test, data.targets[labels].astype(np.int64) if data.label_sets else labels
    test = test[np.isin(data.labels[test], own)]
    return test, np.array([own.index(label) for label in data.labels[test].tolist()], np.int64)


def alike(run: PlannedRun, data: cache.Data) -> tuple[Path, ...]:
    """The run's teachers, where what they say of the held-out clips is of its own classes; else none of them."""
    own = names(run, data.classes)
    for teacher in run.teachers:
        theirs = of_file(teacher, data.classes, own) if is_teacher_file(teacher) else runs.read(teacher).classes
        if (theirs or tuple(data.classes)) != own:
            return ()
    return run.teachers


def check(run: PlannedRun, planned: Mapping[Path, PlannedRun], source: Source) -> None:
    """``InputError`` where a run's classes are not there, or have no clips to train or test on; where a term reads what a teacher of
    other classes says of these, and where it starts from, or misses what is missed by, a run of others. ``planned``: by folder."""
    own = names(run, source.classes)
    if run.network.classes:
        require_clips(run, source)
    require_one_order(run, planned, source)
    for parent in run.parents:
        theirs = classes_of(parent, planned, source, own)
        if theirs == own and not has_space(parent, planned):
            continue
        for term in run.mix.terms if parent in run.teachers else ():
            reads = teacher_reads(term.name, dict(term.options))
            if reads is None or set(reads) & {*OF_CLASSES, *((OWN,) if has_space(parent, planned) else ())}:
                of_what = (
                    f"which are of other classes ({shown(theirs)}; here {shown(own)}); expected a teacher of the same, in the same order"
                    if theirs != own and not (reads and OWN in reads)
                    else "which has an embedding in place of the classes; expected a teacher that names classes"
                )
                read = next((name for name in reads or () if name in OF_CLASSES), "outputs")
                raise InputError(
                    f"{term.key} reads the {read} of {parent}, {of_what}, or terms that read "
                    "embeddings or maps, such as distance:25,angle:50,soft:0"
                )
        if theirs != own and parent in (run.start, run.base):
            raise InputError(
                f"{parent} has other classes ({shown(theirs)}) than the run that begins with it or learns what it misses "
                f"({shown(own)}); expected the same, in the same order"
            )


def require_one_order(run: PlannedRun, planned: Mapping[Path, PlannedRun], source: Source) -> None:
    """``InputError`` where a term reads what several teachers together say of their own classes, and these are not the same."""
    own = names(run, source.classes)
    orders = {classes_of(teacher, planned, source, own): teacher for teacher in run.teachers}
    for term in run.mix.terms if len(orders) > 1 else ():
        if OWN in (teacher_reads(term.name, dict(term.options)) or ()):
            (first, one), (second, other) = list(orders.items())[:2]
            raise InputError(
                f"{term.key} reads what {one} and {other} together say of their classes, and these differ ({shown(first)}; {shown(second)}); "
                "expected teachers of the same classes, in the same order, or a single one"
            )


def has_space(parent: Path, planned: Mapping[Path, PlannedRun]) -> bool:
    """Whether a teacher's network has an embedding in place of the classes."""
    if parent in planned:
        return bool(models.width_of(planned[parent].network.model))
    return not is_teacher_file(parent) and runs.finished(parent) and bool(models.width_of(runs.read(parent).model))


def classes_of(
    parent: Path, planned: Mapping[Path, PlannedRun], source: Source, own: tuple[str, ...]
) -> tuple[str, ...]:
    """The classes of a run that is planned, or finished, or of a file; ``own``: those of the run that learns from it."""
    if parent in planned:
        return names(planned[parent], source.classes)
    if is_teacher_file(parent):
        return of_file(parent, source.classes, own)
    return (runs.read(parent).classes if runs.finished(parent) else ()) or source.classes


def of_file(path: Path, classes: Sequence[str], own: tuple[str, ...]) -> tuple[str, ...]:
    """The classes of a teacher file, whose columns go by their names, see ``fitting.classes_told``."""
    return classes_told(read_file(path), tuple(classes), own)


def require_clips(run: PlannedRun, source: Source) -> None:
    """``InputError`` where a run's classes have no clip in its held-out fold, or none in the others."""
    if isinstance(source.files, Archive):
        return  # every class of such a data set has images in both parts
    there = chosen(run, source.classes) or ()
    counts = {True: 0, False: 0}
    for header in map(cache.read_header, source.files):
        if header.fold != run.without:
            counts[header.fold == run.fold] += int(np.isin(header.labels, there).sum())
    for is_test, count in counts.items():
        if not count:
            where = f"in the held-out fold {run.fold}" if is_test else f"outside the held-out fold {run.fold}"
            raise InputError(
                f"classes = {run.network.classes!r} ({shown(names(run, source.classes))}): none has a clip {where} of {source.name}; "
                "expected classes that have"
            )


def shown(classes: Sequence[str]) -> str:
    return ", ".join(classes[:5]) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
