"""Recall@K of an experiment's rows whose terms train embeddings alone: on held-out folds, and on classes that nobody in a run's chain saw.

Accuracy says nothing of such runs. Queries and galleries are those of ``retrieval``: every clip once, against clips of other recordings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pipeline import losses, runs, samplers
from pipeline.config import InputError
from pipeline.errors import Damaged
from pipeline.figures import recall as figures
from pipeline.figures import statistics
from pipeline.figures.recall import KS, METRICS
from pipeline.figures.statistics import Cell, Comparison
from pipeline.report import few_shot
from pipeline.report.aggregation import ratio
from pipeline.report.alike import kind_of, told_apart
from pipeline.report.features_of import features_of
from pipeline.report.table import Column, Section, Table, interval, number, of, signed
from pipeline.report.wording import ends, of_windows
from pipeline.runs import Record
from pipeline.runs.damage import spared
from pipeline.teacher_files import is_teacher_file

TITLES = {
    "folds": "Recall@K of the held-out fold's clean clips, of a run's own classes, %, mean over runs.",
    "classes": (
        "Recall@K of the clean clips, of all folds, of classes that no run of the chain saw, without recordings of which a clip has "
        "another class, %, mean over runs."
    ),
}

COMPARED = (
    "Behind them R@1 less that of the same network by triplets alone, trained with the same settings: paired by fold and seed, with the 95 % "
    "interval over folds to come."
)

#: What distilled spaces are compared to.
TRIPLETS = str(losses.LossMix.parse("triplet:1,soft:0"))

UNANSWERED = "No Recall@K of held-out folds: none of these has two recordings of one class, and a clip is sought among those of other recordings."


@dataclass
class Row:
    """What runs of one name answer, by one metric."""

    name: str
    metric: str
    first: Record
    """One of the runs."""
    each: list[tuple[Cell, list[float]]] = field(default_factory=list)
    """Of each run (fold, seed), and Recall@K in [0, 1], in the order of ``KS``."""
    test: Comparison | None = None
    """R@1 in percent, less that of triplets alone."""

    @property
    def runs(self) -> int:
        return len(self.each)

    def at(self, place: int) -> float:
        return float(100 * np.mean([values[place] for _, values in self.each]))

    @property
    def by_cell(self) -> dict[Cell, float]:
        """(fold, seed) → R@1 in percent; where there are several runs, of drawn classes, their mean."""
        cells = dict.fromkeys(cell for cell, _ in self.each)
        return {cell: float(100 * np.mean([values[0] for at, values in self.each if at == cell])) for cell in cells}


def at(row: Row, place: int) -> float:
    return row.at(place)


COLUMNS = (
    Column("row", of("name"), "Row"),
    Column("metric", of("metric"), "metric"),
    *(Column(f"recall_{k}_percent", partial(at, place=place), f"R@{k}", "%", number) for place, k in enumerate(KS)),
    Column("recall_1_less_triplets", of("test.difference"), "R@1 less\ntriplets", format=signed),
    Column("ci95_low", of("test.low")),
    Column("ci95_high", of("test.high")),
    Column("", lambda row: ends(row.test), "95 %\ninterval", format=interval),
    Column("folds_compared", of("test.units"), "folds"),
    Column("runs", of("runs"), "runs"),
)


def section(by_name: Mapping[str, Sequence[Record]]) -> tuple[Section, ...]:
    """The tables, where a row trains no outputs and learns from no episodes; else nothing.

    Runs whose features are gone or changed are left out; of damaged ones the command's end tells.
    """
    named = [(name, record) for name, members in by_name.items() for record in members if not record.several_labels]
    spaces = [record for _, record in named if record.result.outputs_untrained]
    if not any(not samplers.episode_of(record.trained_by.sampler) for record in spaces):
        return ()
    others = teachers_of([record for _, record in named])
    own = {record.folder for _, record in named}
    keyed = [
        ((f"{one.step or one.mix_text} (teacher)", kind_of(one)), one)
        for one in others.values()
        if one.folder not in own
    ]
    firsts: dict[tuple[str, str], Record] = {}
    for key, one in keyed:
        firsts.setdefault(key, one)
    names, unlike = told_apart(firsts)
    teachers = [(names[key], one) for key, one in keyed]
    rows: dict[str, dict[tuple[str, str], Row]] = {kind: {} for kind in TITLES}
    heard = 0  # runs whose files could be read
    for name, record in (*teachers, *named):
        if record.result.failed or record.is_of_images:
            continue
        found = spared(partial(measured, record))
        heard += found is not None
        for kind, metric, values in found or ():
            rows[kind].setdefault((name, metric), Row(name, metric, record)).each.append((record.cell, values))
    compared = [compare(list(of_kind.values())) for of_kind in rows.values()]
    about = [*([COMPARED] if any(compared) else []), *of_windows([record for _, record in named]), *unlike]
    titles = {kind: " ".join([title, *about]) for kind, title in TITLES.items()}
    if heard and not rows["folds"]:
        titles["classes"] = f"{UNANSWERED} {titles['classes'] if rows['classes'] else ''}".strip()
    tables = [Table.build(titles[kind], COLUMNS, of_kind.values()) for kind, of_kind in rows.items() if of_kind]
    if heard and not tables:
        tables = [Table.build(UNANSWERED, COLUMNS[:1], ())]
    return (Section("retrieval", tuple(tables)),) if tables else ()


def compare(rows: Sequence[Row]) -> bool:
    """Give each row that has such a one its difference to triplets alone; whether any has."""
    alone = [row for row in rows if row.first.mix_text == TRIPLETS]
    for row in rows:
        one = row.first
        fitting = [other for other in alone if other.metric == row.metric and trained_alike(other.first, one)]
        if len(fitting) == 1 and row not in alone:
            row.test = statistics.comparison(row.by_cell, fitting[0].by_cell, ratio(one))
    return any(row.test for row in rows)


def trained_alike(one: Record, other: Record) -> bool:
    """Whether two networks are the same, and were trained with the same settings on the same clips."""
    return (one.trained_by, one.settings.features, one.data_digest) == (
        other.trained_by,
        other.settings.features,
        other.data_digest,
    )


def teachers_of(records: Sequence[Record]) -> dict[Path, Record]:
    """Folder → the runs that taught some, and those that taught these, and so on: of generations all."""
    others: dict[Path, Record] = {}
    waiting = list(records)
    while waiting:
        for parent in waiting.pop(0).teachers:
            if parent in others or is_teacher_file(parent):
                continue
            if record := spared(partial(runs.read, parent)):
                others[parent] = record
                waiting.append(record)
    return others


def measured(record: Record) -> list[tuple[str, str, list[float]]]:
    """(kind, metric, Recall@K) of a run; without those that have no query. ``Damaged`` where its files cannot be read."""
    import torch

    from pipeline import training
    from pipeline.engine import packs, subsets
    from pipeline.engine.records import model_of, read_model

    try:
        data = features_of(record)
    except InputError as error:
        raise Damaged(str(error)) from None
    test, labels = subsets.held_out(record, data)
    groups = {"folds": (test, labels, [data.sources[clip] for clip in test])}
    if record.trained_by.classes:
        try:
            clips, of_classes, recordings = few_shot.pool_of(data, few_shot.unseen(record, data.classes))
            groups["classes"] = (clips, of_classes, [str(one) for one in recordings])
        except InputError:  # somebody in its chain saw all classes
            pass
    values, _ = packs.samples(data, torch.device("cpu"))
    network = model_of(read_model(record.folder))
    results = []
    for kind, (clips, own, sources) in groups.items():
        if not len(clips):
            continue
        rows = clips * data.features.shape[1]
        told = training.outputs(network, values, rows, ("embedding",)).embedding[torch.from_numpy(rows)].numpy()
        for metric in METRICS:
            recalls = list(figures.recall(told, own, sources, metric=metric).values())
            if np.isfinite(recalls).all():
                results.append((kind, metric, recalls))
    return results
