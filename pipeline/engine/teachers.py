"""Who may teach: runs that were trained on the very data that their students are trained and tested on. No torch here.

A teacher's fold number says nothing by itself: of another assignment of clips to folds, a teacher of fold 1 has been
trained on the clips that its student is tested on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline import runs
from pipeline.config import FeatureSpec, InputError
from pipeline.runs.planned import Cell


def check(cells: Sequence[Cell], data: Mapping[str, str], classes: Sequence[str], spec: FeatureSpec | None) -> None:  # fmt: skip
    """``InputError`` for the first teacher of ``cells`` that was trained on something else, saying what differs.

    ``data``: fold → digest of its content, as run folders keep it; ``spec``: the features' settings, None for images.
    Teachers that are not finished are left to whoever reads them.
    """
    now = {int(fold): digest for fold, digest in data.items()}
    for folder in dict.fromkeys(teacher for cell in cells for teacher in cell.teachers):
        if runs.finished(folder) and (
            reason := runs.outdated(runs.read(folder), data=now, classes=classes, features=spec)
        ):
            raise InputError(f"{folder} {reason}, so it may have seen the clips that are held out here; expected a teacher "
                             f"trained on the same data: remove {folder} and train it again with these features, or name "
                             "another one")  # fmt: skip
