"""Runs that are measured on a fold that was held out, and those of all folds, which have none."""

from __future__ import annotations

from pipeline.errors import InputError
from pipeline.runs.record import Record


def of_all_folds(record: Record) -> bool:
    """Whether it was trained on every clip. A corpus of one's own may have a fold 0, which its runs hold out as any other."""
    return record.result.status == "all folds"


def require_held_out(record: Record) -> None:
    """``InputError`` for a run of all folds: it has heard every clip, so that nothing can be measured on clips that it has not."""
    if of_all_folds(record):
        raise InputError(
            f"{record.folder} was trained on all folds, and no clip is held out to measure it on; expected a run of "
            "held-out folds such as runs/CORPUS/student-…/MIX/fold1-seed0 (audio-rkd final ships, and web shows, one of all folds)"
        )
