"""Teachers that are files: named in a step or on the command line, found, and given to the folds that they have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.config import InputError
from pipeline.runs.folder import FOLDER
from pipeline.teacher_files.choosing import KINDS, files_in, of_fold
from pipeline.teacher_files.schema import digest_of, is_teacher_file


def told_apart(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Names of steps, and those that are files, by their suffix."""
    steps = tuple(name for name in names if not is_teacher_file(name))
    return steps, tuple(Path(name) for name in names if is_teacher_file(name))


def located(files: Sequence[Path], beside: Path, where: str) -> tuple[Path, ...]:
    """The files, or those that patterns fit, beside an experiment's file or where one works."""
    paths: list[Path] = []
    for file in files:
        there = next((place for place in (beside / file, file) if any(map(Path.is_file, fitting(place)))), None)
        if there is None:
            raise InputError(
                f"{where}: teacher = {str(file)!r}: no such file, beside it or here; expected a teacher file ({KINDS})"
            )
        paths += files_in(there)
    return each_once(paths, where)


def fitting(place: Path) -> tuple[Path, ...]:
    """``files_in``, none for a pattern that fits nothing."""
    try:
        return files_in(place)
    except InputError:
        return ()


def named(places: Sequence[Path]) -> tuple[Path, ...]:
    """The teacher files of paths, patterns and folders that a user names; all else, folders of runs above all, stays as it is."""
    paths: list[Path] = []
    for place in places:
        of_runs = place.is_dir() and any(FOLDER.fullmatch(path.name) for path in place.iterdir())
        paths += ([] if of_runs else list(files_in(place))) or [place]
    return each_once(paths, "--teacher")


def files_alone(places: Sequence[Path]) -> tuple[Path, ...]:
    """``named``; ``InputError`` for what is no file, no pattern, and no folder of files."""
    paths = named(places)
    for place in paths:
        if is_teacher_file(place) and place.is_file():
            continue
        if place.is_dir() and any(FOLDER.fullmatch(path.name) for path in place.iterdir()):
            raise InputError(
                f"--teacher {place}: a folder of runs; expected teacher files: audio-rkd teacher-file {place} -o FILE.npz writes one "
                "of them (ban --teacher takes the folder itself)"
            )
        kind = "a folder without any" if place.is_dir() else "no teacher file" if place.exists() else "not there"
        raise InputError(f"--teacher {place}: {kind}; expected teacher files ({KINDS}), a pattern, or a folder of them")
    return paths


def each_once(paths: Sequence[Path], where: str) -> tuple[Path, ...]:
    for path in paths:
        if paths.count(path) > 1:
            raise InputError(f"{where}: {path} is named twice; expected each once")
    return tuple(paths)


def contents(paths: Sequence[Path]) -> tuple[tuple[Path, str], ...]:
    """Digest of the content of those that are files."""
    return tuple((path, digest_of(path)) for path in paths if is_teacher_file(path))


def teaching(paths: Sequence[Path], fold: int, trust: bool) -> tuple[Path, ...]:
    """Those of the files that teach students of a fold; () of none."""
    return of_fold(paths, fold, trust) if paths else ()
