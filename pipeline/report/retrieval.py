"""``retrieval``: Recall@K of the embeddings that teachers and students give the held-out fold's clean clips.

Everything comes from what the runs left: ``model.pt``, and the cached features of the fold that the run held out.
Beside the runs stand three rows that no training made: the random order, the standardised features themselves, and
the students' network before its first step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import (
    cache,
    config,
    losses,
    models,
    runs,
    training,
)
from pipeline.config import FeatureSpec, InputError
from pipeline.engine import packs
from pipeline.engine.records import model_of, read_model
from pipeline.figures import recall as retrieval
from pipeline.figures import statistics
from pipeline.figures.recall import KS, METRICS
from pipeline.figures.statistics import Cell
from pipeline.losses import LossMix
from pipeline.report import tables
from pipeline.report.aggregation import (
    BASELINE,
    STAMP,
    Key,
    cell,
    key_of,
    mix_of,
    unique,
)
from pipeline.report.wording import number, p_value, taught_by_others
from pipeline.runs import Record

BASELINE_MIX = str(LossMix.parse(BASELINE))

#: Rows that stand first and come from no run.
CHANCE, FEATURES = "random order", "features (standardised)"

Figures = dict[tuple[str, int], dict[Cell, float]]
"""(metric, K) → (fold, seed) → Recall@K in percent."""


@dataclass(frozen=True)
class Measured:
    """One row: a mix, a teacher, or what no run made."""

    name: str
    role: str
    """teacher, student, or reference."""
    dimensions: int
    figures: Figures


# ------------------------------------------------------------------------------------------------- measuring


def measured(records: Sequence[Record], root: Path, layer: str) -> list[Measured]:
    """The rows of one table: references, teacher, students in the order of the report."""
    found: dict[tuple[str, str], Measured] = {}
    drawn: set[tuple[tuple[str, str], Cell]] = set()

    def keep(role: str, name: str, dimensions: int, at: Cell, figures: dict[tuple[str, int], float]) -> None:
        row = found.setdefault((role, name), Measured(name, role, dimensions, {}))
        for key, value in figures.items():
            if not math.isnan(value):
                row.figures.setdefault(key, {})[at] = 100 * value

    for fold in sorted({cell(record)[0] for record in records}):
        own = [record for record in records if cell(record)[0] == fold]
        data = held_out(own[0], fold, root)
        samples, _ = packs.samples(data, torch.device("cpu"))
        rows = packs.rows(data, fold)[1]
        keep("reference", CHANCE, 0, (fold, 0), figures(np.zeros((len(rows), 1)), data))
        for record in own:
            network = model_of(read_model(record.folder))
            own_role, at = record.config["role"], cell(record)
            values = embedding(network, samples, rows, layer if own_role == "student" else "embedding")
            name = mix_of(record.config) or f"{network.name} (teacher)"
            keep(own_role, name, values.shape[1], at, figures(values, data))
            first = f"{network.name}, untrained"
            if own_role == "student" and (("reference", first), at) not in drawn:
                drawn.add((("reference", first), at))
                values = embedding(untrained(network, *at), samples, rows, layer)
                keep("reference", first, values.shape[1], at, figures(values, data))
        plain = ((samples[rows] - network.mean) / network.std).flatten(1).numpy()
        keep("reference", FEATURES, plain.shape[1], (fold, 0), figures(plain, data))
    return sorted(found.values(), key=place)


def held_out(record: Record, fold: int, root: Path) -> cache.Data:
    """The features of the fold that a run held out; ``InputError`` where they are gone or are not the run's own."""
    spec = config.build(FeatureSpec, record.config["settings"]["features"], f"{record.folder}/config.json")
    path = cache.fold_path(root, record.config["corpus"], spec, fold)
    if not path.is_file():
        raise InputError(f"no features of fold {fold} in {path.parent}, which {record.folder} was tested on; make them "
                         "again: make features with the same dataset and settings")  # fmt: skip
    data = cache.load([path])
    if data.digests[fold] != record.config["data"].get(str(fold)):
        raise InputError(f"{path} is of other clips than {record.folder} was tested on (clips were added, removed or "
                         "changed since); remove the run and train again")  # fmt: skip
    return data


def figures(embeddings: np.ndarray, data: cache.Data) -> dict[tuple[str, int], float]:
    return {
        (metric, k): value
        for metric in METRICS
        for k, value in retrieval.recall(embeddings, data.labels, data.sources, metric=metric).items()
    }


