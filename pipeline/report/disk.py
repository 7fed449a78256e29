"""``prune``: what lies in cache/ and runs/, how much it takes, and whether anything uses it. Nothing is changed here.

Conservative: what cannot be read, is locked, or goes on from where it was stopped, is used.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import locks, places, runs
from pipeline.cache.schema import FILE_NAMES, fold_path
from pipeline.engine import notes
from pipeline.errors import InputError
from pipeline.plurals import many
from pipeline.report import uses
from pipeline.report.check import UNFINISHED
from pipeline.runs import Record
from pipeline.runs import folder as run_files
from pipeline.runs.damage import spared
from pipeline.runs.experiments import noted_rows
from pipeline.runs.planned import DEPTHS
from pipeline.teacher_files.schema import FOLDER as TEACHER_FILES

FEATURES, FILES, RUNS, CHECKPOINTS = "features", "teacher-files", "runs", "checkpoints"
REPETITIONS, LEFTOVERS = "repetitions", "leftovers"

#: What can be removed, by the name that a user gives.
KINDS = (FEATURES, FILES, RUNS, CHECKPOINTS, REPETITIONS, LEFTOVERS)

#: In seconds: a file that is being written is younger.
HOUR = 3600

#: Where rerun puts repetitions, see ``engine.rerun``.
AGAIN = ".again"


@dataclass(frozen=True)
class Item:
    """Something that takes room."""

    kind: str
    """One of ``KINDS``; or another word, of what is never removed here."""
    path: Path
    bytes: int
    use: str
    """What uses it, or why nothing does, for people."""
    removable: bool = False
    guards: tuple[Path, ...] = ()
    """What who uses it locks: it is locked before anything is removed."""
    order: int = 0
    """Of those that are removed the largest come first: a run before those that it goes back to."""


def survey(cache: Path, runs_root: Path, others: Sequence[Path] = (), corpus: str | None = None) -> list[Item]:
    """All that lies there, of one corpus or of all. ``others``: folders that are told as a whole, and never removed."""
    there = sorted({path.name for root in (cache, runs_root) for path in folders_in(root)})
    names = [corpus] if corpus else there
    if corpus and corpus not in there:  # "..", too
        raise InputError(
            f"nothing of {corpus!r} in {cache} and {runs_root}; expected a corpus that has features or runs"
        )
    items = [item for name in names for item in of_corpus(cache / name, runs_root / name, runs_root, name)]
    told = [] if corpus else [path for path in others if path.is_dir()]
    return items + [Item(str(path), path, size(path), "never removed here") for path in told]


def of_corpus(cache: Path, home: Path, runs_root: Path, name: str) -> Iterator[Item]:
    """What there is of one corpus."""
    finals = places.finals() / name
    held = dict(held_locks([cache, home, finals]))
    records, unread = records_in(runs_root, name)
    of_finals, unread_finals = records_in(places.finals(), name)
    unread += unread_finals
    waiting, stale = checkpoints(home)
    noted = {row.folder for row in noted_rows(runs_root, name)}
    yield from of_runs(records, of_finals, noted, waiting, held)
    for path in stale:
        holder = holder_of(path, held)
        use = f"in use by {holder}" if holder else "its runs are finished"
        yield Item(CHECKPOINTS, path, size(path), use, not holder, (path.parents[1] / "training",))
    if waiting:
        unfinished = sorted(set(waiting.values()))
        yield Item(
            "unfinished",
            home,
            sum(map(size, unfinished)),
            f"{many(len(unfinished), 'checkpoint')} to go on from: the command that was stopped",
        )
    yield from hidden(home, held)
    yield from leftovers([cache, home])
    every = [*records, *of_finals]
    yield from of_features(cache, name, every, unread, held)
    yield from of_files(cache / TEACHER_FILES, every, unread, held)


def of_runs(
    records: Iterable[Record],
    elsewhere: Iterable[Record],
    noted: Collection[Path],
    waiting: Collection[Path],
    held: Mapping[Path, str],
) -> Iterator[Item]:
    records = list(records)
    used = uses.uses(records, elsewhere, noted, waiting, lambda folder: holder_of(folder, held))
    for record in records:
        folder = record.folder
        unused = "no table" if runs.finished(folder) else "unfinished, and no checkpoint to go on from"
        home, use = folder.parents[min(DEPTHS[record.role][0], len(folder.parents) - 1)], used.get(folder)
        yield Item(RUNS, folder, size(folder), use or unused, not use, (home / "training",), len(record.lineage))


def records_in(root: Path, corpus: str) -> tuple[list[Record], int]:
    """The runs of a corpus, finished or begun, and how many of them cannot be read."""
    home = root / corpus
    finished = [folder for folder, files in run_files.run_folders(home, None) if "result.json" in files]
    begun = [folder for folder in runs.unfinished(root, corpus) if (folder / "config.json").is_file()]
    records = [record for folder in (*finished, *begun) if (record := spared(partial(runs.read, folder)))]
    return records, len(finished) + len(begun) - len(records)


def checkpoints(home: Path) -> tuple[dict[Path, Path], list[Path]]:
    """Run folder → the checkpoint that it goes on from, and the checkpoints of which every run is finished.

    A checkpoint without a note that can be read is of unfinished work, whose nobody knows.
    """
    waiting: dict[Path, Path] = {}
    stale: list[Path] = []
    for path in sorted(home.rglob(".checkpoints/*.pt")):
        try:
            cells = notes.require_whole(json.loads(path.with_suffix(".json").read_bytes()))["cells"]
            folders = [places.located(cell["folder"]) for cell in cells]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            waiting[path] = path
            continue
        if folders and all(map(runs.finished, folders)):
            stale.append(path)
        else:
            waiting |= dict.fromkeys(folders, path)
    return waiting, stale


def hidden(home: Path, held: Mapping[Path, str]) -> Iterator[Item]:
    """Repetitions, which no table reads."""
    for again in sorted(home.rglob(AGAIN)):
        for folder in folders_in(again):
            holder = holder_of(folder, held)
            finished = runs.finished(folder)
            use = f"in use by {holder}" if holder else "no table" if finished else "unfinished: rerun goes on"
            yield Item(REPETITIONS, folder, size(folder), use, finished and not holder and plain(folder), (folder,))


def leftovers(roots: Sequence[Path]) -> Iterator[Item]:
    """What processes that have ended left half-written, or half-removed."""
    for root in roots:
        for folder, below, names in os.walk(root):
            for name in (*below, *names):
                match = UNFINISHED.fullmatch(name)
                path = Path(folder) / name
                if match and ended(int(match[1])) and (match[2] == "old" or old(path)):
                    yield Item(LEFTOVERS, path, size(path), "left by a process that ended", True)
            below[:] = [name for name in below if not UNFINISHED.fullmatch(name)]


def old(path: Path) -> bool:
    """Whether nobody can still be writing it, on another machine either."""
    try:
        return time.time() - path.lstat().st_mtime > HOUR
    except FileNotFoundError:  # renamed meanwhile
        return False


def ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # somebody else's: it lives
        return False
    return False


def of_features(
    cache: Path, corpus: str, records: Sequence[Record], unread: int, held: Mapping[Path, str]
) -> Iterator[Item]:
    """The folders of features, one for each settings of them."""
    users: dict[Path, int] = {}
    for record in records:
        try:
            folder = fold_path(cache.parent, corpus, record.settings.features, 1).parent
            users[folder] = users.get(folder, 0) + 1
        except InputError:  # settings that this version does not know
            unread += 0 if record.is_of_images else 1
    training = training_now(cache, held)
    for folder in folders_in(cache):
        if folder.name == TEACHER_FILES or not any(path.suffix in (".h5", ".parts") for path in folder.iterdir()):
            continue
        holder = holder_of(folder, held) or training
        if holder:
            use = f"in use by {holder}"
        elif any(path.suffix == ".parts" for path in folder.iterdir()):
            use = "unfinished: make features goes on"
        elif folder in users:
            use = many(users[folder], "run")
        elif other := next((path.name for path in folder.iterdir() if not of_extraction(path)), ""):
            use = f"not known: {other} in it is no features'"
        elif unread:
            use = f"not known: {unread} of the runs cannot be read"
        else:
            use = "no run"
        yield Item(
            FEATURES, folder, size(folder), use, use == "no run" and plain(folder), tuple(sorted(folder.glob("*.h5")))
        )


def training_now(cache: Path, held: Mapping[Path, str]) -> str:
    """Who trains at this moment, and may read anything of ``cache``; "" for nobody."""
    return next((holder for path, holder in held.items() if not path.is_relative_to(cache)), "")


def of_extraction(path: Path) -> bool:
    """Whether a file is one that stage one leaves in the folder of features."""
    return bool(re.fullmatch(FILE_NAMES, path.name)) or path.name == "failures.csv" or path.name.startswith(".")


def of_files(folder: Path, records: Sequence[Record], unread: int, held: Mapping[Path, str]) -> Iterator[Item]:
    """What ONNX models said of the clips."""
    used = {path.resolve() for record in records for path in (*record.parents, *record.firsts, *record.contents)}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(".") or not path.is_file() or path.is_symlink():
            continue
        holder = holder_of(path, held) or training_now(folder.parent, held)
        free = path.resolve() not in used and not unread and not holder
        use = f"in use by {holder}" if holder else "no run" if free else "runs" if not unread else "not known"
        yield Item(FILES, path, size(path), use, free, (path,))


def held_locks(roots: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """What another process has locked at this moment → which: a stage's whole folder, or the file or folder that the lock is beside."""
    own = locks.signature()
    for root in roots:
        for lock in root.rglob(".*.lock"):
            if (holder := locks.holder_now(lock)) and locks.signature_of(holder) != own:
                guarded = lock.with_name(lock.name[1:].removesuffix(".lock"))
                yield (guarded if guarded.exists() else lock.parent), holder


def holder_of(path: Path, held: Mapping[Path, str]) -> str:
    """Who has ``path`` in use, or something in it, or what it lies in; "" for nobody."""
    near = (who for place, who in held.items() if path.is_relative_to(place) or place.is_relative_to(path))
    return next(near, "")


def plain(folder: Path) -> bool:
    """Whether a folder lies where its name says: what a link leads to is somebody's own place."""
    return not folder.is_symlink()


def folders_in(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def size(path: Path) -> int:
    """Bytes of a file or folder, without what links in it lead to, and what is gone meanwhile."""
    if path.is_symlink() or not path.is_dir():
        return bytes_of(path)
    return sum(bytes_of(Path(folder) / name) for folder, _, names in os.walk(path) for name in names)


def bytes_of(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
