"""Recall@K of teachers, students and references → tables: what ``pipeline.report.retrieval`` measured, and differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.figures import bootstrap, statistics
from pipeline.figures.recall import KS, METRICS
from pipeline.figures.statistics import Cell, Comparison
from pipeline.losses import LossMix
from pipeline.plurals import many
from pipeline.report import paper
from pipeline.report.aggregation import BASELINE, STAMP, Key
from pipeline.report.table import FULL, Column, Table, interval, joined, number, of, p_value, signed
from pipeline.report.wording import ends
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
    if not row.is_teacher_or_student:
        return 0, references.index(row.name) if row.name in references else len(references), row.name
    if row.is_teacher:
        return 1, 0, row.name
    return 2, *paper.place(paper.TABLE3, row.name)


def compared(row: Measured, measured: Sequence[Measured], metric: str, k: int, ratio: float) -> Comparison | None:
    """A student's row less the baseline's: paired by fold and seed, judged over folds; over recordings where few."""
    baseline = next((other for other in measured if other.name == BASELINE_MIX), None)
    if baseline is None or row is baseline or not row.is_student:
        return None
    test = statistics.comparison(row.figures(metric, k), baseline.figures(metric, k), ratio)
    if test is None or test.units >= statistics.FEWEST:
        return test
    ours, theirs, column = row.answers[metric], baseline.answers[metric], KS.index(k)
    differences: dict[int, list[np.ndarray]] = {}
    for at in sorted(ours.keys() & theirs.keys()):
        differences.setdefault(at[0], []).append((ours[at] - theirs[at])[:, column])
    means = {fold: np.mean(of_fold, axis=0) for fold, of_fold in differences.items()}
    return dataclasses.replace(test, recordings=bootstrap.by_recording(means, row.sources))


@dataclass(frozen=True)
class Measurements:
    """The rows of one key, and their differences to the baseline at every metric and K."""

    rows: list[Measured]
    tests: dict[tuple[str, int], list[Comparison | None]]
    mixes: int
    """Mixes besides the baseline that have runs, measured or not: what p (Holm) is adjusted for."""
    stopped: Mapping[str, int]
    """Mix → its runs that stopped, which have no space to measure."""

    def adjusted(self, metric: str, k: int) -> list[float | None]:
        return statistics.holm([test.p if test else None for test in self.tests[metric, k]], self.mixes)


def table_of(measured: list[Measured], ratio: float, mixes: int, stopped: Mapping[str, int]) -> Measurements:
    tests = {
        (metric, k): [compared(row, measured, metric, k, ratio) for row in measured] for metric in METRICS for k in KS
    }
    return Measurements(measured, tests, mixes, stopped)


@dataclass(frozen=True)
class Line:
    """A row at one metric and K, with its difference to the baseline."""

    key: Key
    corpus: str
    synthetic: bool
    layer: str
    metric: str
    k: int
    mixes: int
    row: Measured
    test: Comparison | None
    p_holm: float | None
    stopped: tuple[int, int]
    """Runs of the row, and of its baseline, that stopped."""

    @property
    def spread(self) -> statistics.Spread | None:
        return self.at(self.k)

    def at(self, k: int) -> statistics.Spread | None:
        """Of Recall@K in percent."""
        values = self.row.figures(self.metric, k)
        return statistics.spread(values) if values else None

    @property
    def notes(self) -> str:
        here, there = self.stopped
        return joined(
            [
                self.test.no_claim if self.test else "",
                f"{many(here, 'run')} stopped: not counted" if here else "",
                f"{there} of the baseline stopped: not counted" if there and self.test else "",
            ]
        )


def lines(table: Measurements, key: Key, record: Record, layer: str, metric: str, k: int) -> list[Line]:
    """One per row. ``record``: any run of the table."""
    there = table.stopped.get(BASELINE_MIX, 0)
    return [
        Line(
            key,
            record.corpus,
            record.synthetic,
            layer,
            metric,
            k,
            table.mixes,
            row,
            test,
            p_holm,
            (table.stopped.get(row.name, 0), there),
        )
        for row, test, p_holm in zip(table.rows, table.tests[metric, k], table.adjusted(metric, k), strict=True)
    ]


def recall_at(k: int) -> Column:
    def mean(line: Line) -> float | None:
        spread = line.at(k)
        return spread.mean if spread else None

    return Column("", mean, f"R@{k}", "%", number)


def full(key: str, path: str) -> Column:
    """A column of the CSV that rounds nothing."""
    return Column(key, of(path), digits=FULL)


#: Every column of ``retrieval.csv``, in its order.
CSV = (
    Column("corpus", of("corpus")),
    Column("synthetic", lambda line: STAMP if line.synthetic else ""),
    Column("preset", of("key.preset")),
    Column("settings", of("key.digest")),
    Column("data", of("key.data")),
    Column("layer", of("layer")),
    Column("role", of("row.role")),
    Column("mix", of("row.name")),
    Column("dimensions", lambda line: line.row.dimensions or None),
    Column("metric", of("metric")),
    Column("k", of("k")),
    full("recall_percent", "spread.mean"),
    *(full(name, f"spread.{name}") for name in ("sd_folds", "sd_seeds", "n")),
    full("difference_to_baseline", "test.difference"),
    full("ci95_low", "test.low"),
    full("ci95_high", "test.high"),
    full("folds_compared", "test.units"),
    full("pairs", "test.n"),
    full("sd_difference_folds", "test.sd_units"),
    full("sd_difference_pairs", "test.sd_pairs"),
    full("p", "test.p"),
    Column("p_holm", lambda line: line.p_holm if line.test else None, digits=FULL),
    Column("mixes", lambda line: line.mixes if line.test else None),
    full("p_wilcoxon", "test.p_wilcoxon"),
    full("recordings_ci95_low", "test.recordings.low"),
    full("recordings_ci95_high", "test.recordings.high"),
    Column("no_claim", of("test.no_claim")),
)

DISTANCES = {
    "euclidean": "Euclidean distance of the embeddings as they are",
    "cosine": "cosine distance (Euclidean of L2-normalised embeddings: the same order)",
}


def recall_table(measured: Measurements, rows: Sequence[Line]) -> Table:
    """``rows``: those of one metric at the first K; the other K stand beside it."""
    tests = [line.test for line in rows if line.test]
    few, enough = any(test.no_claim for test in tests), any(not test.no_claim for test in tests)
    recordings = of("test.recordings")
    columns = [
        Column("", of("row.name"), "Model / mix"),
        Column("", lambda line: line.row.dimensions or None, "D"),
        *map(recall_at, KS),
        Column("", of("spread.sd_folds"), "SD over folds\n(R@1)", format=number),
        Column("", of("spread.sd_seeds"), "SD over seeds\n(R@1)", format=number),
        Column("", lambda line: line.spread.n if line.spread else 0, "n"),
        Column("", of("test.difference"), f"R@1 less\n{BASELINE}", format=signed),
        Column("", lambda line: ends(line.test), "95 % interval\n(folds to come)", format=interval),
        *(
            [
                Column(
                    "", lambda line: ends(recordings(line)), "95 % interval\n(recordings\nlike these)", format=interval
                )
            ]
            if few
            else []
        ),
        Column("", of("test.units"), "folds"),
        *(
            [Column("", of("test.p"), "p", format=p_value), Column("", of("p_holm"), "p\n(Holm)", format=p_value)]
            if enough
            else []
        ),
        Column("", of("notes"), "Notes", prose=True),
    ]
    count = f" {len(tests)} of {measured.mixes} mixes are compared to {BASELINE_MIX}." if measured.mixes else ""
    return Table.build(f"Recall@K, {DISTANCES[rows[0].metric]}.{count}", columns, rows)


NOTES = (
    "Queries are the held-out fold's clean clips. The gallery of each is the fold's other clips of other recordings; "
    "a query is answered at K if one of its K nearest has its class. Ties count by expectation.",
    "Mean: of the folds' means over seeds, of all runs that finished, also those whose accuracy is no better than chance. "
    "n: runs. p (Holm) is adjusted for all mixes that have runs, shown or not; of mixes that are not shown p is taken as 1.",
    f"{CHANCE}: expected value. {FEATURES}: the network's input, flattened. untrained: the students' network with "
    "the weights each run began with.",
)
