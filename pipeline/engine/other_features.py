"""Teachers of other features than their students': where these lie, and who cannot have such a teacher. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import runs
from pipeline.config import InputError
from pipeline.engine.source import Source
from pipeline.runs.planned import Files, PlannedRun
from pipeline.teacher_files import is_teacher_file


def files_of(teacher: Path, planned: Sequence[PlannedRun], source: Source) -> Files:
    """Where the features of a teacher lie: those of its students, or its own of the same clips."""
    unlike = any(run.unlike and teacher in run.teachers for run in planned)
    return source.on(runs.read(teacher).settings.features).files if unlike else source.files


def require_live(planned: Sequence[PlannedRun]) -> None:
    """``InputError`` for teachers that cannot run in every step, on the students' own input: files, and those of other features."""
    for run in planned:
        if any(map(is_teacher_file, run.teachers)):
            raise InputError(f"{planned[0].folder}: its teacher is a file and cannot run in every step; expected a run")
        for folder in run.teachers if run.unlike else ():
            if runs.read(folder).settings.features != run.settings.features:
                raise InputError(
                    f"{run.folder}: its teacher {folder} has other features and cannot run in every step; expected one of the same"
                )
