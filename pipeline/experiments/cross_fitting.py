"""Cross-fitted students: what is said of a clip comes from a teacher that was not trained on it.

On the clips that it was trained on a teacher seldom errs, so what corrects it there touches little. Here the outputs for the clips
of fold j come from a teacher that was trained without fold j and without the held-out fold k. The pair {j, k} serves both: one
teacher per pair of folds, 45 for ten. Outputs of so many networks have logits alone in common.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pipeline import places, runs
from pipeline.engine.missing import Level, say
from pipeline.experiments import pairs
from pipeline.experiments.times import planned_epochs, time_of
from pipeline.plurals import many
from pipeline.runs import STEP
from pipeline.runs.planned import PlannedRun


def levels(teachers: Sequence[PlannedRun], students: Sequence[PlannedRun], folds: Sequence[int]) -> list[Level]:
    """The teachers of pairs, and the students of them, from those of whole folds. ``folds``: all that the corpus has here.

    Raises ``InputError`` for fewer than three folds, for the epoch of a teacher that its test fold chose, and for hidden labels.
    """
    pairs.require_folds(folds, "--cross-fitted")
    by_folder = {run.folder: run for run in teachers}
    trained: dict[tuple[int, int], PlannedRun] = {}
    crossed = []
    for student in students:
        pairs.require_epoch(student.network.teacher_epoch, "--cross-fitted")
        pairs.require_labels(student.network.unlabelled, "--cross-fitted")
        if not student.teachers:
            crossed.append(student)
            continue
        like = by_folder[student.teachers[0]]
        taught_by = pairs.with_others(like, student.fold, folds)
        trained |= {(run.fold, run.without or 0): run for run in taught_by}
        folders = tuple(run.folder for run in taught_by)
        step: dict[str, Any] = {"role": STEP, "teachers": folders, "firsts": (like.alike,), "crossed": True}
        crossed.append(dataclasses.replace(student, **step))
    return [
        Level("teachers of pairs of folds", tuple(trained[key] for key in sorted(trained))),
        Level("cross-fitted students", tuple(crossed)),
    ]


def say_price(teachers: Level, corpus: str) -> None:
    """What the teachers of pairs cost, before they are trained."""
    left = [run for run in teachers.runs if not runs.finished(run.folder)]
    there = f", {len(teachers.runs) - len(left)} of them finished" if len(left) < len(teachers.runs) else ""
    time = time_of(planned_epochs(left), places.runs(), corpus, [left])
    say(f"cross-fitted: {many(len(teachers.runs), 'teacher')}, one per pair of folds{there}. {time}")


def say_price_of(levels: Sequence[Level], corpus: str) -> None:
    """``say_price`` of the teachers of pairs among an experiment's runs, where there are some."""
    teachers = tuple(run for level in levels for run in level.runs if run.without is not None)
    if teachers:
        say_price(Level("teachers of pairs of folds", teachers), corpus)
