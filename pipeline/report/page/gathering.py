"""Run folders → what the page says of them: runs by mix, counts of confusions, the clips most confused."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import label_sets, report, runs
from pipeline.figures import evaluation
from pipeline.figures.statistics import Cell
from pipeline.plurals import many, plural
from pipeline.report.aggregation import (
    STAMP,
    by_table,
    cell,
    counted,
    percents,
)
from pipeline.runs import (
    Predictions,
    Record,
)
from pipeline.runs.damage import spared
from pipeline.runs.paths import named_in_path

#: Of each mix.
CLIPS_SHOWN = 10


@dataclass(frozen=True)
class Entry:
    """A row of a table with its runs."""

    row: report.Row
    records: tuple[Record, ...]
    """Finished ones, whether they count or not, by fold and seed."""

    @property
    def name(self) -> str:
        return self.row.name.removeprefix(f"{STAMP} ")

    @property
    def slug(self) -> str:
        """For names of files."""
        slug = self.records[0].slug or self.row.mix
        return named_in_path(re.sub(r"[^\w.+@-]+", "_", slug), beside=40) if self.row.mix else "teacher"

    @property
    def classes(self) -> tuple[str, ...]:
        return self.records[0].classes

    @property
    def several(self) -> bool:
        """Whether its clips have several labels each."""
        return self.row.several

    @property
    def counted(self) -> tuple[Record, ...]:
        """Those that the row's figures are over: all that have an accuracy, those no better than chance too."""
        return tuple(counted(self.records))

    @property
    def accuracies(self) -> dict[Cell, float]:
        """Percent, of the runs that count, as in the table."""
        return percents(self.counted, "score")

    @cached_property
    def histories(self) -> dict[Cell, list[dict[str, Any]]]:
        """Of the runs that count; of all where none does."""
        epochs = {cell(r): spared(partial(runs.read_metrics, r.folder)) for r in self.counted or self.records}
        return {at: records for at, records in epochs.items() if records}

    @cached_property
    def predictions(self) -> dict[Cell, Predictions]:
        """Of the runs that count, without those that are damaged (``damaged``)."""
        of_each = {cell(r): spared(partial(runs.read_predictions, r.folder)) for r in self.counted}
        return {at: predictions for at, predictions in of_each.items() if predictions}

    @property
    def damaged(self) -> list[str]:
        """The runs that count and whose predictions are not what was written."""
        return [r.name for r in self.counted if cell(r) not in self.predictions]

    @property
    def over(self) -> str:
        """Which runs a picture is of."""
        cells = sorted(self.predictions)
        return runs_text(cells)


@dataclass(frozen=True)
class Runs:
    """What stands in one table: runs of the same settings and data."""

    key: report.Key
    entries: tuple[Entry, ...]

    @property
    def folder(self) -> str:
        """Of its pictures."""
        return f"{self.key.preset}-{self.key.digest}-{self.key.data}"

    @property
    def teacher(self) -> Entry | None:
        return next((entry for entry in self.entries if entry.row.is_teacher), None)

    @property
    def student(self) -> Entry | None:
        """The first row of stage three."""
        return next((entry for entry in self.entries if entry.row.is_student), None)

    @property
    def baseline(self) -> Entry | None:
        return next((entry for entry in self.entries if entry.row.baseline), None)


def tables(rows: Sequence[report.Row], records: Sequence[Record]) -> list[Runs]:
    """The rows by table, each with the runs it was made of."""
    of_table = by_table(records)  # as the rows were made: a teacher may be of another preset's name
    return [
        Runs(key, tuple(Entry(row, members(row, of_table[key])) for row in rows if row.key == key))
        for key in dict.fromkeys(row.key for row in rows)
    ]


def members(row: report.Row, records: Iterable[Record]) -> tuple[Record, ...]:
    """The runs of a row, of those of its table."""
    return tuple(sorted((r for r in records if (r.role, r.row_mix) == (row.role, row.mix)), key=cell))


def runs_text(cells: Sequence[Cell]) -> str:
    folds, seeds = ({place for place, _ in cells}, {place for _, place in cells})
    return (
        f"{many(len(cells), 'run')}: {plural(len(folds), 'fold')} {listed(folds)}, "
        f"{plural(len(seeds), 'seed')} {listed(seeds)}."
    )


