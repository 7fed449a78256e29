"""Stages two and three as experiments: a teacher per fold, and students of any mix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline import runs
from pipeline.config import InputError, Settings
from pipeline.corpus import Corpus
from pipeline.engine.missing import train
from pipeline.engine.source import of_corpus, wanted_folds
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import read, variant
from pipeline.losses import LossMix


def train_teachers(
    corpus: Corpus, settings: Settings, *, folds: Sequence[int] | None, seeds: Sequence[int], **how: Any
) -> None:
    """A teacher for each held-out fold and seed, on labels; those that are finished are left alone."""
    levels, _ = plan(read("teacher"), settings, corpus.name, folds=wanted_folds(corpus, folds), seeds=seeds)
    train(levels, of_corpus(corpus, settings), **how)


def train_students(
    corpus: Corpus,
    settings: Settings,
    mixes: Sequence[LossMix],
    *,
    folds: Sequence[int] | None,
    seeds: Sequence[int],
    **how: Any,
) -> None:
    """A student for each mix, held-out fold and seed; all seeds of a fold share that fold's teacher, which is there."""
    for mix in mixes:
        mix.require(settings.student, "student")
    texts = list(dict.fromkeys(map(str, mixes)))
    experiment = variant("student", "student", mix=None, each={"mix": texts})
    levels, _ = plan(experiment, settings, corpus.name, folds=wanted_folds(corpus, folds), seeds=seeds)
    for run in levels[-1].runs:
        for teacher in run.teachers:
            if not runs.finished(teacher):
                raise InputError(
                    f"no finished teacher of fold {run.fold} ({teacher}); train it first: 'make teacher' "
                    "(or 'python cli.py teacher') with the same dataset, settings and folds"
                )
    train(levels[-1:], of_corpus(corpus, settings), **how)


def train_table3(
    corpus: Corpus, settings: Settings, *, folds: Sequence[int] | None, seeds: Sequence[int], **how: Any
) -> None:
    """The rows of Table 3 with their teachers."""
    levels, _ = plan(read("table3"), settings, corpus.name, folds=wanted_folds(corpus, folds), seeds=seeds)
    train(levels, of_corpus(corpus, settings), **how)


def table3_mixes() -> list[LossMix]:
    """The mixes of Table 3's rows."""
    return [step.mix for step in read("table3").last]
