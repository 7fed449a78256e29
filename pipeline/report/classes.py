"""Precision, recall and F1 of each class, of each row of the report: ``classes.md`` and ``classes.csv``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline import label_sets, runs
from pipeline.figures import evaluation
from pipeline.report.table import Column, Document, Section, Table, number, of
from pipeline.runs import Record
from pipeline.runs.damage import spared

STEM = "classes"
TITLE = (
    "By class, over the held-out folds of all runs of a row, last epoch: precision (of the clips that were given the class, how many have "
    "it), recall (of its clips, how many were given it), F1 (their harmonic mean), as scikit-learn counts them."
)


class OfClass(NamedTuple):
    """Percent; None where it is not defined: nothing was given the class, or it has no clip."""

    mix: str
    digest: str
    label: str
    clips: int
    precision: float | None
    recall: float | None
    f1: float | None


COLUMNS = (
    Column("row", of("mix"), "Model / mix"),
    Column("settings", of("digest")),
    Column("class", of("label"), "Class"),
    Column("clips", of("clips"), "clips"),
    *(Column(f"{name}_percent", of(name), name.capitalize(), "%", number) for name in ("precision", "recall", "f1")),
)


SEVERAL_TITLE = (
    "By class, last epoch, clips with several labels: average precision as scikit-learn counts it, mean over the runs of a row in whose "
    "held-out fold a clip has the class."
)


class OfLabel(NamedTuple):
    """Percent; None of a class that no held-out clip has."""

    mix: str
    digest: str
    label: str
    clips: int
    average_precision: float | None


SEVERAL_COLUMNS = (
    *COLUMNS[:4],
    Column("average_precision_percent", of("average_precision"), "Average\nprecision", "%", number),
)


def several_rows_of(records: Iterable[Record]) -> list[OfLabel]:
    """``rows_of`` of clips with several labels."""
    rows = []
    for (mix, digest, _), members in grouped(record for record in records if record.several_labels).items():
        told = [one for record in members if (one := spared(partial(runs.read_predictions, record.folder)))]
        told = [one for one in told if one.labels.ndim == 2 and np.isfinite(one.logits).all()]
        if not told:
            continue
        each = np.array([label_sets.average_precisions(one.labels, one.logits) for one in told])
        clips = np.sum([one.labels.sum(0) for one in told], axis=0)
        for at, label in enumerate(members[0].classes):
            known = each[np.isfinite(each[:, at]), at]
            rows.append(OfLabel(mix, digest, label, int(clips[at]), 100 * float(known.mean()) if len(known) else None))
    return rows


def grouped(records: Iterable[Record]) -> dict[tuple[str, str, tuple[str, ...]], list[Record]]:
    """The runs that answer at all, by mix, settings and classes: a corpus may have others by now."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[Record]] = {}
    for record in records:
        if record.classes and not record.result.failed and not record.result.outputs_untrained:
            key = (record.row_mix or f"{record.role} {record.model}", record.digest, record.classes)
            groups.setdefault(key, []).append(record)
    return groups


def rows_of(records: Iterable[Record]) -> list[OfClass]:
    """Of the runs that answer at all, by mix and settings; those of one row together, each clip once per run."""
    groups = grouped(record for record in records if not record.several_labels)
    return [row for (mix, digest, _), members in groups.items() for row in of_group(mix, digest, members)]


def of_group(mix: str, digest: str, members: Sequence[Record]) -> list[OfClass]:
    told = [one for record in members if (one := spared(partial(runs.read_predictions, record.folder)))]
    told = [one for one in told if np.isfinite(one.logits).all()]
    classes = members[0].classes
    if not told or any(one.logits.shape[1] != len(classes) or one.labels.ndim != 1 for one in told):
        return []
    labels = np.concatenate([one.labels for one in told])
    answers = np.concatenate([evaluation.predicted(one.logits) for one in told])
    hits, given, there = (
        np.bincount(some, minlength=len(classes)) for some in (labels[labels == answers], answers, labels)
    )
    return [
        OfClass(
            mix,
            digest,
            label,
            int(clips),
            percent(hit, told_so),
            percent(hit, clips),
            percent(2 * hit, told_so + clips),
        )
        for label, hit, told_so, clips in zip(classes, hits, given, there)
    ]


def percent(part: np.int64, whole: np.int64) -> float | None:
    """None of nothing, as scikit-learn's ``zero_division=nan``, which takes a second to import."""
    return 100 * float(part / whole) if whole else None


def value_of(key: str, row: OfClass | OfLabel) -> object:
    """Of a row what the column ``key`` has; None where it has no such figure."""
    columns = COLUMNS if isinstance(row, OfClass) else SEVERAL_COLUMNS
    return next((column.value(row) for column in columns if column.key == key), None)


def write(records: Iterable[Record], folder: Path, title: str) -> Path | None:
    """Write both files; None where no run tells classes."""
    records = list(records)
    rows, several = rows_of(records), several_rows_of(records)
    if not (rows or several):
        return None
    table = Table.build(SEVERAL_TITLE, SEVERAL_COLUMNS, several) if several else Table.build(TITLE, COLUMNS, rows)
    both: tuple[Table, ...] = (table,)
    data = table
    if rows and several:  # of a table of clips that had one label before
        both = (table, Table.build(TITLE, COLUMNS, rows))
        keys = dict.fromkeys(column.key for column in (*COLUMNS, *SEVERAL_COLUMNS))
        whole = [Column(key, partial(value_of, key)) for key in keys]
        data = Table.build("", whole, [*rows, *several])
    heading = "average precision" if several else "precision, recall and F1"
    Document(title, (Section(heading, both),), ()).save(folder, STEM, data, latex=False)
    return folder / f"{STEM}.md"
