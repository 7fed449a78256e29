"""Students of teachers of other classes (REFILLED): accuracies by overlap, harmonic means, and whether λ tells the teacher's classes apart.

Accuracy is of the student's own outputs among its own classes, as its result has it; all else is measured of the networks (``class_means``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter

import numpy as np

from pipeline import runs
from pipeline.figures import other_classes as figures
from pipeline.report.alike import kind_of, told_apart
from pipeline.report.class_means import measured
from pipeline.report.table import Column, Section, Table, number, of
from pipeline.report.wording import of_windows
from pipeline.runs import Record
from pipeline.runs.damage import spared
from pipeline.teacher_files import is_teacher_file

TITLE = "other classes"

#: The terms that make an experiment one of these.
TERMS = {"comparison", "local"}

CAPTIONS = {
    "accuracy": "Accuracy on the student's own classes, %, mean over runs, by the share of them that its teacher knows.",
    "details": (
        "NCM: nearest class mean of the embeddings, among the student's own classes. Harmonic mean: of NCM's accuracies on the teacher's (old) "
        "and the student's (new) classes, each among all of both. AUC of λ: how surely it is larger on clips of classes that the teacher knows "
        "than of others, 50 is chance; the teacher was trained on the training clips of these. SD over runs, which differ in fold, seed and classes."
    ),
    "negatives": (
        "NCM accuracy among the student's own classes, %, after training by comparison with at most K negatives in a tuple, by overlap."
    ),
}


@dataclass
class Row:
    """Runs that differ in fold, seed and which classes alone, as do those that they go back to."""

    method: str
    overlap: float | None
    """None: of a run whose teacher is not known, or a teacher's own."""
    negatives: int | None = None
    """K of a training by ``comparison`` alone; 0: all."""
    accuracies: list[float] = field(default_factory=list)
    """In percent, of the runs that have one."""
    each: list[dict[str, float]] = field(default_factory=list)
    """Of each run what ``class_means`` measures; NaN where there is nothing to measure."""

    @property
    def overlap_percent(self) -> float | None:
        return None if self.overlap is None else 100 * self.overlap

    @property
    def runs(self) -> int:
        return len(self.each)

    @property
    def accuracy(self) -> float | None:
        return float(np.mean(self.accuracies)) if self.accuracies else None

    @property
    def deviation(self) -> float | None:
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else None

    def mean(self, name: str) -> float | None:
        """In percent, over the runs that have it."""
        values = [run[name] for run in self.each if np.isfinite(run[name])]
        return float(100 * np.mean(values)) if values else None


def mean_of(row: Row, name: str) -> float | None:
    return row.mean(name)


def percent(value: float | None) -> str:
    return number(value, ".0f")


DETAILS = (
    Column("method", of("method"), "Method"),
    Column("overlap_percent", of("overlap_percent"), "overlap", "%", percent),
    Column("accuracy_percent", of("accuracy"), "accuracy", "%", number),
    Column("sd_over_runs_percent", of("deviation"), "SD", "%", number),
    *(
        Column(f"{key}_percent", partial(mean_of, name=name), label, "%", number)
        for name, key, label in (
            ("ncm", "ncm", "NCM"),
            ("old", "ncm_old", "NCM, old\nof both"),
            ("new", "ncm_new", "NCM, new\nof both"),
            ("harmonic", "harmonic_mean", "harmonic\nmean"),
            ("auc_training", "auc_lambda_training", "AUC of λ,\ntraining"),
            ("auc_held_out", "auc_lambda_held_out", "AUC of λ,\nheld out"),
        )
    ),
    Column("runs", of("runs"), "runs"),
)


def section(members: Sequence[Record]) -> tuple[Section, ...]:
    """Of an experiment's rows, those that they began from, and their teachers, where a term is of ``TERMS``; else nothing.

    Runs whose features are gone or changed are left out; of damaged ones the command's end tells.
    """
    if not any(TERMS & terms_of(record) for record in members):
        return ()
    rows, unlike = rows_of(everybody(members))
    ncm, both = (of_windows(members, what) for what in ("these figures are", "NCM, harmonic mean and AUC are"))
    overlaps = sorted({row.overlap_percent for row in rows if row.overlap_percent is not None}, reverse=True)
    tables = [
        by_overlap(CAPTIONS["accuracy"], "Method", rows, overlaps, lambda row: row.accuracy, lambda row: row.method),
        Table.build(" ".join([CAPTIONS["details"], *both, *unlike]), DETAILS, rows),
    ]
    tuples = sorted((row for row in rows if row.negatives is not None), key=lambda row: row.negatives or np.inf)
    if tuples:
        shown = [share for share in overlaps if share in {row.overlap_percent for row in tuples}]
        tables.append(
            by_overlap(
                " ".join([CAPTIONS["negatives"], *ncm]),
                "K",
                tuples,
                shown,
                partial(mean_of, name="ncm"),
                words_of_negatives,
            )
        )
    return (Section(TITLE, tuple(table for table in tables if table.rows)),) if rows else ()