def embedding(network: models.Network, samples: torch.Tensor, rows: np.ndarray, layer: str) -> np.ndarray:
    """(test clips, D) float32: ``embedding`` is the flattened layer, ``hidden`` the one behind it."""
    said = training.outputs(network, samples, rows)
    return np.asarray(getattr(said, layer)[torch.from_numpy(rows)].numpy())


def untrained(network: models.Network, fold: int, seed: int) -> models.Network:
    """The same network with its first weights, and its normalisation."""
    fresh = models.network(network.name, network.shape, network.classes, seed=seed, fold=fold)
    fresh.mean.copy_(network.mean)
    fresh.std.copy_(network.std)
    return fresh.eval()


def counted(record: Record) -> bool:
    """Whether a run's space can be judged: it did not fail, and trained where accuracy can tell."""
    return record.result["status"] in ("trained", "outputs untrained")


def place(row: Measured) -> tuple[int, int, str]:
    references = (CHANCE, FEATURES)
    order = [published.mix for published in losses.TABLE3]
    if row.role == "reference":
        return 0, references.index(row.name) if row.name in references else len(references), row.name
    if row.role == "teacher":
        return 1, 0, row.name
    return 2, order.index(row.name) if row.name in order else len(order), row.name


# --------------------------------------------------------------------------------------------------- tables


def compared(row: Measured, found: Sequence[Measured], key: tuple[str, int], folds: int) -> statistics.Comparison | None:  # fmt: skip
    """A student's row less the baseline's, paired by fold and seed."""
    baseline = next((other for other in found if other.name == BASELINE_MIX), None)
    if baseline is None or row is baseline or row.role != "student":
        return None
    return statistics.comparison(
        row.figures.get(key, {}), baseline.figures.get(key, {}), 1 / max(1, folds - 1)
    )


def grid(found: Sequence[Measured], metric: str, folds: int) -> tables.Grid:
    header = ("Model / mix", "D", *(f"R@{k}\n%" for k in KS), "SD over folds\n(R@1)", "SD over seeds\n(R@1)", "n",
              f"R@1 less\n{BASELINE}", "95 %\ninterval", "p", "p\n(Holm)")  # fmt: skip
    key = (metric, KS[0])
    tests = [compared(row, found, key, folds) for row in found]
    adjusted = statistics.holm([test.p if test else None for test in tests])
    lines = []
    for row, test, holm in zip(found, tests, adjusted, strict=True):
        spreads = [
            statistics.spread(row.figures[metric, k]) if row.figures.get((metric, k)) else None for k in KS
        ]
        first = spreads[0]
        ends = (
            f"[{number(test.low, '+.2f')}, {number(test.high, '+.2f')}]"
            if test and test.low is not None
            else tables.NONE
        )
        lines.append((
            row.name, str(row.dimensions or tables.NONE), *(number(one.mean if one else None) for one in spreads),
            number(first.sd_folds if first else None), number(first.sd_seeds if first else None), str(first.n if first else 0),
            number(test.difference if test else None, "+.2f"), ends, p_value(test.p if test else None), p_value(holm),
        ))  # fmt: skip
    said = {"euclidean": "Euclidean distance of the embeddings as they are",
            "cosine": "cosine distance (Euclidean of L2-normalised embeddings: the same order)"}  # fmt: skip
    return tables.Grid(f"Recall@K, {said[metric]}.", header, tuple(lines))


CSV = ("corpus", "synthetic", "preset", "settings", "data", "layer", "role", "mix", "dimensions", "metric", "k",
       "recall_percent", "sd_folds", "sd_seeds", "n", "difference_to_baseline", "ci95_low", "ci95_high", "pairs", "p",
       "p_folds_means")  # fmt: skip


def csv_rows(key: Key, found: Sequence[Measured], first: dict[str, Any], layer: str) -> Iterator[tuple[object, ...]]:  # fmt: skip
    folds = len(first["data"])
    for row in found:
        for (metric, k), values in row.figures.items():
            own, test = statistics.spread(values), compared(row, found, (metric, k), folds)
            yield (first["corpus"], STAMP if first["synthetic"] else "", key.preset, key.digest, key.data, layer, row.role,
                   row.name, row.dimensions or None, metric, k, own.mean, own.sd_folds, own.sd_seeds, own.n,
                   *(getattr(test, name) if test else None
                     for name in ("difference", "low", "high", "n", "p", "p_folds")))  # fmt: skip


