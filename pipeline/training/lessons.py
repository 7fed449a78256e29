"""What the terms of a pack's runs need of their teachers, stored, asked in every step, or said by the runs to each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.config import InputError, TrainSettings
from pipeline.losses.adapting import needs_with, shapes
from pipeline.losses.needs import Needs
from pipeline.losses.peers import require_heard_at_once
from pipeline.models import Network
from pipeline.training.dropout import Dropout, dropout_of
from pipeline.training.labels import known_labels
from pipeline.training.live import Lesson, Live
from pipeline.training.peers import Peers
from pipeline.training.step import Teaching
from pipeline.training.task import Run
from pipeline.training.teaching import Stored


def lessons_of(
    teaching: Teaching | None,
    runs: Sequence[Run],
    student: Network,
    samples: Tensor,
    labels: Tensor,
    settings: TrainSettings,
) -> tuple[Stored | Lesson | Peers | None, dict[str, Tensor], dict[str, tuple[int, ...]]]:
    """What the runs hear, the constants that their terms have of it, and the shapes of what teachers say; of runs that need none: nothing."""
    if any(run.cohort for run in runs):
        return lesson_of_peers(runs, student, samples.device), {}, shapes(student)
    if teaching is None or not any(run.mix.needs_teacher for run in runs):
        return None, {}, {}
    return *lesson_of(teaching, runs, student, samples, labels, dropout_of(settings)), teaching.shapes()


def lesson_of(
    teaching: Teaching,
    runs: Sequence[Run],
    student: Network,
    samples: Tensor,
    labels: Tensor,
    dropout: Dropout | None = None,
) -> tuple[Stored | Lesson, dict[str, Tensor]]:
    """What the runs' terms need of their teachers, and the terms' constants, each (R, ...), from each run's training rows."""
    needs = needs_with([run.mix for run in runs], lambda: student)
    teaching.require(needs)
    if isinstance(teaching, Live):
        teaching = teaching.to(samples.device, torch.promote_types(samples.dtype, torch.float32))
    elif dropout and not (dropout.output and teaching.layers):
        raise InputError(
            f"teacher_dropout = {dropout.rate:g}: what was computed once of a teacher drops nothing; expected teachers that run "
            "in every step (Live), or with teacher_dropout_at = 'output' their output layers"
        )
    each: dict[object, dict[str, Tensor]] = {}
    for run in runs if needs.constants else ():
        if (key := (run.teacher, *run.task.identity())) not in each:
            each[key] = constants_of(teaching, run, samples, labels, needs)
    by_run = [each[run.teacher, *run.task.identity()] for run in runs] if each else []
    constants = {name: torch.stack([one[name] for one in by_run]) for name in (by_run[0] if by_run else ())}
    if isinstance(teaching, Live):
        return Lesson(teaching, runs, needs, samples.device, dropout), constants
    return teaching.prepared(needs), constants


def lesson_of_peers(runs: Sequence[Run], student: Network, device: torch.device) -> Peers:
    """The same where runs teach each other. ``InputError`` for a term that asks for what no network under training has."""
    needs = needs_with([run.mix for run in runs], lambda: student)
    for run in runs:
        require_heard_at_once(run.mix)
    return Peers(runs, needs, device)


def constants_of(teaching: Teaching, run: Run, samples: Tensor, labels: Tensor, needs: Needs) -> dict[str, Tensor]:
    train_labels = known_labels(labels, run)
    if isinstance(teaching, Live):
        return teaching.measured(run.teacher, samples, run.task.train, train_labels, needs)
    return teaching.measured(run.teacher, run.task.train, train_labels, needs)
