"""Who may teach: runs that were trained on the very data that their students are trained and tested on. No torch here.

A teacher's fold number says nothing by itself: of another assignment of clips to folds, a teacher of fold 1 has been
trained on the clips that its student is tested on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import runs
from pipeline.config import InputError
from pipeline.engine.source import Source
from pipeline.losses.library import teacher_reads
from pipeline.runs.planned import PlannedRun

#: The output of an ensemble that holds every member's logits.
MEMBERS = "members"


def check(planned: Sequence[PlannedRun], source: Source) -> None:
    """``InputError`` for the first teacher of another fold than its student's, or that was trained on something else.

    Teachers that are not finished are left to whoever reads them.
    """
    now = {int(fold): digest for fold, digest in source.digests.items()}
    for folder, fold in dict.fromkeys((teacher, run.fold) for run in planned for teacher in run.teachers):
        if not runs.finished(folder):
            continue
        record, spec = runs.read(folder), source.spec(planned[0].settings)
        require_fold(folder, record.fold, fold)
        if reason := runs.outdated(record, data=now, classes=source.classes, features=spec):
            raise InputError(
                f"{folder} {reason}, so it may have seen the clips that are held out here; expected a teacher "
                f"trained on the same data: remove {folder} and train it again with these features, or name "
                "another one"
            )


def require_fold(folder: Path, teachers_fold: int, wanted: int) -> None:
    """``InputError`` where a teacher holds out another fold than its student."""
    if teachers_fold != wanted:
        raise InputError(
            f"{folder} is the teacher of fold {teachers_fold}, wanted for fold {wanted}: it was trained on "
            f"the clips that are held out there; use the teacher of fold {wanted}"
        )


def require_members(run: PlannedRun) -> None:
    """``InputError`` where a term reads an ensemble's members, and the run's teacher is a single run or has one twice.

    Between members that are the same there is no disagreement to learn.
    """
    for term in run.mix.terms:
        if MEMBERS not in (teacher_reads(term.name, dict(term.options)) or ()):
            continue
        if len(run.teachers) == 1:
            raise InputError(
                f"{term.key} reads the members of an ensemble, and its teacher is a single run ({run.teachers[0]}); expected "
                "several, for example seeds = [0, 1, 2] of the step that teaches, in an experiment's file"
            )
        weights = [runs.read(folder).result.weights or folder for folder in run.teachers if runs.finished(folder)]
        if repeated(run.teachers) or repeated(weights):
            raise InputError(
                f"{term.key} reads the members of an ensemble, and two of them are the same run "
                f"({', '.join(map(str, run.teachers))}); expected runs that differ, for example of other seeds"
            )


def repeated(values: Sequence[object]) -> bool:
    return len(set(values)) < len(values)
