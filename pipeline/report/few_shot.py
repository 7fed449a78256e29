"""``few-shot``: runs of some of the classes, measured on classes that neither they nor anybody they go back to ever trained on.

The clips are the clean ones of these classes, of all folds, without recordings of which a clip has another class: of such a recording the
network may have heard a part. All runs of the same unseen classes are asked about the very same episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import cache, class_subsets, runs, samplers
from pipeline.config import InputError
from pipeline.errors import Damaged
from pipeline.figures import few_shot as figures
from pipeline.files import write_atomic
from pipeline.report.aggregation import STAMP
from pipeline.report.alike import kind_of, told_apart
from pipeline.report.features_of import features_of
from pipeline.report.table import Column, Section, Table, number, of, padded
from pipeline.report.told import of_table
from pipeline.report.wording import of_windows, trusted_teachers
from pipeline.runs import Record
from pipeline.runs.damage import spared
from pipeline.samplers import Episode
from pipeline.teacher_files import is_teacher_file

EPISODES = 600

#: Clips that are asked for of each class: the papers' 15, and where there are too few recordings for these, fewer.
QUERIES = (15, 10, 5, 2, 1)

CSV = "few-shot.csv"

TITLE = "few-shot"

CAPTION = (
    "Accuracy on classes that were never trained on, by the nearest mean of a few examples. ±: half of the 95 % interval of one run over its "
    "episodes, 1.96 · sd / √episodes, mean over runs; SD: over runs, which differ in fold, seed and classes. The same episodes for all "
    "runs that the same classes are unseen for."
)


@dataclass
class Row:
    """Runs that differ in fold, seed and drawn classes alone, as do those that taught them, on episodes of one kind."""

    name: str
    episode: Episode
    shares: list[np.ndarray] = field(default_factory=list)
    """Of each run its episodes' accuracies, in [0, 1]."""

    @property
    def kind(self) -> str:
        return figures.named(self.episode)

    @property
    def runs(self) -> int:
        return len(self.shares)

    @property
    def mean(self) -> float:
        return float(100 * np.mean([each.mean() for each in self.shares]))

    @property
    def half_width(self) -> float:
        return float(100 * np.mean([figures.half_width(each) for each in self.shares]))

    @property
    def deviation(self) -> float | None:
        return float(100 * np.std([each.mean() for each in self.shares], ddof=1)) if self.runs > 1 else None


COLUMNS = (
    Column("row", of("name"), "Row"),
    Column("episodes_of", of("kind"), "episodes"),
    Column("queries", of("episode.query"), "queries"),
    Column("accuracy_percent", of("mean"), "accuracy", "%", number),
    Column("half_width_percent", of("half_width"), "±", "%", number),
    Column("sd_over_runs_percent", of("deviation"), "SD", "%", number),
    Column("runs", of("runs"), "runs"),
)