def listed(numbers: Iterable[int]) -> str:
    """ "1–3, 5": runs of three and more as a range."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}–{p[-1]}" if len(p) > 2 else ", ".join(map(str, p)) for p in parts)


def class_names(entry: Entry, count: int) -> tuple[str, ...]:
    """The run's own names, or numbers where it has not kept them."""
    return entry.classes if len(entry.classes) == count else tuple(f"class {i}" for i in range(count))


def confusion(predictions: Mapping[Cell, Predictions], folds: Iterable[int] | None = None) -> np.ndarray:
    """(classes, classes) int64, summed over the runs (of some folds): row the label, column the predicted class."""
    wanted = set(folds) if folds is not None else {fold for fold, _ in predictions}
    return np.sum(
        [evaluation.confusion(p.logits, p.labels) for (fold, _), p in predictions.items() if fold in wanted],
        axis=0,
    )


def average_precisions(predictions: Mapping[Cell, Predictions], folds: Iterable[int]) -> np.ndarray:
    """(classes,) float64: of each class the mean over the runs of some folds in which a clip has it; NaN where none has."""
    wanted = set(folds)
    each = [label_sets.average_precisions(p.labels, p.logits) for (fold, _), p in predictions.items() if fold in wanted]
    there = [np.isfinite(one) for one in each]
    counts = np.sum(there, axis=0)
    total = np.sum([np.where(know, one, 0.0) for one, know in zip(each, there)], axis=0)
    return np.divide(total, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def recalls(counts: np.ndarray) -> np.ndarray:
    """(classes,) float64: share of a label's clips on the diagonal; NaN for a label without clips."""
    clips = counts.sum(1)
    return np.divide(np.diag(counts), clips, out=np.full(len(counts), np.nan), where=clips > 0)


@dataclass(frozen=True)
class Confused:
    """A clip, over the runs that held it out."""

    clip: str
    label: int
    taken_for: int
    """The wrong class with the largest mean probability."""
    p_label: float
    p_taken: float
    """Mean probabilities."""
    wrong: int
    """Runs with another predicted class than the label."""
    runs: int


def confused(predictions: Mapping[Cell, Predictions], most: int = CLIPS_SHOWN) -> list[Confused]:
    """The clips that some run got wrong, those with the smallest mean probability of their label first."""
    each = list(predictions.values())
    if not each:
        return []
    softmax = np.exp(evaluation.log_softmax(np.concatenate([one.logits for one in each])))
    clips, places = np.unique(np.concatenate([one.clips for one in each]), return_inverse=True)
    labels = np.zeros(len(clips), np.int64)
    labels[places] = np.concatenate([one.labels for one in each])
    runs_of = np.bincount(places, minlength=len(clips))
    wrong = np.bincount(places[softmax.argmax(1) != labels[places]], minlength=len(clips))
    means = np.zeros((len(clips), softmax.shape[1]))
    np.add.at(means, places, softmax)
    means /= runs_of[:, None]
    others = means.copy()
    others[np.arange(len(clips)), labels] = -1.0
    taken = others.argmax(1)
    mistaken = [
        Confused(
            str(clips[place]),
            int(labels[place]),
            int(taken[place]),
            float(means[place, labels[place]]),
            float(means[place, taken[place]]),
            int(wrong[place]),
            int(runs_of[place]),
        )
        for place in np.flatnonzero(wrong)
    ]
    return sorted(mistaken, key=lambda one: (np.isnan(one.p_label), one.p_label, one.clip))[:most]


@dataclass(frozen=True)
class Sounds:
    """Where the clips' files are, and how a page in ``folder`` names them."""

    folder: Path
    files: Mapping[str, Path]

    def path(self, clip: str) -> Path | None:
        return self.files.get(clip)

    def source(self, clip: str) -> str | None:
        """The URL of a clip's file, relative to the page; ``file:`` on another drive; None where there is no file."""
        path = self.files.get(clip)
        if path is None or not path.is_file():
            return None
        try:
            relative = os.path.relpath(os.path.realpath(path), self.folder.resolve())
        except ValueError:  # another drive on Windows
            return Path(os.path.realpath(path)).as_uri()
        return urllib.parse.quote(Path(relative).as_posix())
