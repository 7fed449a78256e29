"""Which runs are one row of a table, and how rows of one name are told apart: runs of one mix may have had other settings, or other teachers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pipeline import config, runs
from pipeline.digests import digest
from pipeline.runs import Record
from pipeline.runs.damage import spared
from pipeline.teacher_files import is_teacher_file


def undrawn(record: Record) -> str:
    """The setting ``classes`` without the number of the draw: "0%:50%@1" as "0%:50%"."""
    return re.sub(r"@\d+$", "", record.trained_by.classes)


def kind_of(record: Record, classes: Callable[[Record], object] = undrawn) -> str:
    """A digest of what runs of one row have in common beside their name: how they, and all runs and files that they go back to, were trained.

    Fold and seed are not part of it; of the classes what ``classes`` says of a run.
    """
    before = dict.fromkeys([*record.lineage, *record.parents, *([record.peer] if record.peer else [])])
    each = [described(path, classes) for path in before if not is_teacher_file(path)]
    # Once each: for one seed two of them may be one run, for another two alike.
    return digest([own_description(record, classes), *dict.fromkeys(each)])


def described(folder: Path, classes: Callable[[Record], object]) -> str:
    """How a run was trained; where it lay, of one that is gone or damaged."""
    record = spared(partial(runs.read, folder)) if runs.finished(folder) else None
    return own_description(record, classes) if record else folder.parent.name


def own_description(record: Record, classes: Callable[[Record], object]) -> str:
    parts = {key: value for key, value in config.identifying(record.trained_by).items() if key != "classes"}
    files = record.contents or {path: text for path, text in record.teacher_weights.items() if is_teacher_file(path)}
    several = len(record.teachers) > 1 and not record.crossed
    members = [path.name.partition("-")[2] for path in record.teachers if several and not is_teacher_file(path)]
    ways = [word for word in ("start", "base", "peer", "crossed") if getattr(record, word)]
    about = [config.identifying(record.settings.features), parts, classes(record), record.mix_text, record.generation]
    return digest(about, sorted(files.values()), members, ways)


def told_apart(firsts: Mapping[tuple[str, str], Record]) -> tuple[dict[tuple[str, str], str], list[str]]:
    """(name, kind) → what its row is called, and a line on each row whose name is another's too.

    ``firsts``: (name, kind) → one of its runs."""
    counts = Counter(name for name, _ in firsts)
    names = {(name, kind): f"{name} ({kind})" if counts[name] > 1 else name for name, kind in firsts}
    return names, [
        f"{names[key]}: runs as in {record.folder.parent}, taught by {taught_by(record)}."
        for key, record in firsts.items()
        if names[key] != key[0]
    ]


def taught_by(record: Record) -> str:
    """A run's teachers as a reader finds them: files, and folders of runs."""
    places = dict.fromkeys(str(path if is_teacher_file(path) else path.parent) for path in record.teachers)
    return ", ".join(places) or "nobody"


def digest_of(record: Record) -> str:
    """Of a run's settings; of a step, and of a chain, that of its folder: of who taught it, too."""
    if record.is_step:
        return record.folder.parent.name.rpartition("-")[2]
    if record.is_generation:
        return record.folder.parents[2].name.rpartition("-")[2]
    return record.digest[:8]
