"""``retrieval``: Recall@K of the embeddings that teachers and students give the held-out fold's clean clips.

Everything comes from what the runs left: ``model.pt``, and the cached features of the fold that the run held out.
Beside the runs stand three rows that no training made: the random order, the standardised features themselves, and
the students' network before its first step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline import (
    cache,
    models,
    runs,
    training,
)
from pipeline.config import InputError
from pipeline.engine import packs
from pipeline.engine.records import model_of, read_model
from pipeline.figures import recall as retrieval
from pipeline.figures.recall import KS, METRICS
from pipeline.figures.statistics import Cell
from pipeline.losses import LossMix
from pipeline.plurals import many
from pipeline.report.aggregation import (
    STAMP,
    by_table,
    key_of,
    ratio,
    stopped,
    unique,
)
from pipeline.report.spaces import (
    BASELINE_MIX,
    CHANCE,
    CSV,
    FEATURES,
    NOTES,
    Measured,
    lines,
    place,
    recall_table,
    table_of,
)
from pipeline.report.table import Document, Section, Table
from pipeline.report.wording import of_windows, taught_by_others, tested, trusted_teachers
from pipeline.runs import Record

Answers = dict[str, np.ndarray]
"""Metric → (queries, K) in percent: how surely each query is answered at each of ``KS``."""


def measured(records: Sequence[Record], root: Path, layer: str) -> list[Measured]:
    """The rows of one table: references, teacher, students in the order of the report."""
    by_name: dict[tuple[str, str], Measured] = {}
    drawn: set[tuple[tuple[str, str], Cell]] = set()
    queried: dict[int, np.ndarray] = {}

    def keep(role: str, name: str, dimensions: int, at: Cell, answers: Answers) -> None:
        row = by_name.setdefault((role, name), Measured(name, role, dimensions, {}, queried))
        for metric, each in answers.items():
            if len(each) and np.isfinite(each).all():
                row.answers.setdefault(metric, {})[at] = each

    for fold in sorted({record.fold for record in records}):
        of_fold = [record for record in records if record.fold == fold]
        data = held_out(of_fold[0], fold, root)
        samples, _ = packs.samples(data, torch.device("cpu"))
        rows = packs.rows(data, fold)[1]
        queried[fold] = np.asarray(data.sources)[retrieval.answerable(data.labels, data.sources)]
        keep("reference", CHANCE, 0, (fold, 0), answers(np.zeros((len(rows), 1)), data))
        for record in of_fold:
            network = model_of(read_model(record.folder))
            at = record.cell
            values = embedding(network, samples, rows, layer if record.is_student else "embedding")
            name = record.row_mix or f"{network.name} (teacher)"
            keep(record.role, name, values.shape[1], at, answers(values, data))
            first = f"{network.name}, untrained"
            if record.is_student and (("reference", first), at) not in drawn:
                drawn.add((("reference", first), at))
                values = embedding(untrained(network, *at), samples, rows, layer)
                keep("reference", first, values.shape[1], at, answers(values, data))
        plain = ((samples[rows] - network.mean) / network.std).flatten(1).numpy()
        keep("reference", FEATURES, plain.shape[1], (fold, 0), answers(plain, data))
    return sorted(by_name.values(), key=place)


def held_out(record: Record, fold: int, root: Path) -> cache.Data:
    """The features of the fold that a run held out; ``InputError`` where they are gone or are not the run's own."""
    path = cache.fold_path(root, record.corpus, record.settings.features, fold)
    if not path.is_file():
        raise InputError(
            f"no features of fold {fold} in {path.parent}, which {record.folder} was tested on; make them "
            "again: make features with the same dataset and settings"
        )
    data = cache.load([path], record.trained_by.features_in)
    if reason := runs.outdated(record, data=data.digests, folds=(fold,)):
        raise InputError(f"{record.folder} {reason}, as {path} has it; remove the run and train again")
    return data


def answers(embeddings: np.ndarray, data: cache.Data) -> Answers:
    return {metric: 100 * retrieval.answers(embeddings, data.labels, data.sources, metric=metric) for metric in METRICS}


