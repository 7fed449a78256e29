"""``prune``: what uses each run. A run can be removed only where nothing does, and where its folder is a run's and nothing else's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from pipeline import runs
from pipeline.runs import Record, ancestry, calibration, experiments, refusal
from pipeline.runs import folder as run_files

#: What lies in a run's folder, beside further weights.
FILES = frozenset({*run_files.FILES, calibration.NAME, refusal.NAME})

TABLE = "a table, or runs of one that go back to it"


def uses(
    records: Sequence[Record],
    elsewhere: Iterable[Record],
    noted: Collection[Path],
    waiting: Collection[Path],
    holder: Callable[[Path], str],
) -> dict[Path, str]:
    """Run folder → what uses it; those that nothing uses are not in it.

    ``elsewhere``: runs of other places, which may go back to some of these; ``noted``: folders of the rows of experiments; ``waiting``:
    folders that go on from a checkpoint; ``holder``: who has a folder in use.
    """
    stopped = {home_of(folder) for folder in waiting}
    used = {record.folder: use for record in records if (use := use_of(record, noted, waiting, stopped, holder))}
    by_place = {record.folder.resolve(): record for record in records}
    seeds = [record for record in records if record.folder in used or not runs.finished(record.folder)]
    left, reached = [*seeds, *elsewhere], set[Path]()
    while left:
        record = left.pop()
        for place in {path.resolve() for path in ancestry.before(record)} - reached:
            reached.add(place)
            if place in by_place:
                left.append(by_place[place])
    return {by_place[place].folder: TABLE for place in reached if place in by_place} | used


def use_of(
    record: Record,
    noted: Collection[Path],
    waiting: Collection[Path],
    stopped: Collection[Path],
    holder: Callable[[Path], str],
) -> str:
    """What uses a run, but for those that go back to it; "" where nothing does."""
    folder = record.folder
    if who := holder(folder):
        return f"in use by {who}"
    if not runs.finished(folder):
        if folder in waiting:
            return "unfinished: goes on from its checkpoint"
        return "not known: its result.json is lost" if (folder / "model.pt").exists() else somebodys(folder)
    if record.is_teacher_or_student or record.is_generation or folder.parent in noted:
        return TABLE
    home = home_of(folder)
    if home in stopped:
        return "its experiment was stopped, and goes on"
    if not (home / experiments.NOTE).is_file():
        return f"not known: no {experiments.NOTE} says which runs its experiment uses"
    return somebodys(folder)


def home_of(folder: Path) -> Path:
    """The folder of the experiment of a step's run."""
    return folder.parent.parent


def somebodys(folder: Path) -> str:
    """Why a folder is more than a run's; "" where its name and all in it are as training left them."""
    if not run_files.FOLDER.fullmatch(folder.name):
        return "not known: its name is no run's"
    if folder.is_symlink():
        return "a link, which leads to somebody's own place"
    for path in folder.rglob("*"):
        plain = path.name in FILES or path.suffix == ".pt" or path.name.startswith(".")
        if path.is_symlink() or not (path.is_dir() or plain) or run_files.FOLDER.fullmatch(path.name):
            return f"not known: {path.relative_to(folder)} in it is no run's"
    return ""
