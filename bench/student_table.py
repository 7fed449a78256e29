"""The table of ``bench.students``: accuracies with their spreads, differences with intervals, and what each student costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import sound_to_class
from pipeline import models, places
from pipeline.config import InputError
from pipeline.corpus import Corpus
from pipeline.deploy import export, latency
from pipeline.deploy.graph import graph
from pipeline.deploy.int8 import quantised
from pipeline.figures import statistics
from pipeline.figures.statistics import Cell
from pipeline.models.saved import network_of, sound_features
from pipeline.report import recordings
from pipeline.report.aggregation import cell, counted, percents, ratio
from pipeline.report.table import NONE, Table, interval, number, signed
from pipeline.report.table import counted as with_commas
from pipeline.runs import Record
from pipeline.runs.weights import read_weights

CAPTION = "Preset: chosen on these folds or from the study, optimistic."
BEGIN, END = "<!-- bench.students: begin -->", "<!-- bench.students: end -->"
HEAD = (
    *("student", "accuracy, %", "SD of folds", "SD of seeds", "n", "training, min a run", "weights", "multiply-adds"),
    *("sound to class, ms CPU", "the same as one file", "int8 less float, points"),
)
PAIRED = ("difference, points", "mean", "95 % over folds", "95 % over recordings", "pairs")
NOTES = """Accuracy: of the last epoch on the held-out fold's clean clips, the mean of the folds' means; SD of folds: of these means; SD of seeds:
of the seeds' means over all folds. A teacher has one seed, which all students of its fold share. Training: wall time of a pack shared
among its runs, without features. Sound to class: features and network of a clip of {seconds:g} s on one thread, CPU time, median of calls in
turn (`python -m bench.sound_to_class`); Python's features with the ONNX student, and one file where the features allow it. int8: of the
ONNX student, mean over the runs, each on its held-out fold. Differences: by fold, seeds averaged first; the interval over folds is that
of the corrected t-test (Nadeau and Bengio 2003), that over recordings a bootstrap of these folds' recordings; of so few folds
neither is a claim about others."""


@dataclass(frozen=True)
class Asked:
    """A difference: ``row`` less ``other``."""

    row: str
    other: str


@dataclass(frozen=True)
class Costs:
    """Of a row: ms from sound to class in Python and in one file, and what int8 loses."""

    python: float
    one_file: float | None
    int8: float


def text(
    rows: Mapping[str, Sequence[Record]], asked: Sequence[Asked], lacking: Sequence[str], corpus: Corpus, *, costs: bool
) -> str:
    """Markdown. ``lacking``: rows with missing runs; ``costs``: whether times and int8 are measured now."""
    measured = costs_of(rows) if costs else {}
    stamp = "SYNTHETIC: made-up sounds; these figures say nothing about real ones.\n\n" if corpus.synthetic else ""
    caption = f"{CAPTION} {corpus.name}, {len(corpus.clips):,} clips, folds {', '.join(map(str, corpus.folds))}, on {latency.processor()}."
    first = Table.of_texts("", HEAD, [line(name, records, measured.get(name)) for name, records in rows.items()])
    second = Table.of_texts("", PAIRED, [difference(one, rows) for one in asked])
    left = f"Not all trained yet: {'; '.join(lacking)}.\n\n" if lacking else ""
    notes = NOTES.format(seconds=corpus.seconds)
    parts = [f"{stamp}**{caption}**", markdown(first), *([markdown(second)] if asked else []), f"{left}{notes}"]
    return "\n\n".join(parts) + "\n"


def markdown(table: Table) -> str:
    lines = [[column.header for column in table.columns], ["---", *["---:"] * (len(table.columns) - 1)]]
    return "\n".join(f"| {' | '.join(map(str, each))} |" for each in [*lines, *table.rows])


def line(name: str, records: Sequence[Record], costs: Costs | None) -> tuple[str, ...]:
    """A row's cells."""
    values = percents(counted(records), "accuracy")
    spread = statistics.spread(values) if values else None
    results = [record.result for record in records]
    minutes = [one.seconds / one.runs_in_pack / 60 for one in results if one.seconds and one.runs_in_pack]
    network = models.network(records[0].model, records[0].shape, len(records[0].classes))
    stopped = f" ({len(records) - len(values)} stopped)" if len(values) < len(records) else ""
    return (
        name,
        number(spread.mean if spread else None),
        number(spread.sd_folds if spread else None),
        number(spread.sd_seeds if spread else None),
        f"{len(values)}{stopped}",
        number(float(np.mean(minutes)) if minutes else None),
        with_commas(results[0].parameters),
        with_commas(latency.multiply_adds(network)),
        number(costs.python if costs else None),
        number(costs.one_file if costs else None),
        signed(costs.int8 if costs else None),
    )


