"""Stages two and three: which runs are wanted, which are missing, and the missing ones trained in packs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import cache, runs
from pipeline.config import InputError, Settings
from pipeline.corpus import Corpus
from pipeline.engine import teachers
from pipeline.files import CACHE, RUNS
from pipeline.images.archive import Archive
from pipeline.locks import locked
from pipeline.losses import LossMix
from pipeline.runs.planned import Cell, Files

#: What a teacher is trained on: the labels alone.
LABELS = "ce"

#: Failed runs that a message names.
SHOWN = 5


class RunsFailed(InputError):
    """Some runs' loss was not finite; all others are finished."""


@dataclass(frozen=True)
class Source:
    """What runs are trained and tested on."""

    files: Files
    about: dict[str, Any]
    """What run folders say of the corpus: corpus, dataset, synthetic, all_folds."""
    digests: dict[str, str]
    """Fold → digest of its content."""
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        return str(self.about["corpus"])


def of_corpus(corpus: Corpus, settings: Settings) -> Source:
    """The cached features of a corpus of sounds."""
    files = feature_files(corpus, settings)
    headers = [cache.read_header(path) for path in files]
    about = {"corpus": corpus.name, "dataset": corpus.dataset, "synthetic": corpus.synthetic,
             "all_folds": list(corpus.all_folds)}  # fmt: skip
    return Source(files, about, {str(header.fold): header.digest for header in headers}, headers[0].classes)


def say(line: str) -> None:
    """A line of progress. Progress goes to standard error, so that standard output stays the result's."""
    print(line, file=sys.stderr, flush=True)


def wanted_folds(corpus: Corpus, folds: Sequence[int] | None) -> tuple[int, ...]:
    """The held-out folds asked for; all that are present by default. Two folds at least must be present."""
    if len(corpus.folds) < 2:
        raise InputError(f"{corpus.root} has fold {corpus.folds[0]} alone; expected two at least: one is held out, "
                         "the others train")  # fmt: skip
    for fold in folds or ():
        if fold not in corpus.folds:
            raise InputError(f"fold {fold} is not in {corpus.root}; expected some of "
                             f"{' '.join(map(str, corpus.folds))}")  # fmt: skip
    return tuple(folds or corpus.folds)


def feature_files(corpus: Corpus, settings: Settings) -> tuple[Path, ...]:
    """The cached files of all folds: a held-out fold's training needs all the others."""
    paths = tuple(cache.fold_path(CACHE, corpus.name, settings.features, fold) for fold in corpus.folds)
    missing = [str(fold) for fold, path in zip(corpus.folds, paths) if not path.is_file()]
    if missing:
        raise InputError(f"no features of fold {', '.join(missing)} in {paths[0].parent}; make them first: "
                         "'make features' (or 'python cli.py features') with the same dataset and settings")  # fmt: skip
    return paths


def missing_cells(cells: Sequence[Cell], digests: dict[str, str]) -> list[Cell]:
    """The cells without a finished run. A finished one that was trained on other data is an error."""
    missing = []
    for cell in cells:
        if not runs.finished(cell.folder):
            missing.append(cell)
            continue
        record = runs.read(cell.folder)
        if reason := runs.outdated(record, data={int(k): v for k, v in digests.items()}, teachers=True):
            raise InputError(f"{cell.folder} {reason}; results of different data or teachers are not mixed: remove "
                             f"{cell.folder.parents[0 if record.is_teacher else 1]} and run again")  # fmt: skip
    return missing


def train_teachers(corpus: Corpus, settings: Settings, *, folds: Sequence[int] | None, seeds: Sequence[int],
                   **how: Any) -> None:  # fmt: skip
    """A teacher for each held-out fold and seed, on labels; those that are finished are left alone."""
    cells = [
        Cell(runs.cell_path(RUNS, corpus.name, "teacher", settings, None, fold, seed), "teacher", fold, seed,
             str(LossMix.parse(LABELS)))
        for fold in wanted_folds(corpus, folds) for seed in seeds
    ]  # fmt: skip
    train_cells(of_corpus(corpus, settings), settings, cells, cells[0].folder.parent, "teacher", **how)


