"""The table of ``bench.students``: accuracies with their spreads, differences with intervals, and what each student costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import sound_to_class
from bench.student_rows import Row
from bench.student_world import World
from pipeline import models, places
from pipeline.deploy import export, latency
from pipeline.deploy.graph import graph
from pipeline.deploy.int8 import quantised
from pipeline.figures import statistics
from pipeline.figures.statistics import Cell
from pipeline.models.saved import network_of, sound_features
from pipeline.plurals import many
from pipeline.report import recordings
from pipeline.report.aggregation import cell, counted, percents, ratio
from pipeline.report.table import NONE, interval, number, signed
from pipeline.report.table import counted as with_commas
from pipeline.runs import Record
from pipeline.runs.weights import read_weights

CAPTION = "Preset: chosen on these folds or from the study, optimistic."
FIGURES = ("accuracy, %", "SD of folds", "SD of seeds", "n")
HEAD = (
    *("student", *FIGURES, "training, min a run", "weights", "multiply-adds"),
    *("sound to class, ms CPU", "the same as one file", "int8 less float, points"),
)
INTERVALS = ("95 % over folds", "95 % over recordings", "pairs")
PAIRED = ("difference, points", "mean", *INTERVALS, "asked for")
NOTES = """Accuracy: of the last epoch on the held-out fold's clean clips, the mean of the folds' means; SD of folds: of these means; SD of seeds:
of the seeds' means over all folds. A teacher has the seeds that teach, which all students of its fold share. Training: wall time of a pack shared
among its runs, without features. Sound to class: features and network of a clip of {seconds:g} s on one thread, CPU time, median of calls in
turn (`python -m bench.sound_to_class`); Python's features with the ONNX student, and one file where the features allow it. int8: of the
ONNX student, mean over the runs, each on its held-out fold. Differences: by fold, seeds averaged first; the interval over folds is that
of the corrected t-test (Nadeau and Bengio 2003), that over recordings a bootstrap of these folds' recordings; of so few folds
neither is a claim about others."""


@dataclass(frozen=True)
class Costs:
    """Of a row: ms from sound to class in Python and in one file, and what int8 loses; of teachers, which are not shipped, it is not asked."""

    python: float
    one_file: float | None
    int8: float | None


def text(world: World, rows: Sequence[Row], pairs: Sequence[tuple[str, str, float | None]], *, costs: bool) -> str:
    """Markdown of part ``presets``. ``pairs``: the differences; ``costs``: whether times and int8 are measured now."""
    records = {row.name: world.records(row) for row in rows}
    measured = costs_of({name: there for name, there in records.items() if there}) if costs else {}
    first = markdown(HEAD, [line(name, there, measured.get(name)) for name, there in records.items()])
    lines = [
        (f"{row} − {other}", *difference(records[row], records[other]), asked_for(points))
        for row, other, points in pairs
    ]
    notes = NOTES.format(seconds=world.corpus.seconds)
    return joined(world, CAPTION, first, markdown(PAIRED, lines), *lacking(world, rows), notes)


def joined(world: World, caption: str, *parts: str) -> str:
    """Paragraphs below what they are of."""
    corpus = world.corpus
    stamp = ["SYNTHETIC: made-up sounds; these figures say nothing about real ones."] if corpus.synthetic else []
    folds = ", ".join(map(str, world.folds))
    first = f"**{caption} {corpus.name}, {len(corpus.clips):,} clips, folds {folds}, on {latency.processor()}.**"
    return "\n\n".join([*stamp, first, *parts]) + "\n"


def lacking(world: World, rows: Sequence[Row]) -> list[str]:
    """A line that says which rows have missing runs; nothing where none has."""
    left = [f"{row.name} ({many(len(missing), 'run')})" for row in rows if (missing := world.missing(row))]
    return [f"Not all trained yet: {'; '.join(left)}."] if left else []


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[*head], ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def asked_for(points: float | None) -> str:
    """What was asked of a difference: 0 of one that is above."""
    return NONE if points is None else f"at least {signed(points)}" if points else "above 0"


def figures(records: Sequence[Record]) -> tuple[str, ...]:
    """The cells of ``FIGURES``."""
    values = percents(counted(records), "accuracy")
    if not values:
        return (NONE, NONE, NONE, f"0 ({len(records)} stopped)" if records else NONE)
    spread = statistics.spread(values)
    stopped = f" ({len(records) - len(values)} stopped)" if len(values) < len(records) else ""
    return (number(spread.mean), number(spread.sd_folds), number(spread.sd_seeds), f"{len(values)}{stopped}")


def minutes(records: Sequence[Record]) -> str:
    """Wall time of a run, its share of its pack's."""
    results = [record.result for record in records]
    each = [one.seconds / one.runs_in_pack / 60 for one in results if one.seconds and one.runs_in_pack]
    return number(float(np.mean(each)) if each else None)


def line(name: str, records: Sequence[Record], costs: Costs | None) -> tuple[str, ...]:
    """A row's cells."""
    size = (NONE, NONE)
    if records:
        network = models.network(records[0].model, records[0].shape, len(records[0].classes))
        size = (with_commas(records[0].result.parameters), with_commas(latency.multiply_adds(network)))
    return (
        name,
        *figures(records),
        minutes(records),
        *size,
        number(costs.python if costs else None),
        number(costs.one_file if costs else None),
        signed(costs.int8 if costs else None),
    )


def difference(records: Sequence[Record], other: Sequence[Record]) -> tuple[str, ...]:
    """The mean and the cells of ``INTERVALS`` of runs less others, by fold and seed; of a teacher and a student each run is beside each."""
    ours, theirs = counted(records), counted(other)
    if not ours or not theirs:
        return (NONE,) * 4
    values, base = (percents(side, "accuracy") for side in (ours, theirs))
    voters, base_voters = ({cell(record): [record.folder] for record in side} for side in (ours, theirs))
    if theirs[0].is_teacher != ours[0].is_teacher:
        values, base = each_beside_each(values, base)
        voters, base_voters = each_beside_each(voters, base_voters)
    if not (compared := statistics.comparison(values, base, ratio(ours[0]))):
        return (NONE,) * 4
    drawn = recordings.interval(voters, base_voters)
    folds = interval((compared.low, compared.high))
    return (signed(compared.difference), folds, interval((drawn.low, drawn.high)), str(compared.n))


def each_beside_each(ours: Mapping[Cell, Any], theirs: Mapping[Cell, Any]) -> tuple[dict[Cell, Any], dict[Cell, Any]]:
    """Both sides with all pairs of a fold's runs, numbered in place of seeds: a teacher's seed is not that of the student beside it.
    The mean of their differences is the difference of the means."""
    pairs = [(one, other) for one in ours for other in theirs if one[0] == other[0]]
    cells = [(one[0], place) for place, (one, _) in enumerate(pairs)]
    return (
        {cell: ours[one] for cell, (one, _) in zip(cells, pairs)},
        {cell: theirs[other] for cell, (_, other) in zip(cells, pairs)},
    )


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
        lost = [int8_difference(record) for record in counted(records) if not record.is_teacher]
        one = one_file.median if one_file else None
        costs[name] = Costs(python.median, one, float(np.mean(lost)) if lost else None)
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
