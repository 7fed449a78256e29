"""Which files teach, and which of them the students of a held-out fold: those whose teacher has not seen that fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.config import InputError
from pipeline.teacher_files.reading import read
from pipeline.teacher_files.schema import SUFFIXES, TeacherFile, is_teacher_file

KINDS = ", ".join(f"*{suffix}" for suffix in SUFFIXES)


def files_in(place: Path) -> tuple[Path, ...]:
    """The teacher files that a path, a pattern such as ``teachers/*.npz``, or a folder names; () of anything else.

    ``InputError`` for a pattern that fits nothing.
    """
    if place.is_dir():
        return tuple(
            sorted(path for path in place.iterdir() if is_teacher_file(path) and path.is_file() and path.name[0] != ".")
        )
    if is_teacher_file(place) and not place.is_file() and any(sign in str(place) for sign in "*?["):
        root = Path(place.anchor)
        paths = tuple(sorted(root.glob(str(place.relative_to(root)))))
        if not paths:
            raise InputError(f"{place}: no file fits this pattern; expected teacher files ({KINDS})")
        return paths
    return (place,) if is_teacher_file(place) else ()


def teacher_of(file: TeacherFile, fold: int) -> int | None:
    """Which of a file's teachers is for students of a held-out fold; None where all saw it, or are for other folds.

    ``InputError`` where the file does not say which of several.
    """
    candidates = [i for i in range(file.teachers) if not file.folds or file.folds[i] == fold]
    fitting = [i for i in candidates if file.trained_on is None or fold not in file.trained_on[i]]
    if len(fitting) > 1:
        raise InputError(
            f"{file.path}: {len(fitting)} of its teachers have not seen fold {fold}; expected an array fold that names the "
            "held-out fold that each is for"
        )
    return fitting[0] if fitting else None


def require_told(file: TeacherFile, trust: bool) -> None:
    """``InputError`` for a file that does not say what its teacher was trained on, where nobody vouches for it."""
    if file.trained_on is None and not trust:
        raise InputError(
            f"{file.path} does not say which folds its teacher was trained on, so it may have seen the clips that are held out; "
            "expected an array trained_on (the folds' numbers; empty if none), or --trust-teacher: every table then says so"
        )


def of_fold(paths: Sequence[Path], fold: int, trust: bool = False) -> tuple[Path, ...]:
    """Those of the files that teach students of a held-out fold; several are an ensemble.

    ``InputError`` where all of them saw the fold, or one does not say what it saw and ``trust`` is not given.
    """
    files = [read(path) for path in paths]
    for file in files:
        require_told(file, trust)
    fitting = tuple(file.path for file in files if teacher_of(file, fold) is not None)
    if not fitting:
        raise InputError(unfit(files, fold))
    return fitting


def unfit(files: Sequence[TeacherFile], fold: int) -> str:
    """Why none of the files teaches students of a fold."""
    expected = f"expected a teacher that has not seen fold {fold}: a file for each held-out fold, all of them named"
    file = files[0]
    if len(files) == 1 and file.folds and fold not in file.folds:
        return f"{file.path} has teachers for the held-out folds {numbers(file.folds)}, and none for fold {fold}; {expected}"
    seen = "; ".join(f"{one.path} on {numbers(sorted(set().union(*one.trained_on or ())))}" for one in files[:3])
    return f"fold {fold} is held out, and was trained on by its teacher ({seen}); {expected}"


def numbers(folds: Sequence[int]) -> str:
    return " ".join(map(str, folds)) or "no fold"
