"""Stages two and three as experiments: a teacher per fold, and students of any mix."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import places, runs
from pipeline.config import InputError, Settings
from pipeline.corpus import Corpus
from pipeline.engine.missing import Level, any_finished, train
from pipeline.engine.source import of_corpus, wanted_folds
from pipeline.experiments import cross_fitting
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import read, variant
from pipeline.experiments.steps import Experiment
from pipeline.losses import LossMix
from pipeline.runs import STUDENT
from pipeline.runs.experiments import note_rows
from pipeline.runs.planned import PlannedRun
from pipeline.teacher_files import is_teacher_file
from pipeline.teacher_files.shapes import listed

#: The step of several teachers of a fold.
TOGETHER = "teachers"


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
    files: Sequence[Path] = (),
    trust: bool = False,
    teacher_seeds: Sequence[int] = (),
    teacher_features: Mapping[str, Any] | None = None,
    cross_fitted: bool = False,
    **how: Any,
) -> None:
    """A student for each mix, held-out fold and seed; all seeds of a fold share that fold's teacher, which is there.

    ``files``: teacher files in its place, each fold's by those whose teacher has not seen it; ``trust``: also by those that do
    not say. ``teacher_seeds``: the fold's teachers of these seeds, which teach together. ``teacher_features``: what the teachers
    hear in place of the student's features, as ``features`` of a step. ``cross_fitted``: teachers of pairs of folds, which are
    trained first, see ``cross_fitting``. Each of these is noted as rows of the report.
    """
    for mix in mixes:
        mix.require(settings.student, "student")
    if teacher_features and tuple(teacher_seeds) == (settings.student.teacher_seed,):
        teacher_seeds = ()  # the one that teaches without a word: the same runs, and one row
    above = own_teachers(teacher_seeds, teacher_features)
    about: dict[str, Any] = {"folds": wanted_folds(corpus, folds), "seeds": seeds, "trust": trust}
    named = ""
    if cross_fitted:
        named, levels = "cross-fitted teachers", cross_fitted_levels(corpus, settings, mixes, about)
    else:
        # Who learns from nobody is the same run whoever teaches the others.
        alone = [mix for mix in mixes if (above or files) and not mix.needs_teacher]
        taught = [mix for mix in mixes if mix not in alone]
        every = ([students_of(alone)] if alone else []) + ([students_of(taught, above, files)] if taught else [])
        levels = [plan(one, settings, corpus.name, **about)[0][-1] for one in every]
        require_finished(levels[-1], teacher_seeds, teacher_features)
        require_same_teachers(levels[-1])
        if files or above:
            named = listed([file.name for file in files]) if files else named_teachers(teacher_seeds, teacher_features)
    rows = by_mix(levels[-1].runs) if named else {}
    try:
        train(levels, of_corpus(corpus, settings), **how)
    finally:
        if rows and any_finished(levels):  # what is refused leaves nothing
            named_rows = {f"{mix} from {named}": folders for mix, folders in rows.items()}
            note_rows(places.runs(), corpus.name, STUDENT, named_rows)


def cross_fitted_levels(
    corpus: Corpus, settings: Settings, mixes: Sequence[LossMix], about: Mapping[str, Any]
) -> list[Level]:
    """The teachers of pairs of folds, whose price is said, and their students. ``about``: of ``plan``."""
    planned = [run for level in plan(students_of(mixes), settings, corpus.name, **about)[0] for run in level.runs]
    of_folds = [run for run in planned if run.is_teacher]
    levels = cross_fitting.levels(of_folds, [run for run in planned if run.is_student], corpus.folds)
    cross_fitting.say_price(levels[0], corpus.name)
    return levels


def students_of(
    mixes: Sequence[LossMix], above: Sequence[dict[str, Any]] = (), files: Sequence[Path] = ()
) -> Experiment:
    """The students of some mixes as an experiment. ``above``: the step of their teachers (``own_teachers``); ``files``: in its place."""
    texts = list(dict.fromkeys(map(str, mixes)))
    taught_by = {"teacher": list(map(str, files))} if files else {"teacher": TOGETHER} if above else {}
    return variant("student", "student", *above, mix=None, each={"mix": texts}, **taught_by)


def by_mix(students: Sequence[PlannedRun]) -> dict[str, list[Path]]:
    """Mix → the folders of its runs, of those that have a teacher."""
    rows: dict[str, list[Path]] = {}
    for run in students:
        if run.teachers and run.alike not in rows.setdefault(str(run.mix), []):
            rows[str(run.mix)].append(run.alike)
    return rows


def require_finished(
    students: Level, seeds: Sequence[int] = (), teacher_features: Mapping[str, Any] | None = None
) -> None:
    """``InputError`` for a student whose teacher is not trained yet. ``seeds``, ``teacher_features``: of the teachers, where they are not
    the fold's own one."""
    own = f" --seeds {','.join(map(str, seeds))}" if seeds else ""
    own += "".join(f" --set {word}" for word in as_overrides(teacher_features or {}))
    same = f"'python cli.py teacher{own}'" if own else "'make teacher' (or 'python cli.py teacher')"
    for run in students.runs:
        for teacher in run.teachers:
            if not is_teacher_file(teacher) and not runs.finished(teacher):
                raise InputError(
                    f"no finished teacher of fold {run.fold} ({teacher}); train it first: {same} with the same dataset, settings "
                    "and folds"
                )


