"""Precision, recall and F1 of each class, of each row of the report: ``classes.md`` and ``classes.csv``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline import runs
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


def rows_of(records: Iterable[Record]) -> list[OfClass]:
    """Of the runs that answer at all, by mix and settings; those of one row together, each clip once per run."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.classes and not record.result.failed and not record.result.outputs_untrained:
            groups.setdefault((record.row_mix or f"{record.role} {record.model}", record.digest), []).append(record)
    return [row for key, members in groups.items() for row in of_group(*key, members)]


def of_group(mix: str, digest: str, members: Sequence[Record]) -> list[OfClass]:
    from sklearn.metrics import precision_recall_fscore_support  # slow to import

    told = [one for record in members if (one := spared(partial(runs.read_predictions, record.folder)))]
    told = [one for one in told if np.isfinite(one.logits).all()]
    classes = members[0].classes
    if not told or any(one.logits.shape[1] != len(classes) or one.labels.ndim != 1 for one in told):
        return []
    labels = np.concatenate([one.labels for one in told])
    answers = np.concatenate([evaluation.predicted(one.logits) for one in told])
    figures = precision_recall_fscore_support(labels, answers, labels=range(len(classes)), zero_division=math.nan)
    percents = [[None if math.isnan(value) else 100 * float(value) for value in kind] for kind in figures[:3]]
    return [
        OfClass(mix, digest, label, int(figures[3][at]), *(kind[at] for kind in percents))
        for at, label in enumerate(classes)
    ]


def write(records: Iterable[Record], folder: Path, title: str) -> Path | None:
    """Write both files; None where no run tells classes."""
    rows = rows_of(records)
    if not rows:
        return None
    table = Table.build(TITLE, COLUMNS, rows)
    Document(title, (Section("precision, recall and F1", (table,)),), ()).save(folder, STEM, table, latex=False)
    return folder / f"{STEM}.md"