def difference(asked: Asked, rows: Mapping[str, Sequence[Record]]) -> tuple[str, ...]:
    """A row less another with both intervals; a teacher, of one seed, is beside each of the students' seeds."""
    ours, theirs = (counted(rows[name]) for name in (asked.row, asked.other))
    values, base = (percents(side, "accuracy") for side in (ours, theirs))
    voters, base_voters = ({cell(record): [record.folder] for record in side} for side in (ours, theirs))
    if theirs and theirs[0].is_teacher:
        base, base_voters = beside(base, values), beside(base_voters, values)
    name = f"{asked.row} − {asked.other}"
    if not (compared := statistics.comparison(values, base, ratio(ours[0])) if ours else None):
        return (name, *[NONE] * 4)
    drawn = recordings.interval(voters, base_voters)
    folds = interval((compared.low, compared.high))
    return (name, signed(compared.difference), folds, interval((drawn.low, drawn.high)), str(compared.n))


def beside(one: Mapping[Cell, Any], cells: Mapping[Cell, object]) -> dict[Cell, Any]:
    """What a fold's only seed has, for every seed of it."""
    of_fold = {fold: value for (fold, _), value in one.items()}
    return {at: of_fold[at[0]] for at in cells if at[0] in of_fold}


def costs_of(rows: Mapping[str, Sequence[Record]]) -> dict[str, Costs]:
    """Times of all rows in one run, by network and features; int8 of every run."""
    calls = {}
    kinds = {}
    for name, records in rows.items():
        payload = read_weights(records[0].folder)
        kinds[name] = (records[0].model, sound_features(payload, records[0].folder))
    for model, spec in dict.fromkeys(kinds.values()):
        calls |= {(model, spec, form): call for form, call in sound_to_class.ways(model, spec).items()}
    times = sound_to_class.measured(calls, 40)
    costs = {}
    for name, records in rows.items():
        python, one_file = (
            times.get((*kinds[name], form)) for form in (sound_to_class.PYTHON, sound_to_class.ONE_FILE)
        )
        lost = [int8_difference(record) for record in counted(records)]
        one = one_file.median if one_file else None
        costs[name] = Costs(python.median, one, float(np.mean(lost)) if lost else float("nan"))
    return costs


def int8_difference(record: Record) -> float:
    """Accuracy of int8 less float on the held-out fold, in points; ``InputError`` as of ``export``."""
    payload = read_weights(record.folder)
    network, spec = network_of(payload), sound_features(payload, record.folder)
    data = export.held_out(record, spec, places.cache(), 400)
    model = graph(network)
    contents = {export.FLOAT: model.SerializeToString(), export.INT8: quantised(model, data.calibration)}
    proven = export.proof(network, contents, data)
    return 100 * (proven["accuracy_int8"] - proven["accuracy_float"])


def placed(table: str, file: Path) -> str:
    """``file`` with the table in place of what stands between its two marks; the table with marks alone where it has none."""
    block = f"{BEGIN}\n{table}{END}\n"
    old = file.read_text() if file.exists() else ""
    before, begin, rest = old.partition(BEGIN)
    if not begin:
        if old.strip():
            raise InputError(f"{file}: has text and no {BEGIN}; expected that mark and {END} where the table belongs")
        return f"# Students\n\n{block}"
    _, end, after = rest.partition(END)
    if not end:
        raise InputError(f"{file}: {BEGIN} and no {END}; expected both where the table belongs")
    return before + block + after.removeprefix("\n")
