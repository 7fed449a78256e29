"""Who may teach: runs that were trained on the very data that their students are trained and tested on. No torch here.

A teacher's fold number says nothing by itself: of another assignment of clips to folds, a teacher of fold 1 has been
trained on the clips that its student is tested on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import config, runs
from pipeline.config import FeatureSpec, InputError
from pipeline.runs.planned import Cell


def check(cells: Sequence[Cell], data: Mapping[str, str], classes: Sequence[str], spec: FeatureSpec | None) -> None:  # fmt: skip
    """``InputError`` for the first teacher of ``cells`` that was trained on something else, saying what differs.

    ``data``: fold → digest of its content, as run folders keep it; ``spec``: the features' settings, None for images.
    Teachers that are not finished are left to whoever reads them.
    """
    for folder in dict.fromkeys(teacher for cell in cells for teacher in cell.teachers):
        if runs.finished(folder) and (other := difference(runs.read_config(folder), data, classes, spec)):
            raise InputError(f"{folder} was trained with other {other}, so it may have seen the clips that are held out "
                             f"here; expected a teacher trained on the same data: remove {folder} and train it again "
                             "with these features, or name another one")  # fmt: skip


def difference(
    about: Mapping[str, Any], data: Mapping[str, str], classes: Sequence[str], spec: FeatureSpec | None
) -> str:
    """In what a run's record differs from the data at hand, in a few words; "" where it does not."""
    if spec is not None:
        theirs = config.build(FeatureSpec, about["settings"]["features"], "the teacher's settings")
        for name in FeatureSpec.__dataclass_fields__:
            if (old := getattr(theirs, name)) != (new := getattr(spec, name)):
                return f"features (features.{name} = {old}, here {new})"
    if list(about.get("classes", classes)) != list(classes):
        return f"classes ({' '.join(about['classes'])}; here {' '.join(classes)})"
    if folds := other_folds(about["data"], data):
        return f"features of fold {', '.join(folds)} (clips were added, removed, moved or changed since)"
    return ""


def other_folds(one: Mapping[str, str], two: Mapping[str, str]) -> list[str]:
    """The folds whose content differs, or that only one of both has."""
    return sorted(fold for fold in one.keys() | two.keys() if one.get(fold) != two.get(fold))