def embedding(network: models.Network, samples: torch.Tensor, rows: np.ndarray, layer: str) -> np.ndarray:
    """(test clips, D) float32: ``embedding`` is the flattened layer, ``hidden`` the one behind it."""
    outputs = training.outputs(network, samples, rows)
    return np.asarray(getattr(outputs, layer)[torch.from_numpy(rows)].numpy())


def untrained(network: models.Network, fold: int, seed: int) -> models.Network:
    """The same network with its first weights, and its normalisation."""
    fresh = models.network(network.name, network.shape, network.classes, seed=seed, fold=fold)
    fresh.mean.copy_(network.mean)
    fresh.std.copy_(network.std)
    return fresh.eval()


def report(
    root: Path, caches: Path, reports: Path, corpus: str, *, layer: str = "embedding", mixes: Sequence[str] = ()
) -> str:
    """Write ``reports/<corpus>/retrieval[-hidden].md`` and ``.csv``; the result is the text to print.

    ``layer``: which of the students' layers; a teacher's is always its embedding. ``mixes`` keeps those students and
    the baseline; all by default. Raises ``InputError`` without runs, and where their features are gone or changed.
    """
    wanted = {str(LossMix.parse(mix)) for mix in mixes} | {BASELINE_MIX, ""} if mixes else None
    records = [r for r in runs.find(root, corpus) if r.is_teacher_or_student]
    everything = [r for r in unique(records) if not stopped(r)]
    good = [r for r in everything if wanted is None or r.row_mix in wanted]
    if not good:
        raise InputError(
            f"no finished run in {root / corpus} whose embeddings could be measured; train first: "
            "make teacher, then make distill"
        )
    sections, rows, notes, tests = [], [], list(NOTES), []
    for key, members in by_table(good).items():
        first = members[0]
        tried = {r.row_mix for r in everything if key_of(r) == key and r.is_student} - {BASELINE_MIX}
        gone = Counter(r.row_mix for r in records if stopped(r) and key_of(r) == key)
        spaces = table_of(measured(members, caches, layer), ratio(first), len(tried), gone)
        tests += [test for at_k in spaces.tests.values() for test in at_k if test]
        stamp = f"{STAMP} " if first.synthetic else ""
        title = f"{stamp}preset {key.preset}, settings {key.digest}, data {key.data}"
        at_k = {at: lines(spaces, key, first, layer, *at) for at in spaces.tests}
        printed = tuple(recall_table(spaces, at_k[metric, KS[0]]) for metric in METRICS)
        sections.append(Section(title, printed))
        rows += [line for each in at_k.values() for line in each if line.spread]
        notes.append(f"settings {key.digest}: {answerable_share(members, caches)}.")
    notes += tested(tests)
    left_out = [r for r in records if stopped(r)]
    notes += [*of_windows(good), *trusted_teachers(good), *taught_by_others(good)]
    if left_out:
        notes.append(f"Left out, for they stopped (not finite): {len(left_out)} of {many(len(records), 'run')}.")
    synthetic = any(r.synthetic for r in good)
    if synthetic:
        notes.append(f"{STAMP}: made-up sounds of the built-in corpus; these figures say nothing about real sounds.")
    layers = "embedding" if layer == "embedding" else "hidden layer (teacher: embedding)"
    document = Document(
        f"{f'{STAMP}: ' if synthetic else ''}{corpus}: retrieval by the {layers}", tuple(sections), tuple(notes)
    )
    stem = "retrieval" if layer == "embedding" else f"retrieval-{layer}"
    return document.save(reports / corpus, stem, Table.build("", CSV, rows), latex=False)


def answerable_share(records: Sequence[Record], caches: Path) -> str:
    """How many of the held-out clips could be queries at all."""
    queries = clips = 0
    for fold in sorted({record.fold for record in records}):
        record = next(record for record in records if record.fold == fold)
        path = cache.fold_path(caches, record.corpus, record.settings.features, fold)
        header = cache.read_header(path)
        clips += len(header.labels)
        queries += int(retrieval.answerable(np.array(header.labels), header.sources).sum())
    return f"{queries} of {clips} clips are queries; the others' class has no other recording in their fold"
