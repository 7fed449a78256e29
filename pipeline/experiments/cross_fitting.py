"""Cross-fitted students: what is said of a clip comes from a teacher that was not trained on it.

On the clips that it was trained on a teacher seldom errs, so what corrects it there touches little. Here the outputs for the clips
of fold j come from a teacher that was trained without fold j and without the held-out fold k. The pair {j, k} serves both: one
teacher per pair of folds, 45 for ten. Outputs of so many networks have logits alone in common.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pipeline import runs
from pipeline.config import InputError
from pipeline.engine.missing import Level, say
from pipeline.experiments.explanation import number, planned_epochs, time_of
from pipeline.files import RUNS
from pipeline.runs import STEP
from pipeline.runs.planned import CROSSED, PlannedRun


def levels(teachers: Sequence[PlannedRun], students: Sequence[PlannedRun], folds: Sequence[int]) -> list[Level]:
    """The teachers of pairs, and the students of them, from those of whole folds. ``folds``: all that the corpus has here.

    Raises ``InputError`` for fewer than three folds, and for the epoch of a teacher that its test fold chose.
    """
    if len(folds) < 3:
        raise InputError(
            f"--cross-fitted with {number(len(folds), 'fold')}: a teacher without two of them has nothing to learn from; expected "
            "three at least"
        )
    by_folder = {run.folder: run for run in teachers}
    pairs: dict[tuple[int, int], PlannedRun] = {}
    crossed = []
    for student in students:
        if student.network.teacher_epoch != "last":
            raise InputError(
                f"--cross-fitted with teacher_epoch = {student.network.teacher_epoch}: a teacher of two folds is tested on one of "
                "them alone; expected last"
            )
        if not student.teachers:
            crossed.append(student)
            continue
        like = by_folder[student.teachers[0]]
        taught_by = []
        for other in folds:
            if other != student.fold:
                key = (min(other, student.fold), max(other, student.fold))
                pairs.setdefault(key, of_pair(like, *key))
                taught_by.append(pairs[key].folder)
        step: dict[str, Any] = {"role": STEP, "teachers": tuple(taught_by), "firsts": (like.alike,), "crossed": True}
        crossed.append(dataclasses.replace(student, **step))
    return [
        Level("teachers of pairs of folds", tuple(pairs[key] for key in sorted(pairs))),
        Level("cross-fitted students", tuple(crossed)),
    ]


def of_pair(like: PlannedRun, fold: int, without: int) -> PlannedRun:
    """The teacher of a fold that is not trained on another one either."""
    settings = dataclasses.replace(like.settings, student=like.settings.teacher)
    return dataclasses.replace(
        like,
        experiment=CROSSED,
        step=f"teacher-without-{without}",
        role=STEP,
        settings=settings,
        fold=fold,
        without=without,
    )


def say_price(pairs: Level, corpus: str) -> None:
    """What the teachers of pairs cost, before they are trained."""
    left = [run for run in pairs.runs if not runs.finished(run.folder)]
    there = f", {len(pairs.runs) - len(left)} of them finished" if len(left) < len(pairs.runs) else ""
    time = time_of(planned_epochs(left), RUNS, corpus)
    say(f"cross-fitted: {number(len(pairs.runs), 'teacher')}, one per pair of folds{there}. {time}")
