"""``check``: what lies beside runs, each by its own reader: checkpoints and their notes, notes of experiments, searches, archives."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import locks
from pipeline.errors import Damaged

if TYPE_CHECKING:
    from pipeline.report.check import Checked


def reader_of(path: Path) -> Callable[[Path, Checked], None] | None:
    """The reader of a file by its name and place; None of what is none of these."""
    name, folder = path.name, path.parent.name
    if folder == ".checkpoints":
        return {".pt": checkpoint, ".json": note_of_pack}.get(path.suffix)
    if folder.startswith("experiment-") and name in ("experiment.json", "weights.json"):
        return note
    if name in ("search.json", "trials.jsonl") and folder != ".checkpoints":
        return search
    return archive if name.endswith(".rkd.zip") else None


def checkpoint(path: Path, out: Checked) -> None:
    from pipeline.training import checkpoint as checkpoints  # torch

    out.add("checkpoints", path.stat().st_size)
    note = path.with_suffix(".json")
    if path.name.startswith("pack-") and is_of_runs(path) and not note.is_file():
        out.finding(
            note,
            f"no such file, and {path.name} is there (it was lost)",
            "the command that wrote it says what it goes on from",
        )
    try:
        checkpoints.read(path)
    except checkpoints.Damaged as error:
        problem = str(error).removeprefix(f"{path}: ")
        out.finding(path, problem, "the command that wrote it begins these runs anew and says so")


def is_of_runs(path: Path) -> bool:
    """Whether a checkpoint is of a stage or an experiment that nobody trains now: those have notes beside them, searches have none."""
    home = path.parent.parent
    return not (home / "search.json").is_file() and not locks.holder_now(locks.lock_of(home / "training"))


def note_of_pack(path: Path, _out: Checked) -> None:
    from pipeline.engine import notes

    try:
        notes.require_whole(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged(
            f"{path}: damaged ({error}); the command that wrote it packs these runs anew, or remove it and the .pt beside it"
        ) from None


def note(path: Path, out: Checked) -> None:
    from pipeline.runs import experiments

    out.add("notes of experiments", path.stat().st_size)
    if path.name == experiments.NOTE:
        experiments.read_note(path)
    else:
        for table in ("weights", "steps"):
            experiments.entries_of(path, table)


def search(path: Path, out: Checked) -> None:
    """Of a search: what is searched, and its trials."""
    from pipeline.search import record

    if path.name == record.SEARCH:
        out.add("searches", path.stat().st_size)
        record.read_about(path)
        trials, chosen = path.with_name(record.TRIALS), list(path.parents[1].glob(f"*-{path.parent.name}.toml"))
        if chosen and not trials.is_file():
            lost = f"no such file, and {chosen[0].name}, which was chosen by it, is there (it was lost)"
            out.finding(trials, lost, "the same search writes it again, to the same trials")
        return
    record.require_there(path.with_name(record.SEARCH))
    record.read(path)
    if gone := record.lost(path):
        out.finding(path, record.lost_words(gone), "the same search measures these trials again and says so")


def archive(path: Path, out: Checked) -> None:
    """Of runs: every file in it, by its SHA-256."""
    from pipeline.runs import archive as archives

    out.add("archives", path.stat().st_size)
    with tempfile.TemporaryDirectory() as place:
        archives.unpack(path, Path(place))
