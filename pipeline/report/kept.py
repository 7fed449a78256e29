"""Tables that an experiment's report measured of its networks, kept as JSON and CSV beside it: the page shows them and measures nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import files, runs
from pipeline.report.table import Section, Table
from pipeline.runs import Record
from pipeline.runs.damage import met, spared
from pipeline.teacher_files import is_teacher_file

SCHEMA = 1


@dataclass(frozen=True)
class Kept:
    """A section of an experiment's report."""

    experiment: str
    title: str
    synthetic: bool
    tables: tuple[Table, ...]
    """As text."""
    rows: tuple[list[dict[str, Any]], ...]
    """Of each table its values by the columns' keys."""

    @property
    def folder(self) -> str:
        """Of its pictures, among those of the page."""
        return stem(self.experiment, self.title)


def stem(experiment: str, title: str) -> str:
    return f"experiment-{experiment}-{re.sub(r'[^a-z0-9]+', '-', title.lower())}"


def keep(folder: Path, experiment: str, sections: Sequence[Section], members: Sequence[Record]) -> None:
    """Write ``experiment-NAME-SECTION.json``, and a CSV of each table; of what ``members`` and their parents were measured for."""
    parents = dict.fromkeys(parent for record in members for parent in record.parents if not is_teacher_file(parent))
    others = [record for parent in parents if (record := spared(partial(runs.read, parent)))]
    weights = {str(record.folder): record.result.weights for record in (*members, *others)}
    for section in sections:
        tables = [
            {
                "caption": table.caption,
                "header": [column.header for column in table.shown],
                "cells": table.cells,
                "rows": table.records(),
            }
            for table in section.tables
        ]
        about = {"schema": SCHEMA, "experiment": experiment, "title": section.title, "weights": weights}
        synthetic = any(record.synthetic for record in members)
        name = stem(experiment, section.title)
        folder.mkdir(parents=True, exist_ok=True)
        for number, table in enumerate(section.tables, 1):
            files.write_atomic(folder / (f"{name}-{number}.csv" if number > 1 else f"{name}.csv"), table.csv().encode())
        whole = files.signed({**about, "synthetic": synthetic, "tables": tables})
        files.write_atomic(folder / f"{name}.json", files.json_bytes(whole))


def found_in(folder: Path) -> list[Kept]:
    """Those of a corpus whose runs still have the weights that were measured; damaged files are told at the command's end."""
    sections = (read(path) for path in sorted(folder.glob("experiment-*.json")))
    return [section for section in sections if section is not None]


def read(path: Path) -> Kept | None:
    """None of a file that is damaged, of another version, or of weights that are gone."""
    try:
        held = files.as_signed(json.loads(path.read_text(encoding="utf-8")))
        if held["schema"] != SCHEMA or not all(map(current, held["weights"], held["weights"].values())):
            return None
        tables = tuple(Table.of_texts(one["caption"], one["header"], one["cells"]) for one in held["tables"])
        rows = tuple(one["rows"] for one in held["tables"])
        return Kept(held["experiment"], held["title"], held["synthetic"], tables, rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        met[f"{path}: damaged ({error}); remove it, and the experiment's command writes it again"] = None
        return None


def current(folder: str, weights: str) -> bool:
    """Whether a run is there with the weights that were measured."""
    there = runs.finished(Path(folder))
    record = spared(partial(runs.read, Path(folder))) if there else None
    return record is not None and record.result.weights == weights
