"""What a command prints: text for people, and the same as plain data for ``--json``, whose shape ``schemas.json`` says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pipeline.files import plain
from pipeline.report.table import Table

SCHEMAS = Path(__file__).parent / "schemas.json"


class Told(str):
    """The text; ``data`` is the same, keys as in the schema of its command."""

    data: Mapping[str, Any]

    def __new__(cls, text: str, data: Mapping[str, Any]) -> Self:
        told = super().__new__(cls, text)
        told.data = data
        return told


def of_table(text: str, title: str, table: Table, notes: Iterable[str] = ()) -> Told:
    """A table with its notes: a dictionary per row, keys and fractions as in the CSV."""
    return Told(text, {"title": title, "rows": table.records(), "notes": list(notes)})


def of_lines(text: str, **data: Any) -> Told:
    """What is running text: its lines, beside what is known by name."""
    return Told(text, {**data, "lines": text.splitlines()})


def printed(told: str, as_json: bool) -> str:
    """What goes to standard output."""
    return as_text(told.data) if as_json and isinstance(told, Told) else told.rstrip("\n")


def as_text(data: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(plain(data), indent=2, ensure_ascii=False)


def schemas() -> dict[str, Any]:
    """Command → JSON Schema of what it prints with ``--json`` (of ``predict`` and ``follow``: of each line)."""
    read: dict[str, Any] = json.loads(SCHEMAS.read_text(encoding="utf-8"))
    return read
