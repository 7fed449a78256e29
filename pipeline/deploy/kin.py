"""The runs that belong to a run: its siblings, its teacher, those of its corpus."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import runs
from pipeline.figures import statistics
from pipeline.plurals import many
from pipeline.report.aggregation import percents
from pipeline.runs import Record


def siblings(record: Record, records: Sequence[Record]) -> list[Record]:
    """The runs of the same network, settings, mix, generation and teachers, itself among them."""

    def kind(run: Record) -> tuple[object, ...]:
        # The chains of one set of first teachers lie in one folder, and so do the steps of an experiment that the same ones taught.
        folder = run.folder.resolve()
        place = folder.parents[2] if run.is_generation else folder.parent if run.is_step else None
        return run.digest, run.role, run.recorded_mix, run.generation, place

    alike = [r for r in records if kind(r) == kind(record)]
    return alike if any(r.folder.resolve() == record.folder.resolve() for r in alike) else [*alike, record]


def name_of(record: Record) -> str:
    """ "student cnn2", "generation 2 cnn2", "step distilled cnn2": a step's teacher may be a step, too."""
    born = f" {record.generation}" if record.is_generation else f" {record.step}" if record.is_step else ""
    return f"{record.role}{born} {record.model}"


def teacher_of(student: Record, records: Sequence[Record]) -> Record | None:
    """A teacher of the same settings, of the student's own fold where there is one; None where there is none.

    A born-again run's is the one at the beginning of its chain, where that is a teacher; a step's the first of its own.
    """
    if student.is_step:
        own = {folder.parts[-3:] for folder in student.teachers}
        return next((r for r in records if r.folder.parts[-3:] in own), None)
    if student.is_generation:
        lineage = {folder.parts[-3:] for folder in student.lineage}
        return next((r for r in records if r.is_teacher and r.folder.parts[-3:] in lineage), None)
    digest = student.teacher_digest
    teachers = [r for r in records if r.is_teacher and r.digest == digest]
    return min(teachers, key=lambda r: (r.fold != student.fold, r.seed), default=None)


def mean_score(record: Record, records: Sequence[Record]) -> tuple[float | None, str]:
    """Percent, the mean of the folds' means over the siblings that trained, of accuracy or, of clips with several labels, the mean
    average precision; and what it is the mean of."""
    group = siblings(record, records)
    values = percents([r for r in group if r.result.trained], "score")
    if not values:
        return None, f"none of {many(len(group), 'run')} trained"
    spread = statistics.spread(values)
    folds = f"{len(spread.folds)} of {len(record.all_folds)} folds"
    return spread.mean, f"{many(spread.n, 'run')}, {folds}"


def runs_beside(record: Record) -> list[Record]:
    """The finished runs of the corpus that ``record`` lies among, wherever that is; itself alone where it lies alone."""
    corpus = record.corpus
    root = next((folder for folder in record.folder.resolve().parents if folder.name == corpus), None)
    return runs.find(root.parent, corpus) if root else []
