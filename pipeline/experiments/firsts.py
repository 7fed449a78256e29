"""The first teachers of a chain that a user named: finished runs of a folder."""

from __future__ import annotations

from pathlib import Path

from pipeline import runs
from pipeline.config import InputError


def first_teacher(folder: Path, fold: int, seed: int, shared: int, corpus: str) -> Path:
    """The run of a fold in ``folder``: of the same seed, else of the seed that all share; on the same corpus."""
    for path in (folder / f"fold{fold}-seed{seed}", folder / f"fold{fold}-seed{shared}"):
        if runs.finished(path):
            if (other := runs.read(path).corpus) != corpus:
                raise InputError(f"{path} is of corpus {other}; expected a teacher of {corpus}")
            return path
    raise InputError(
        f"no finished run of fold {fold} in {folder}; expected fold{fold}-seed{seed} there, in a folder such "
        "as runs/CORPUS/teacher-…, or folds that it has; or teacher files, for example teacher.npz"
    )
