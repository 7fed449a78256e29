"""Teacher and student that are trained on all folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import places
from pipeline.config import InputError, Settings
from pipeline.corpus import Corpus
from pipeline.engine.missing import Level, train
from pipeline.engine.source import Source
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import variant
from pipeline.losses import LossMix
from pipeline.losses.several import require_several
from pipeline.runs.planned import PlannedRun
from pipeline.train_settings import NO_FOLD

#: Where they lie: not among the runs that reports are made of.


def levels_of(corpus: Corpus, settings: Settings, mix: LossMix, fold: int, seed: int) -> list[Level]:
    """The fold's teacher and its student, in ``finals/``; ``NO_FOLD``: of all folds."""
    if NO_FOLD in corpus.folds:
        raise InputError(f"{corpus.name} has a fold {NO_FOLD}, which stands for none here; expected folds from 1 on")
    mix.require(settings.student, "student")
    if corpus.label_sets:
        require_several(mix, settings.student, "student", corpus.name)
    experiment = variant("student", "student", mix=None, each={"mix": [str(mix)]})
    levels, _ = plan(experiment, settings, corpus.name, folds=[fold], seeds=[seed])
    return [Level(f"final {level.name}", tuple(map(moved, level.runs))) for level in levels]


def moved(run: PlannedRun) -> PlannedRun:
    return replace(run, at=place(run.folder), teachers=tuple(map(place, run.teachers)))


def place(folder: Path) -> Path:
    return places.finals() / folder.relative_to(places.runs())


def trained(levels: Sequence[Level], source: Source, how: Mapping[str, Any]) -> Path:
    """Train what is missing; the student's folder."""
    train(levels, source, **how)
    return levels[-1].runs[-1].folder
