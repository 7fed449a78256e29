"""Recall@K of teachers, students and references → tables: what ``pipeline.report.retrieval`` measured, and differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import losses
from pipeline.figures import bootstrap, statistics
from pipeline.figures.recall import KS, METRICS
from pipeline.figures.statistics import Cell, Comparison
from pipeline.losses import LossMix
from pipeline.report import tables
from pipeline.report.aggregation import BASELINE, STAMP, Key
from pipeline.report.wording import judged, number, p_value
from pipeline.runs import Record
from pipeline.runs.record import OfRole

BASELINE_MIX = str(LossMix.parse(BASELINE))

#: Rows that stand first and come from no run.
CHANCE, FEATURES = "random order", "features (standardised)"


@dataclass(frozen=True)
class Measured(OfRole):
    """One row: a mix, a teacher, or what no run made."""

    name: str
    role: str
    """teacher, student, or reference."""
    dimensions: int
    answers: dict[str, dict[Cell, np.ndarray]]
    """Metric → (fold, seed) → (queries, K) in percent."""
    sources: dict[int, np.ndarray]
    """Fold → (queries,) the recordings that the queries were cut from."""

    def figures(self, metric: str, k: int) -> dict[Cell, float]:
        """(fold, seed) → Recall@K in percent."""
        column = KS.index(k)
        return {at: float(each[:, column].mean()) for at, each in self.answers.get(metric, {}).items()}


def place(row: Measured) -> tuple[int, int, str]:
    references = (CHANCE, FEATURES)
    order = [published.mix for published in losses.TABLE3]
    if not row.is_teacher_or_student:
        return 0, references.index(row.name) if row.name in references else len(references), row.name
    if row.is_teacher:
        return 1, 0, row.name
    return 2, order.index(row.name) if row.name in order else len(order), row.name


def compared(
    row: Measured, found: Sequence[Measured], metric: str, k: int, ratio: float
) -> Comparison | None:
    """A student's row less the baseline's: paired by fold and seed, judged over folds; over recordings where few."""
    baseline = next((other for other in found if other.name == BASELINE_MIX), None)
    if baseline is None or row is baseline or not row.is_student:
        return None
    test = statistics.comparison(row.figures(metric, k), baseline.figures(metric, k), ratio)
    if test is None or test.units >= statistics.FEWEST:
        return test
    ours, theirs, column = row.answers[metric], baseline.answers[metric], KS.index(k)
    differences: dict[int, list[np.ndarray]] = {}
    for at in sorted(ours.keys() & theirs.keys()):
        differences.setdefault(at[0], []).append((ours[at] - theirs[at])[:, column])
    means = {fold: np.mean(own, axis=0) for fold, own in differences.items()}
    return dataclasses.replace(test, recordings=bootstrap.by_recording(means, row.sources))


@dataclass(frozen=True)
class Table:
    """The rows of one key, and their differences to the baseline at every metric and K."""

    found: list[Measured]
    tests: dict[tuple[str, int], list[Comparison | None]]
    mixes: int
    """Mixes besides the baseline that have runs, measured or not: what p (Holm) is adjusted for."""
    stopped: Mapping[str, int]
    """Mix → its runs that stopped, which have no space to measure."""

    def adjusted(self, metric: str, k: int) -> list[float | None]:
        return statistics.holm([test.p if test else None for test in self.tests[metric, k]], self.mixes)


def table_of(found: list[Measured], ratio: float, mixes: int, stopped: Mapping[str, int]) -> Table:
    tests = {
        (metric, k): [compared(row, found, metric, k, ratio) for row in found]
        for metric in METRICS
        for k in KS
    }
    return Table(found, tests, mixes, stopped)


def stopped_text(table: Table, row: Measured, test: Comparison | None) -> list[str]:
    """Of a row, and of its difference to a baseline that has stopped runs."""
    own, there = table.stopped.get(row.name, 0), table.stopped.get(BASELINE_MIX, 0)
    found = [f"{own} {'run' if own == 1 else 'runs'} stopped: not counted"] if own else []
    return found + ([f"{there} of the baseline stopped: not counted"] if there and test else [])


def grid(table: Table, metric: str) -> tables.Grid:
    tests, adjusted = table.tests[metric, KS[0]], table.adjusted(metric, KS[0])
    few, enough = (any(bool(own.no_claim) == kind for own in tests if own) for kind in (True, False))
    header = ("Model / mix", "D", *(f"R@{k}\n%" for k in KS), "SD over folds\n(R@1)", "SD over seeds\n(R@1)", "n",
              f"R@1 less\n{BASELINE}", "95 % interval\n(folds to come)", *(("95 % interval\n(recordings\nlike these)",) if few else ()),
              "folds", *(("p", "p\n(Holm)") if enough else ()), "Notes")  # fmt: skip
    lines = []
    for row, test, holm in zip(table.found, tests, adjusted, strict=True):
        spreads = [statistics.spread(own) if (own := row.figures(metric, k)) else None for k in KS]
        first = spreads[0]
        folds_interval, recordings_interval, units = judged(test)
        lines.append((
            row.name, str(row.dimensions or tables.NONE), *(number(one.mean if one else None) for one in spreads),
            number(first.sd_folds if first else None), number(first.sd_seeds if first else None), str(first.n if first else 0),
            number(test.difference if test else None, "+.2f"), folds_interval, *((recordings_interval,) if few else ()),
            units if test else tables.NONE, *((p_value(test.p if test else None), p_value(holm)) if enough else ()),
            "; ".join(filter(None, [test.no_claim if test else "", *stopped_text(table, row, test)])),
        ))  # fmt: skip
    said = {"euclidean": "Euclidean distance of the embeddings as they are",
            "cosine": "cosine distance (Euclidean of L2-normalised embeddings: the same order)"}  # fmt: skip
    shown = sum(test is not None for test in tests)
    count = f" {shown} of {table.mixes} mixes are compared to {BASELINE_MIX}." if table.mixes else ""
    return tables.Grid(f"Recall@K, {said[metric]}.{count}", header, tuple(lines), wide=True)


CSV = ("corpus", "synthetic", "preset", "settings", "data", "layer", "role", "mix", "dimensions", "metric", "k",
       "recall_percent", "sd_folds", "sd_seeds", "n", "difference_to_baseline", "ci95_low", "ci95_high", "folds_compared",
       "pairs", "sd_difference_folds", "sd_difference_pairs", "p", "p_holm", "mixes", "p_wilcoxon", "recordings_ci95_low",
       "recordings_ci95_high", "no_claim")  # fmt: skip


def csv_rows(key: Key, table: Table, first: Record, layer: str) -> Iterator[tuple[object, ...]]:
    """The cells of ``CSV``, by metric, K and row."""
    for (metric, k), tests in table.tests.items():
        for row, test, holm in zip(table.found, tests, table.adjusted(metric, k), strict=True):
            if not (values := row.figures(metric, k)):
                continue
            own, beside = statistics.spread(values), test.recordings if test else None
            yield (first.corpus, STAMP if first.synthetic else "", key.preset, key.digest, key.data, layer, row.role,
                   row.name, row.dimensions or None, metric, k, own.mean, own.sd_folds, own.sd_seeds, own.n,
                   *((test.difference, test.low, test.high, test.units, test.n, test.sd_units, test.sd_pairs, test.p, holm,
                      table.mixes, test.p_wilcoxon, beside and beside.low, beside and beside.high, test.no_claim)
                     if test else (None,) * 14))  # fmt: skip


NOTES = (
    "Queries are the held-out fold's clean clips. The gallery of each is the fold's other clips of other recordings; "
    "a query is answered at K if one of its K nearest has its class. Ties count by expectation.",
    "Mean: of the folds' means over seeds, of all runs that finished, also those whose accuracy is no better than chance. "
    "n: runs. p (Holm) is adjusted for all mixes that have runs, shown or not; of mixes that are not shown p is taken as 1.",
    f"{CHANCE}: expected value. {FEATURES}: the network's input, flattened. untrained: the students' network with "
    "the weights each run began with.",
)
