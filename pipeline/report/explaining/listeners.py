"""Which networks are compared: the runs that were named, and, fold by fold and seed by seed, their teacher and the same network on labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import runs
from pipeline.config import InputError
from pipeline.report.alike import digest_of
from pipeline.report.experiments import is_labels_alone, labels_of
from pipeline.runs import Record
from pipeline.teacher_files import is_teacher_file

#: What a network is here, in the order of the rows: one that teaches another, one of any mix, and one on labels alone.
TEACHER, DISTILLED, LABELS = "teacher", "distilled", "labels"
KINDS = (TEACHER, DISTILLED, LABELS)

#: The feature whose plane is disturbed.
PLANE = "melspectrogram"


@dataclass(frozen=True)
class Listener:
    """A network of a comparison."""

    kind: str
    record: Record

    @property
    def row(self) -> str:
        """Networks of several folds and seeds with one text are one row. The digest is of the settings, or, where the settings alone do not
        say who taught, that of the runs' folder."""
        model, settings = self.record.model, digest_of(self.record)
        if self.kind == TEACHER:
            return f"teacher {model} ({settings})"
        if self.kind == LABELS:
            return f"{model} on labels alone ({settings})"
        born = f", generation {self.record.generation}" if self.record.is_generation else ""
        step = f", step {self.record.step}" if self.record.is_step else ""
        return f"{model}: {self.record.mix_text}{born}{step} ({settings})"


@dataclass
class Compared:
    """The networks of one fold and seed, which hear the same clips."""

    fold: int
    seed: int
    listeners: list[Listener] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, record: Record) -> None:
        """Once each, as what it was first."""
        if all(one.record.folder.resolve() != record.folder.resolve() for one in self.listeners):
            self.listeners.append(Listener(kind, record))


def compared(named: Sequence[Record]) -> list[Compared]:
    """The comparisons that named runs ask for, by fold and seed.

    ``InputError`` for a run of images, one that reads no mel-spectrogram, and runs of unlike features.
    """
    require_alike(named)
    teaching = {path.resolve() for record in named for path in record.teachers}
    by_cell: dict[tuple[int, int], Compared] = {}
    for record in named:
        if record.folder.resolve() not in teaching and not is_labels_alone(record):
            here = by_cell.setdefault(record.cell, Compared(*record.cell))
            here.add(DISTILLED, record)
            add_teachers(here, record)
            add_labels(here, record)
    for record in named:  # those that are beside a student already are not added again
        if not any(has(one, record) for one in by_cell.values()):
            here = by_cell.setdefault(record.cell, Compared(*record.cell))
            here.add(TEACHER if record.folder.resolve() in teaching else LABELS, record)
    for one in by_cell.values():
        one.listeners.sort(key=lambda listener: KINDS.index(listener.kind))
    return [by_cell[cell] for cell in sorted(by_cell)]


def has(one: Compared, record: Record) -> bool:
    return any(other.record.folder.resolve() == record.folder.resolve() for other in one.listeners)


def require_alike(named: Sequence[Record]) -> None:
    first = named[0]
    for record in named:
        if record.is_of_images:
            raise InputError(f"{record.folder} is of images; expected runs on sounds: explain disturbs their mel bands")
        spec = record.settings.features
        if PLANE not in spec.names:
            raise InputError(
                f"{record.folder} reads {', '.join(spec.names)}; expected a run that reads {PLANE}, whose bands explain disturbs"
            )
        if spec != first.settings.features:
            raise InputError(
                f"{record.folder} reads other features than {first.folder}; expected runs of the same ones, which hear the same "
                "clips: explain them one by one"
            )


def add_teachers(here: Compared, student: Record) -> None:
    """The student's teachers, where they can be asked; a note where not."""
    cell = f"fold {student.fold}, seed {student.seed}"
    if student.crossed:
        here.notes.append(f"Without the teachers of {cell}: they are cross-fitted, another one for each fold of clips.")
        return
    for path in student.teachers:
        if is_teacher_file(path):
            here.notes.append(f"Without the teacher of {cell}: it is a file ({path}), and no network to listen to.")
            continue
        teacher = teacher_in(path)
        if teacher is None:
            here.notes.append(f"Without the teacher of {cell}: no finished run in {path} any more.")
        elif teacher.settings.features != student.settings.features:
            here.notes.append(f"Without the teacher of {cell}: it reads other features ({path}).")
        else:
            here.add(TEACHER, teacher)


def teacher_in(path: Path) -> Record | None:
    return runs.read(path) if runs.finished(path) else None


def add_labels(here: Compared, student: Record) -> None:
    """The same network on labels alone, of the same fold and seed; a note with the command where there is none."""
    above = (
        *student.folder.parents,
        *student.folder.resolve().parents,
    )  # a path as the others have it, where it says enough
    root = next((folder for folder in above if folder.name == student.corpus), None)
    beside = runs.find(root.parent, student.corpus, spare=True) if root else []
    alike = [
        record for record in labels_of(student, beside) if record.cell == student.cell and not record.result.failed
    ]
    if alike:
        here.add(LABELS, max(alike, key=lambda record: len(record.trained_by.keep)))
    else:
        here.notes.append(
            f"Without a student on labels alone for fold {student.fold}, seed {student.seed}: train it with the same settings, "
            "LOSSES=ce, and the same command measures it too."
        )