def words_of_negatives(row: Row) -> str:
    return str(row.negatives or "all")


def by_overlap(
    caption: str,
    head: str,
    rows: Sequence[Row],
    overlaps: Sequence[float],
    value: Callable[[Row], float | None],
    name: Callable[[Row], str],
) -> Table:
    """A line for each name with a column for each overlap, as the paper's tables have it; those without a value at all are left out."""
    lines: dict[str, dict[float, float | None]] = {}
    for row in rows:
        if row.overlap_percent is not None and (told := value(row)) is not None:
            lines.setdefault(name(row), {})[row.overlap_percent] = told
    columns = [Column(head.lower(), itemgetter(0), head)]
    for share in overlaps:
        columns.append(
            Column(f"overlap_{share:g}", partial(told_at, share=share), f"overlap\n{share:.0f} %", format=number)
        )
    return Table.build(caption, columns, lines.items())


def told_at(line: tuple[str, dict[float, float | None]], share: float) -> float | None:
    return line[1].get(share)


def terms_of(record: Record) -> set[str]:
    return {term.name for term in record.mix.terms} if record.mix else set()


def everybody(members: Sequence[Record]) -> list[Record]:
    """The runs of the rows, and those that they began from or learned from: teachers first, then as they were trained."""
    parents = dict.fromkeys(parent for record in members for parent in record.parents if not is_teacher_file(parent))
    others = [record for parent in parents if (record := spared(partial(runs.read, parent)))]
    whole = {record.folder: record for record in (*others, *members)}
    taught_by = {teacher for record in whole.values() for teacher in record.teachers}
    return sorted(whole.values(), key=lambda record: (record.folder not in taught_by, bool(record.start)))


def rows_of(records: Sequence[Record]) -> tuple[list[Row], list[str]]:
    """The rows of finished runs, in their order, those of one method by falling overlap; and a line on each of those that others are
    called like."""
    rows: dict[tuple[tuple[str, str], float | None], Row] = {}
    firsts: dict[tuple[str, str], Record] = {}
    known = known_by_others(records)
    for record in records:
        if record.result.failed or record.is_of_images:
            continue
        taught = classes_of_teachers(record) or known.get((record.trained_by.classes, *record.cell))
        own = record.classes
        teaches = any(record.folder in other.teachers for other in records)
        share = None if taught is None or teaches else figures.overlap(own, taught)
        measured_run = spared(partial(measured, record, own if teaches else taught or own))
        if measured_run is None:
            continue
        name = method(record) + (" (teacher)" if teaches else "")
        key = (name, kind_of(record, lambda one: len(one.classes)))
        firsts.setdefault(key, record)
        row = rows.setdefault((key, share), Row(name, share, negatives_of(record)))
        row.each.append(measured_run)
        if record.result.counts and record.result.percent is not None:
            row.accuracies.append(record.result.percent)
    names, unlike = told_apart(firsts)
    for (key, _), row in rows.items():
        row.method = names[key]
    places = {key: place for place, key in enumerate(firsts)}
    ordered = sorted(rows.items(), key=lambda item: (places[item[0][0]], -(item[1].overlap or 0)))
    return [row for _, row in ordered], unlike


def method(record: Record) -> str:
    """The mix, and what the run began from."""
    begun = spared(partial(runs.read, record.start)) if record.start else None
    return record.mix_text + (f" after {begun.mix_text}" if begun else "")


def negatives_of(record: Record) -> int | None:
    """K of a run that learns by ``comparison`` alone; 0: all."""
    if record.start or terms_of(record) != {"comparison"} or record.mix is None:
        return None
    return int(str(record.mix.terms[0].arguments.get("K", 0)))


def classes_of_teachers(record: Record) -> tuple[str, ...] | None:
    """The classes of a run's only teacher, or of that of the run that it began from; None of none, several, or a file."""
    if len(record.teachers) == 1 and not is_teacher_file(record.teachers[0]):
        teacher = spared(partial(runs.read, record.teachers[0]))
        return teacher.classes if teacher else None
    begun = spared(partial(runs.read, record.start)) if record.start and not record.teachers else None
    return classes_of_teachers(begun) if begun else None


def known_by_others(records: Sequence[Record]) -> dict[tuple[str, int, int], tuple[str, ...]]:
    """(setting ``classes``, fold, seed) → the classes of the teacher of the runs with these, where all have the same: a student
    alone stands beside them."""
    each: dict[tuple[str, int, int], set[tuple[str, ...]]] = {}
    for record in records:
        if taught := classes_of_teachers(record):
            each.setdefault((record.trained_by.classes, *record.cell), set()).add(taught)
    return {key: next(iter(several)) for key, several in each.items() if len(several) == 1}
