"""Born-again generations: every student teaches the next one of its fold and seed (Furlanello et al. 2018).

Generation 0 is trained on the labels alone, or is any run (or ensemble of runs) that was trained before. Generation g
has the network of generation 0 and learns from the labels, from what generation g − 1 says, and, as a mix asks for it,
from the relations in g − 1's embedding (Cho et al. 2023, eq. 2.3 and section 4.3.1)::

    L = CE(labels, student) + CE(softmax(previous), softmax(student)) + Σ weight · relational term

The chains of all mixes, folds and seeds go forward together: one generation of all of them is packed like any runs.
A stopped call goes on in the generation where it was, for what is finished is left alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import config, losses, runs
from pipeline.config import InputError, Settings
from pipeline.engine.missing import (
    LABELS,
    Source,
    of_corpus,
    say,
    train_cells,
)
from pipeline.files import RUNS
from pipeline.images.archive import Archive
from pipeline.losses import LossMix
from pipeline.runs.planned import Cell, Teacher

__all__ = [
    "Source",
    "chain_mix",
    "chain_settings",
    "group_path",
    "of_archive",
    "of_corpus",
    "run_path",
    "train",
]

#: The terms that every student of a chain has: labels and teacher's outputs.
BASE = ("ce", "soft")

#: For a chain without relational terms, the baseline.
NONE = "none"


def of_archive(archive: Archive) -> Source:
    """The images of an archive; the test images are fold 0, the one that is held out."""
    from pipeline.images import samples as images

    data = images.read(archive)
    about = {
        "corpus": data.corpus,
        "dataset": "cifar100",
        "synthetic": data.synthetic,
        "all_folds": [images.TEST],
    }
    digests = {str(fold): digest for fold, digest in data.digests.items()}
    return Source(archive, about, digests, data.classes)


def chain_mix(text: str) -> LossMix:
    """``angle,area`` → labels, teacher's outputs, and these; weights that are not given are each loss's default.

    ``none`` is the chain without relational terms. Default weights are 20 for relational terms, 1 for the others,
    as in the paper's second experiment.
    """
    text = BASE[0] if text.strip() == NONE else text
    return LossMix.parse(",".join([text, *(name for name in BASE if name not in losses.named(text))]))


def chain_settings(settings: Settings, model: str) -> Settings:
    """``settings`` in which teacher and student are one network: that of the table ``model``."""
    network = getattr(settings, model)
    return dataclasses.replace(settings, teacher=network, student=network)


def group_path(source: Source, settings: Settings, teachers: Sequence[Path] = ()) -> Path:
    """``runs/<corpus>/ban-<model>-<preset>-<digest>``: the chains with the same settings and first teachers."""
    parts = [settings.features, settings.teacher, settings.student, *map(str, teachers)]
    return RUNS / source.name / f"ban-{settings.student.model}-{settings.preset}-{config.digest(*parts)}"


def run_path(group: Path, mix: LossMix, generation: int, fold: int, seed: int) -> Path:
    return group / mix.slug / f"gen{generation}" / f"fold{fold}-seed{seed}"


def train(source: Source, settings: Settings, mixes: Sequence[LossMix], *, generations: int, folds: Sequence[int],
          seeds: Sequence[int], teachers: Sequence[Path] = (), **how: Any) -> Path:  # fmt: skip
    """Train the chains as far as they are not yet; the result is the folder that they lie in.

    ``settings`` as ``chain_settings`` makes them. ``teachers``: folders with runs ``fold{k}-seed{s}`` that are
    generation 0, several as an ensemble; without any, generation 0 is trained on the labels.
    """
    for mix in mixes:
        mix.require_batch(settings.student.batch)
    keys = [(fold, seed) for fold in folds for seed in seeds]
    if teachers:
        first: dict[tuple[int, int], Teacher] = {
            key: tuple(
                teacher_run(folder, *key, settings.student.teacher_seed, source.name) for folder in teachers
            )
            for key in keys
        }
    else:
        cells = [
            Cell(runs.cell_path(RUNS, source.name, "teacher", settings, None, fold, seed), "teacher", fold, seed,
                 str(LossMix.parse(LABELS)))
            for fold, seed in keys
        ]  # fmt: skip
        train_cells(source, settings, cells, cells[0].folder.parent, "generation 0", **how)
        first = {(cell.fold, cell.seed): cell.folder for cell in cells}
    group = group_path(source, settings, teachers)
    for generation in range(1, generations + 1):
        cells = []
        for mix in dict.fromkeys(mixes):
            for key in keys:
                teacher = first[key] if generation == 1 else run_path(group, mix, generation - 1, *key)
                own = run_path(group, mix, generation, *key)
                cells.append(Cell(own, "generation", *key, str(mix), teacher, generation))
        what = f"generation {generation} of {generations}"
        train_cells(source, settings, taught(cells), group, what, **how)
    return group


def teacher_run(folder: Path, fold: int, seed: int, shared: int, corpus: str) -> Path:
    """The run of a fold in ``folder``: of the same seed, else of the seed that all share; on the same corpus."""
    for path in (folder / f"fold{fold}-seed{seed}", folder / f"fold{fold}-seed{shared}"):
        if runs.finished(path):
            if (other := runs.read_config(path)["corpus"]) != corpus:
                raise InputError(f"{path} is of corpus {other}; expected a teacher of {corpus}")
            return path
    raise InputError(f"no finished run of fold {fold} in {folder}; expected fold{fold}-seed{seed} there, in a folder such "
                     "as runs/CORPUS/teacher-…, or folds that it has")  # fmt: skip


def taught(cells: Sequence[Cell]) -> list[Cell]:
    """The cells whose teachers have weights: the chain of a run that failed ends with it."""
    kept = []
    for cell in cells:
        # One that was left out itself has no result at all.
        failed = [
            str(t) for t in cell.teachers if not runs.finished(t) or runs.read_result(t)["status"] == "failed"
        ]
        if failed:
            say(f"{cell.folder}: left out, for {', '.join(failed)} failed")
        else:
            kept.append(cell)
    return kept