def train_students(corpus: Corpus, settings: Settings, mixes: Sequence[LossMix], *, folds: Sequence[int] | None,
                   seeds: Sequence[int], **how: Any) -> None:  # fmt: skip
    """A student for each mix, held-out fold and seed; all seeds of a fold share that fold's teacher."""
    for mix in mixes:
        mix.require_batch(settings.student.batch, "student.batch")
    cells = []
    for mix in dict.fromkeys(mixes):
        for fold in wanted_folds(corpus, folds):
            teacher = runs.cell_path(
                RUNS, corpus.name, "teacher", settings, None, fold, settings.student.teacher_seed
            )
            if mix.needs_teacher and not runs.finished(teacher):
                raise InputError(f"no finished teacher of fold {fold} ({teacher}); train it first: 'make teacher' "
                                 "(or 'python cli.py teacher') with the same dataset, settings and folds")  # fmt: skip
            for seed in seeds:
                folder = runs.cell_path(RUNS, corpus.name, "student", settings, mix.slug, fold, seed)
                cells.append(
                    Cell(folder, "student", fold, seed, str(mix), teacher if mix.needs_teacher else None)
                )
    where = cells[0].folder.parents[1]
    train_cells(of_corpus(corpus, settings), settings, cells, where, "student", **how)


def train_cells(source: Source, settings: Settings, cells: Sequence[Cell], where: Path, what: str, *,
                checkpoint_minutes: float = 5.0, **how: Any) -> None:  # fmt: skip
    """Train the cells that have no finished run, in packs; every pack that ends writes its run folders at once.

    ``where`` they lie together, ``what`` they are in a word or two; ``how``: as ``schedule.train_all`` takes it. Raises
    ``InputError`` before anything is trained for a teacher of other data, and ``RunsFailed`` at the end if runs failed
    (their loss was not finite); the others are kept.
    """
    spec = None if isinstance(source.files, Archive) else settings.features
    teachers.check(cells, source.digests, source.classes, spec)
    missing = missing_cells(cells, source.digests)
    done = f"{what}: {len(cells) - len(missing)} of {len(cells)} runs finished in {where}"
    if not missing:
        say(f"{done}; nothing to do")
        return
    say(f"{done}; {len(missing)} to train with preset {settings.preset}")
    if note := departure(settings, "teacher" if cells[0].role == "teacher" else "student"):
        say(note)
    # torch comes here and not at the top, so that a finished stage answers at once.
    from pipeline.engine import schedule

    with locked(where / "training", f"{where}"):
        started = time.monotonic()
        failures = schedule.train_all(
            missing, settings, source.files, source.about, checkpoints=where / ".checkpoints",
            checkpoint_seconds=60 * checkpoint_minutes, say=say, **{"pack": None, "layout": None, "jobs": 0, **how},
        )  # fmt: skip
    say(f"{what}: {len(missing)} runs in {time.monotonic() - started:.0f} s, in {where}")
    if failures:
        more = [f"and {len(failures) - SHOWN} more"] if len(failures) > SHOWN else []
        lines = [
            f"{len(failures)} of {len(missing)} runs stopped; the others are kept",
            *failures[:SHOWN],
            *more,
        ]
        raise RunsFailed("\n       ".join(lines))


def departure(settings: Settings, role: str) -> str:
    """A line for settings that are known not to train, so that nobody takes the result for a finding."""
    network = getattr(settings, role)
    if network.model == "cnn2" and network.lr >= 0.03 and not network.warmup_epochs and not network.clip_norm:
        what = "is the published value" if network.lr == 0.1 else "is high"
        return (f"note: {role}.lr = {network.lr:g} {what}; the student has no batch norm and stays at chance with 0.1 and "
                "nearly so with 0.03 (see docs/settings.md). Preset default has the smallest change that trains.")  # fmt: skip
    return ""
