"""What an experiment leaves beside its runs: which runs are its rows in a report, wherever they lie.

``runs/<corpus>/experiment-<name>/experiment.json`` names folders, each with the runs of one row over folds and seeds. Calls with
other settings add theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.files import json_bytes, write_atomic
from pipeline.runs import folder as files

NOTE = "experiment.json"


class NotedRow(NamedTuple):
    """A row of a report: its name, and the folder of its runs over folds and seeds."""

    name: str
    folder: Path


def place(root: Path, corpus: str, experiment: str) -> Path:
    return root / corpus / f"experiment-{experiment}"


def note_rows(root: Path, corpus: str, experiment: str, rows: Mapping[str, Sequence[Path]]) -> None:
    """Add ``rows`` to those that are noted of an experiment."""
    path = place(root, corpus, experiment) / NOTE
    new = [NotedRow(name, folder) for name, folders in rows.items() for folder in folders]
    kept = dict.fromkeys([*(read_note(path) if path.is_file() else ()), *new])
    entries = [{"row": row.name, "folder": str(row.folder)} for row in kept]
    write_atomic(path, json_bytes({"schema": files.SCHEMA, "experiment": experiment, "rows": entries}))


def noted_rows(root: Path, corpus: str, experiment: str | None = None) -> list[NotedRow]:
    """The rows of all experiments of a corpus, or of one. Raises ``InputError`` for a damaged note."""
    name = "*" if experiment is None else experiment
    return [row for path in sorted((root / corpus).glob(f"experiment-{name}/{NOTE}")) for row in read_note(path)]


def read_note(path: Path) -> list[NotedRow]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return [NotedRow(str(entry["row"]), Path(entry["folder"])) for entry in entries]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise files.damaged(path, f"{type(error).__name__}: {error}") from None