NOTES = (
    "Queries are the held-out fold's clean clips. The gallery of each is the fold's other clips of other recordings; "
    "a query is answered at K if one of its K nearest has its class. Ties count by expectation.",
    "Mean: of the folds' means over seeds. n: runs. Differences are paired over fold × seed; interval and p by the "
    "corrected resampled t-test of the report (Nadeau and Bengio 2003); p (Holm) over the mixes of the table.",
    f"{CHANCE}: expected value. {FEATURES}: the network's input, flattened. untrained: the students' network with "
    "the weights each run began with.",
)


def report(root: Path, caches: Path, reports: Path, corpus: str, *, layer: str = "embedding",
           mixes: Sequence[str] = ()) -> str:  # fmt: skip
    """Write ``reports/<corpus>/retrieval[-hidden].md`` and ``.csv``; the result is the text to print.

    ``layer``: which of the students' layers; a teacher's is always its embedding. ``mixes`` keeps those students and
    the baseline; all by default. Raises ``InputError`` without runs, and where their features are gone or changed.
    """
    wanted = {str(LossMix.parse(mix)) for mix in mixes} | {BASELINE_MIX, ""} if mixes else None
    records = [r for r in runs.find(root, corpus) if r.config["role"] in ("teacher", "student")]
    good = [r for r in unique(records) if counted(r) and (wanted is None or mix_of(r.config) in wanted)]
    if not good:
        raise InputError(f"no finished run in {root / corpus} whose embeddings could be measured; train first: "
                         "make teacher, then make distill")  # fmt: skip
    sections, lines, notes = [], [], list(NOTES)
    for key, members in keyed(good).items():
        found = measured(members, caches, layer)
        first = members[0].config
        stamp = f"{STAMP} " if first["synthetic"] else ""
        title = f"{stamp}preset {key.preset}, settings {key.digest}, data {key.data}"
        folds = len(first["data"])
        sections.append(tables.Section(title, tuple(grid(found, metric, folds) for metric in METRICS)))
        lines += list(csv_rows(key, found, first, layer))
        notes.append(f"settings {key.digest}: {answerable_share(members, caches)}.")
    left_out = [r for r in records if not counted(r)]
    notes += taught_by_others(good)
    if left_out:
        notes.append(f"Left out, for they failed or did not train: {len(left_out)} of {len(records)} runs.")
    synthetic = any(r.config["synthetic"] for r in good)
    if synthetic:
        notes.append(
            f"{STAMP}: made-up sounds of the built-in corpus; these figures say nothing about real sounds."
        )
    layers = "embedding" if layer == "embedding" else "hidden layer (teacher: embedding)"
    document = tables.Document(f"{f'{STAMP}: ' if synthetic else ''}{corpus}: retrieval by the {layers}",
                               tuple(sections), tuple(notes))  # fmt: skip
    stem = "retrieval" if layer == "embedding" else f"retrieval-{layer}"
    runs.write_atomic(reports / corpus / f"{stem}.md", tables.markdown(document).encode())
    runs.write_atomic(reports / corpus / f"{stem}.csv", tables.comma_separated(CSV, lines).encode())
    return tables.text(document)


def keyed(records: Sequence[Record]) -> dict[Key, list[Record]]:
    """The records by table: a teacher stands in the table of each group of its students, alone where it has none."""
    students: dict[Key, list[Record]] = {}
    teachers: dict[Key, list[Record]] = {}
    for record in records:
        groups = teachers if record.config["role"] == "teacher" else students
        groups.setdefault(key_of(record), []).append(record)
    found, used = {}, set()
    for key, members in sorted(
        students.items(), key=lambda item: (item[0].preset, item[0].digest, item[0].data)
    ):
        digest = runs.settings_digest("teacher", members[0].config["settings"])
        own = dataclasses.replace(key, digest=digest)
        used.add(own)
        found[key] = teachers.get(own, []) + members
    return found | {key: members for key, members in teachers.items() if key not in used}


def answerable_share(records: Sequence[Record], caches: Path) -> str:
    """How many of the held-out clips could be queries at all."""
    queries = clips = 0
    for fold in sorted({cell(record)[0] for record in records}):
        record = next(record for record in records if cell(record)[0] == fold)
        header = cache.read_header(cache.fold_path(
            caches, record.config["corpus"],
            config.build(FeatureSpec, record.config["settings"]["features"], str(record.folder)), fold,
        ))  # fmt: skip
        clips += len(header.labels)
        queries += int(retrieval.answerable(np.array(header.labels), header.sources).sum())
    return f"{queries} of {clips} clips are queries; the others' class has no other recording in their fold"
