"""Teachers of pairs of folds, for cross-fitted students: each was trained without two folds and serves both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pipeline.config import InputError
from pipeline.experiments.steps import PREVIOUS, Step
from pipeline.listed import LAST
from pipeline.plurals import many
from pipeline.runs import STEP
from pipeline.runs.planned import CROSSED, PlannedRun

#: Fewer folds than this leave a teacher without two of them nothing to learn from.
FEWEST_FOLDS = 3


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


def with_others(like: PlannedRun, fold: int, folds: Sequence[int]) -> list[PlannedRun]:
    """The teachers that were trained without a held-out fold and, each, without one of the other ``folds``."""
    return [of_pair(like, min(other, fold), max(other, fold)) for other in folds if other != fold]


def require_folds(folds: Sequence[int], asked: str) -> None:
    """``InputError`` for too few of them. ``asked``: what asks for pairs, for the message."""
    if len(folds) < FEWEST_FOLDS:
        count = many(len(folds), "fold")
        raise InputError(
            f"{asked} with {count}: a teacher without two of them has nothing to learn from; expected three at least"
        )


def require_epoch(teacher_epoch: str, asked: str) -> None:
    """``InputError`` for the epoch of a teacher that its test fold chose."""
    if teacher_epoch != LAST:
        raise InputError(
            f"{asked} with teacher_epoch = {teacher_epoch}: a teacher without two of the folds is tested on one of them alone; expected last"
        )


def require_labels(unlabelled: float, asked: str) -> None:
    """``InputError`` for hidden labels: how many of a class are hidden goes by the clips that are trained on, so that a teacher without
    another fold learns some that are hidden from its student."""
    if unlabelled:
        raise InputError(
            f"{asked} with unlabelled = {unlabelled:g}: a teacher without two of the folds learns labels that are hidden from its student; expected "
            "unlabelled = 0, or no cross-fitting"
        )


def require_alone(step: Step, steps: Mapping[str, Step], where: str) -> None:
    """``InputError`` where a cross-fitted step is not taught by one step on labels alone, of one seed."""
    teacher = steps.get(step.teachers[0]) if len(step.teachers) == 1 and step.teachers[0] != PREVIOUS else None
    alone = teacher and not (teacher.mix.needs_teacher or teacher.parents or teacher.files or len(teacher.seeds) > 1)
    if not alone or step.files or step.balance or not step.mix.needs_teacher:
        raise InputError(
            f"{where}: cross_fitted asks for a teacher per pair of folds; expected a mix that learns from a teacher, without balance, and "
            "one teacher, trained on labels alone with one seed, for example teacher = 'teacher'"
        )
