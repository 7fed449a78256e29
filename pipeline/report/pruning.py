"""``prune``: what is removed, and how: renamed at once to a name that nothing reads, then deleted.

Whoever is killed in between leaves a hidden folder, which the next ``prune`` calls a leftover; a run is there as a whole, or not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import locks
from pipeline.errors import InputError
from pipeline.files import sync_folder
from pipeline.report import disk
from pipeline.report.disk import CHECKPOINTS, Item
from pipeline.report.table import Column, Table, of, padded
from pipeline.spelling import one_line


def chosen(items: Iterable[Item], kinds: Sequence[str]) -> list[Item]:
    """Those of ``kinds`` that can be removed, runs before those that they go back to."""
    return sorted(
        (one for one in items if one.removable and one.kind in kinds), key=lambda one: (-one.order, str(one.path))
    )


def require_locks(roots: Iterable[Path]) -> None:
    """``InputError`` where nobody can tell what is in use."""
    for root in roots:
        if root.is_dir() and (reason := locks.unsupported(root)):
            raise InputError(
                f"{root} is on a file system without locks ({reason}), so nobody can tell what is in use; nothing was removed: remove by "
                "hand what 'audio-rkd prune' lists"
            )


def remove(items: Sequence[Item], again: Callable[[], Iterable[Item]], say: Callable[[str], None]) -> list[Item]:
    """Remove what is still removable at a second look (``again``), under the locks of those who would use it; what was removed.

    What somebody uses meanwhile is left, with a line.
    """
    removed: list[Item] = []
    with ExitStack() as stack:
        refused: dict[Path, str] = {}
        for guard in sorted({guard for item in items for guard in item.guards}):
            try:
                stack.enter_context(locks.locked(guard, str(guard)))
            except InputError as error:
                refused[guard] = str(error)
        still = {item.path for item in again() if item.removable}
        for item in items:
            reasons = [refused[guard] for guard in item.guards if guard in refused]
            if reasons or item.path not in still:
                say(one_line(f"{item.path}: left; {reasons[0] if reasons else 'it is used by now'}"))
                continue
            discard(item)
            removed.append(item)
    for item in removed:  # behind the locks, which lie there
        for folder in [
            parent for guard in item.guards for parent in item.path.parents if parent.is_relative_to(guard.parent)
        ]:
            with suppress(OSError):  # not empty
                folder.rmdir()
    return removed


def discard(item: Item) -> None:
    """Remove a file or folder: nobody ever sees a part of it."""
    path, aside = item.path, item.path.with_name(f".{item.path.name}.{os.getpid()}.old")
    if disk.UNFINISHED.fullmatch(path.name):
        aside = path
    else:
        path.rename(aside)
        sync_folder(path.parent)
    if item.kind == CHECKPOINTS:
        path.with_suffix(".json").unlink(missing_ok=True)
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink(missing_ok=True)


def bytes_text(count: int) -> str:
    """ "1.2 GB", "340 MB", "12 kB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{-(-count // 1000)} kB"


#: For people: what was trained alike is one line.
COLUMNS = (
    Column("", of("kind"), "what"),
    Column("", lambda group: bytes_text(group.bytes), "takes"),
    Column("", of("count"), "number"),
    Column("", lambda group: "yes" if group.removable else "", "can be removed"),
    Column("", of("use"), "used by"),
    Column("", lambda group: str(group.place), "where", prose=True),
)


@dataclass
class Group:
    """Items of a kind and a use that lie in one folder."""

    kind: str
    use: str
    removable: bool
    place: Path
    bytes: int = 0
    count: int = 0


def grouped(items: Iterable[Item]) -> list[Group]:
    groups: dict[tuple[object, ...], Group] = {}
    for item in items:
        place = item.path.parent if item.kind in (disk.RUNS, disk.REPETITIONS, disk.CHECKPOINTS) else item.path
        group = groups.setdefault(
            (item.kind, item.use, item.removable, place), Group(item.kind, item.use, item.removable, place)
        )
        group.bytes, group.count = group.bytes + item.bytes, group.count + 1
    return list(groups.values())


def text(items: Sequence[Item]) -> str:
    """A line for what lies together, and how much of it can be removed."""
    if not items:
        return "nothing there"
    free = [item for item in items if item.removable]
    kinds = list(dict.fromkeys(item.kind for item in free))
    end = "nothing that could be removed"
    if free:
        call = " ".join(f"--remove {kind}" for kind in kinds)
        end = f"{bytes_text(sum(item.bytes for item in free))} of it can be removed: audio-rkd prune {call}"
    whole = f"{bytes_text(sum(item.bytes for item in items))} in all; {end}"
    return "\n".join([*padded(Table.build("", COLUMNS, grouped(items))), whole])


def as_json(items: Sequence[Item]) -> dict[str, object]:
    each = [
        {"kind": one.kind, "path": str(one.path), "bytes": one.bytes, "use": one.use, "removable": one.removable}
        for one in items
    ]
    return {"schema": 1, "items": each, "removable_bytes": sum(one.bytes for one in items if one.removable)}
