"""A run's temperature, fitted without its held-out fold.

For a run of held-out fold k: for each other fold j the same network is trained with the same settings, mix and seed, on all folds but
j and k, with a teacher that saw neither; T fits what these say of the clips of their j. So neither T nor what it is fitted on
has seen k, on which calibration is then measured. (Runs of the other held-out folds are at hand, but were trained on k.) They learn from
one fold less than the run itself: where folds are few, they may be surer or less sure than it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import places, runs
from pipeline.config import InputError
from pipeline.corpus.clips import UNLABELLED
from pipeline.engine import missing, rerun
from pipeline.engine.source import Source, classes_of
from pipeline.experiments import planning as experiments
from pipeline.experiments.pairs import of_pair
from pipeline.experiments.reading import read
from pipeline.experiments.stages import own_teachers, students_of
from pipeline.figures import calibration as figures
from pipeline.figures import evaluation
from pipeline.losses import LossMix
from pipeline.plurals import many
from pipeline.runs import Record
from pipeline.runs import calibration as files
from pipeline.runs.calibration import Calibration
from pipeline.runs.planned import PlannedRun
from pipeline.search import planning
from pipeline.teacher_files import is_teacher_file

#: The experiment of the students that are trained for it.
NAME = "calibration"


def calibrated(folder: Path, how: Mapping[str, Any]) -> Calibration:
    """Fit, and keep in ``calibration.json``, the temperature of a finished run; what it needs is trained where it is missing.

    Raises ``InputError`` for no finished run, one that neither ``teacher`` nor ``distill`` trained, and fewer than three folds.
    """
    record = of_stages(folder)
    features = rerun.recorded_files(record, None)
    digests = {str(fold): digest for fold, digest in record.data.items()}
    source = Source(features, record.data_set, digests, classes_of(features) or record.classes)
    teachers, inner = trainings(record)
    levels = [*missing.in_homes(f"{NAME}: teachers", teachers), *missing.in_homes(NAME, inner)]
    missing.train(levels, source, **how)
    told = [runs.read_predictions(run.folder) for run in inner]
    logits, labels = np.concatenate([one.logits for one in told]), np.concatenate([one.labels for one in told])
    temperature = figures.temperature(logits, labels)
    result = Calibration(
        temperature,
        len(labels),
        tuple(run.fold for run in inner),
        tuple(places.recorded(run.folder) for run in inner),
        record.result.weights,
        evaluation.negative_log_likelihood(logits, labels),
        evaluation.negative_log_likelihood(logits / temperature, labels),
        evaluation.expected_calibration_error(logits, labels),
        evaluation.expected_calibration_error(logits / temperature, labels),
    )
    files.write(folder, result)
    return result


def of_stages(folder: Path) -> Record:
    """The record of a run that can be calibrated."""
    if not runs.finished(folder):
        raise InputError(f"{folder}: no finished run there; expected one such as runs/CORPUS/student-…/MIX/fold1-seed0")
    record = runs.read(folder)
    if not (record.is_teacher or record.is_distilled) or record.is_of_images:
        kind = "images" if record.is_of_images else record.role
        raise InputError(
            f"{folder} is a run of {kind}; expected one of sounds that make teacher or make distill trained"
        )
    if not record.result.counts:
        raise InputError(
            f"{folder}: it has no outputs to calibrate ({record.result.status}); expected a run that trained"
        )
    runs.read_predictions(folder)  # the last line is about them: damage is told before anything is trained
    if len(folds_of(record)) < 2:
        raise InputError(f"{folder}: a temperature is fitted on folds that are not held out; expected 3 folds at least")
    return record


def folds_of(record: Record) -> tuple[int, ...]:
    """The folds that it was trained on."""
    return tuple(sorted(fold for fold in record.data if fold not in (record.fold, UNLABELLED)))


def trainings(record: Record) -> tuple[list[PlannedRun], list[PlannedRun]]:
    """Teachers, and the runs that answer for the run's other folds. ``InputError`` where the run is no run of the stages as they are."""
    mix = LossMix.parse(record.recorded_mix)
    require_own_teachers(record, mix)
    if record.is_teacher:
        levels, _ = experiments.plan(
            read("teacher"), record.settings, record.corpus, folds=folds_of(record), seeds=(record.seed,)
        )
        return [], [of_pair(run, run.fold, record.fold) for level in levels for run in level.runs]
    experiment = students_of([mix], teachers_of(record))
    return planning.without(
        experiment, record.settings, record.corpus, folds_of(record), (record.seed,), record.fold, NAME
    )


def teachers_of(record: Record) -> list[dict[str, Any]]:
    """The step of a student's teachers where they are the fold's own of several seeds, or on other features; none of its own alone."""
    if not record.is_step or record.crossed or not record.teachers or any(map(is_teacher_file, record.teachers)):
        return []
    taught_by = [runs.read(teacher) for teacher in record.teachers]
    own, heard = (asdict(one.settings.features) for one in (record, taught_by[0]))
    return own_teachers([one.seed for one in taught_by], {key: heard[key] for key in heard if heard[key] != own[key]})


def require_own_teachers(record: Record, mix: LossMix) -> None:
    """``InputError`` for a run that others taught than its fold's own teachers: they are not there without two folds."""
    experiment = read("teacher") if record.is_teacher else students_of([mix], teachers_of(record))
    levels, _ = experiments.plan(experiment, record.settings, record.corpus, folds=[record.fold], seeds=[record.seed])
    planned = levels[-1].runs[0]
    places = [[path.parts[-2:] for path in of.teachers] for of in (planned, record)]  # wherever the runs lie now
    if places[0] != places[1] or record.crossed:
        raise InputError(
            f"{record.folder}: taught by {', '.join(map(str, record.teachers)) or 'nobody'}; a temperature needs teachers that saw neither of "
            "two folds: expected a run of the fold's own teacher, or teachers"
        )


def lines(folder: Path, calibration: Calibration) -> Sequence[str]:
    """For a terminal: the temperature, and calibration before and after, on the held-out fold."""
    told = runs.read_predictions(folder)
    windows = (
        " (means over windows; predict divides by it window by window)"
        if len(runs.read_rows(folder).labels) > len(told.labels)
        else ""
    )
    before, after = (
        100 * evaluation.expected_calibration_error(told.logits / one, told.labels)
        for one in (1.0, calibration.temperature)
    )
    folds = ", ".join(map(str, calibration.folds))
    ends = figures.LEAST, figures.MOST
    at_end = any(math.isclose(calibration.temperature, end) for end in ends)
    end = f"the end of {figures.LEAST:g} to {figures.MOST:g}, " if at_end else ""
    return [
        f"{folder}",
        f"    temperature {calibration.temperature:.3f}, {end}fitted on {many(calibration.clips, 'clip')}{windows} of folds {folds}",
        f"    calibration error on the held-out fold: {before:.1f} % before, {after:.1f} % after",
    ]