def unseen(record: Record, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes that neither a run nor any that it goes back to trained on, as the corpus numbers them.

    ``InputError`` where one of these is gone, is a file, which may have seen any, or where there are fewer than two.
    """
    seen = set(record.classes)
    for parent in (*record.lineage, *record.parents):
        if is_teacher_file(parent) or not runs.finished(parent):
            reason = "a file, whose teacher may have seen any class" if is_teacher_file(parent) else "gone"
            raise InputError(
                f"{record.folder} goes back to {parent}, which is {reason}; expected runs of known classes"
            )
        seen |= set(runs.read(parent).classes)
    others = tuple(name for name in classes if name not in seen)
    if len(others) < 2:
        raise InputError(
            f"{record.folder} and those that it goes back to trained on {len(seen)} of {len(classes)} classes; expected two at least that "
            "they never saw: train with classes = '0%:50%@1', for example"
        )
    return others


def asked_about(record: Record, classes: Sequence[str], only: str) -> tuple[str, ...]:
    """Of the ``unseen`` classes those that ``only`` names, as the setting ``classes`` does; "": all. ``InputError`` where one was seen."""
    others = unseen(record, classes)
    wanted = class_subsets.names(only, classes, record.seed)
    if only and (seen := [name for name in wanted if name not in others]):
        raise InputError(
            f"--classes {only}: {record.folder} or one that it goes back to trained on {', '.join(seen)}; expected some of "
            f"{', '.join(others)}"
        )
    return tuple(name for name in others if name in wanted)


def pool_of(data: cache.Data, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips of ``classes`` whose recordings have no clip of another class: their places, labels and recordings, (clips,) each."""
    from pipeline.engine.tasks import numbered  # torch
    from pipeline.training.episodes import of_one_class

    known = np.flatnonzero(data.labels >= 0)
    recordings = np.full(len(data.labels), -1)
    recordings[known] = numbered(data, known)
    labels = of_one_class(data.labels, recordings)
    clips = np.flatnonzero(np.isin(labels, [data.classes.index(name) for name in classes]))
    return clips, data.labels[clips], recordings[clips]


def asked(
    record: Record, way: int, shots: Sequence[int], queries: Sequence[int], classes: int
) -> list[tuple[Episode, ...]]:
    """The episodes of a run: those that are asked for, else of its own sampler, else of 5 (or all) classes with 1 and 5 shots. Of each
    one with so many queries, and with fewer."""
    own = samplers.episode_of(record.trained_by.sampler)
    way = way or (own.way if own else min(5, classes))
    wanted = shots or ([own.shot] if own else [1, 5])
    return [tuple(Episode(way, shot, query) for query in queries) for shot in wanted]


def measured(
    record: Record,
    episodes: Sequence[tuple[Episode, ...]],
    count: int,
    layer: str,
    notes: dict[str, None],
    only: str = "",
) -> dict[Episode, np.ndarray]:
    """Episodes → the accuracies (count,) of a run's embeddings; of those that its unseen classes give. Others are noted."""
    import torch

    from pipeline import training
    from pipeline.engine import packs
    from pipeline.engine.records import model_of, read_model
    from pipeline.training import episodes as drawing

    if record.is_of_images:
        raise InputError(f"{record.folder} is of images, whose recordings are not known; expected a run on sounds")
    data = features_of(record)
    others = asked_about(record, data.classes, only)
    clips, labels, recordings = pool_of(data, others)
    values, _ = packs.samples(data, torch.device("cpu"))
    rows = clips * data.features.shape[1]
    shares: dict[Episode, np.ndarray] = {}
    told = None
    for several in episodes:
        fitting_to = {one: drawing.fitting_classes(labels, recordings, one) for one in several}
        episode = next((one for one in several if len(fitting_to[one]) >= one.way), several[-1])
        fitting = fitting_to[episode]
        if left_out := [name for name in others if data.classes.index(name) not in fitting]:
            notes[
                f"Left out of {figures.named(episode)} episodes, for too few recordings for {episode.shot} + {episode.query} clips: "
                f"{', '.join(left_out)}."
            ] = None
        if len(fitting) < episode.way:
            notes[f"{record.folder}: {drawing.too_few(record.corpus, len(fitting), episode)}."] = None
            continue
        if told is None:
            outputs = training.outputs(model_of(read_model(record.folder)), values, rows, (layer,))
            told = outputs[layer][torch.from_numpy(rows)].numpy()
        seed = drawing.seed_of("few-shot", record.corpus, others, *episode)
        drawn = drawing.drawn(labels, recordings, episode, count, seed)
        shares[episode] = figures.accuracies(told, drawn, episode.shot)
    return shares


def key_of(record: Record) -> tuple[str, str]:
    """What runs of one row have in common: name and ``kind_of``."""
    name = record.mix_text + ("" if record.teachers else " (teacher)") + f", {record.model}"
    name += f", generation {record.generation}" if record.is_generation else ""
    return name, kind_of(record)


def rows_of(
    records: Sequence[Record],
    *,
    way: int = 0,
    shots: Sequence[int] = (),
    queries: int = 0,
    count: int = EPISODES,
    layer: str = "embedding",
    only: str = "",
) -> tuple[list[Row], list[str]]:
    """The rows of finished runs, teachers first, and notes on what is left out. ``InputError`` as ``asked_about``.

    ``queries``: 0, as many of ``QUERIES`` as there are recordings for; ``only``: of the unseen classes these."""
    rows: dict[tuple[Episode, tuple[str, str]], Row] = {}
    firsts: dict[Episode, dict[tuple[str, str], Record]] = {}
    notes: dict[str, None] = {}
    for record in sorted(records, key=lambda record: (bool(record.teachers), record.folder)):
        if record.result.failed:
            notes[f"{record.folder} failed, and is left out."] = None
            continue
        several = (queries,) if queries else QUERIES
        wanted = asked(record, way, shots, several, len(asked_about(record, all_classes(record), only)))
        key = key_of(record)
        for episode, shares in measured(record, wanted, count, layer, notes, only).items():
            firsts.setdefault(episode, {}).setdefault(key, record)
            rows.setdefault((episode, key), Row(key[0], episode)).shares.append(shares)
    for episode, of_kinds in firsts.items():
        names, lines = told_apart(of_kinds)
        notes |= dict.fromkeys(lines)
        for key, name in names.items():
            rows[episode, key].name = name
    return sorted(rows.values(), key=lambda row: row.episode), [
        *of_windows(records),
        *trusted_teachers(records),
        *notes,
    ]


def all_classes(record: Record) -> tuple[str, ...]:
    """Those of the run's corpus."""
    from pipeline.engine.rerun import recorded_files
    from pipeline.engine.source import classes_of

    return classes_of(recorded_files(record, None)) or record.classes


def section(members: Sequence[Record]) -> tuple[Section, ...]:
    """Of an experiment's rows and those that taught them, where they learned from episodes; else nothing.

    Runs that no class is unseen for are named below the table; of those whose features or teachers are gone the command's end tells.
    """
    taught_by = [parent for record in members for parent in record.teachers if not is_teacher_file(parent)]
    teachers = [record for parent in dict.fromkeys(taught_by) if (record := spared(partial(runs.read, parent)))]
    everybody = {record.folder: record for record in (*teachers, *members)}
    learned = [record for record in everybody.values() if samplers.episode_of(record.trained_by.sampler)]
    some = [record for record in learned if record.trained_by.classes]
    left_out: list[str] = []
    rows, notes = rows_of([record for record in some if spared(partial(is_measurable, record, left_out))])
    if not rows and not left_out:
        return ()
    caption = " ".join([CAPTION, f"{EPISODES} episodes each.", *notes, *left_out])
    return (Section(TITLE, (Table.build(caption, COLUMNS, rows),)),)


def is_measurable(record: Record, left_out: list[str]) -> bool:
    """Whether there are classes that the run never saw; else the reason is added. ``Damaged`` where its features are gone or changed."""
    try:
        classes = all_classes(record)
    except InputError as error:
        raise Damaged(str(error)) from None
    try:
        return bool(unseen(record, classes))
    except InputError as error:
        left_out.append(f"Left out: {error}.")
        return False


def report(paths: Sequence[Path], reports: Path, *, count: int, layer: str, only: str = "", **how: Any) -> str:
    """The table as text; the same as CSV in ``reports``. ``how``: as ``rows_of``. ``InputError`` for no finished runs, and as ``asked_about``."""
    from pipeline.report import votes  # scipy: reports of other runs do without

    records = votes.records(paths)
    rows, notes = rows_of(records, count=count, layer=layer, only=only, **how)
    if not rows:
        raise InputError("; ".join(notes) or "no episodes; expected runs of some of the classes")
    table = Table.build("", COLUMNS, rows)
    target = reports / records[0].corpus / CSV
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, table.csv().encode())
    stamp = f"{STAMP} " if records[0].synthetic else ""
    title = f"{stamp}{records[0].corpus}: {count} episodes, by the {layer}{f', of the classes {only}' if only else ''}"
    text = "\n".join([title, "", *padded(table), "", CAPTION, *notes, f"table: {target}", ""])
    return of_table(text, title, table, [CAPTION, *notes])