def require_same_teachers(students: Level) -> None:
    """``InputError`` where runs of a row had a teacher of another seed: that of a single one is no part of their path."""
    for alike, run in {run.alike: run for run in students.runs if run.is_step and len(run.teachers) == 1}.items():
        seed = run.teachers[0].name.partition("-")[2]
        for there in filter(runs.finished, sorted(alike.glob("fold*-seed*"))):
            taught_by = runs.read(there).teachers
            if not is_teacher_file(run.teachers[0]) and [path.name.partition("-")[2] for path in taught_by] != [seed]:
                raise InputError(
                    f"{there} was taught by {listed([str(path) for path in taught_by])}, and not by one of {seed}; results of different "
                    f"teachers are no row: remove {alike}, or keep the seed of its teacher"
                )


def own_teachers(seeds: Sequence[int], features: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """A step of the fold's teachers of several seeds, or on other ``features``, or both; none of neither."""
    if not (seeds or features):
        return []
    step = {"name": TOGETHER, "network": "teacher", "mix": "ce", "features": dict(features or {})}
    return [step | ({"seeds": list(seeds)} if seeds else {})]


def named_teachers(seeds: Sequence[int], features: Mapping[str, Any] | None) -> str:
    """What rows of the report call them: "teachers of seeds 0, 1 on use=melspectrogram, bins=64"."""
    who = f"teachers of seeds {', '.join(map(str, seeds))}" if seeds else "teacher"
    heard = ", ".join(f"{key}={value}" for key, value in (features or {}).items())
    return f"{who} on {heard}" if heard else who


def as_options(seeds: Sequence[int], features: Mapping[str, Any]) -> str:
    """``distill``'s options for such teachers: "--teacher-seeds 0,1,2 --teacher-set features.bins=64"; "" for the fold's own."""
    together = [f"--teacher-seeds {','.join(map(str, seeds))}"] if seeds else []
    return " ".join([*together, *(f"--teacher-set {shlex.quote(word)}" for word in as_overrides(features))])


def as_overrides(features: Mapping[str, Any]) -> list[str]:
    """``features.key=value``, as ``--set`` has them."""
    return [f"features.{key}={value}" for key, value in features.items()]


def train_table3(
    corpus: Corpus, settings: Settings, *, folds: Sequence[int] | None, seeds: Sequence[int], **how: Any
) -> None:
    """The rows of Table 3 with their teachers."""
    levels, _ = plan(read("table3"), settings, corpus.name, folds=wanted_folds(corpus, folds), seeds=seeds)
    train(levels, of_corpus(corpus, settings), **how)


def table3_mixes() -> list[LossMix]:
    """The mixes of Table 3's rows."""
    return [step.mix for step in read("table3").last]
