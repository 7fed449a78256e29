"""What an experiment leaves beside its runs: which runs are its rows in a report, wherever they lie.

``runs/<corpus>/experiment-<name>/experiment.json`` names folders, each with the runs of one row over folds and seeds. Calls with
other settings add theirs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import places
from pipeline.errors import InputError
from pipeline.files import as_signed, json_bytes, signed, write_atomic
from pipeline.runs import folder as files
from pipeline.runs import lost
from pipeline.runs.reading import read as read_run
from pipeline.runs.record import Record

NOTE, WEIGHTS = "experiment.json", "weights.json"


class NotedRow(NamedTuple):
    """A row of a report: its name, and the folder of its runs over folds and seeds."""

    name: str
    folder: Path
    fold: int | None = None
    """Of a row whose held-out folds have settings of their own: the one that this folder is for. All such folders are one row."""


def place(root: Path, corpus: str, experiment: str) -> Path:
    return root / corpus / f"experiment-{experiment}"


def note_rows(
    root: Path,
    corpus: str,
    experiment: str,
    rows: Mapping[str, Sequence[Path]],
    untrained: Mapping[str, str] | None = None,
    *,
    part: bool = False,
) -> None:
    """Add ``rows`` to those that are noted of an experiment. ``untrained``: rows that are not trained → why, as of now; where whoever
    trained left rows out (``part``), beside what is noted of these.

    One that is noted under a name that it no longer has goes out: of two rows, the one beside a row that was left out had the experiment's.
    """
    there = noted_untrained(root, corpus, experiment) if part else {}
    others = {name: why for name, why in there.items() if not {name, f"{experiment}/{name}"} & rows.keys()}
    new = [NotedRow(name, folder) for name, folders in rows.items() for folder in folders]
    note(root, corpus, experiment, new, {**others, **(untrained or {})})


def note(
    root: Path, corpus: str, experiment: str, new: Sequence[NotedRow], untrained: Mapping[str, str] | None = None
) -> None:
    """``note_rows`` of entries one by one."""
    path = place(root, corpus, experiment) / NOTE
    there = [row for row in read_note(path) if not renamed(row, experiment, new)] if path.is_file() else []
    kept = dict.fromkeys([*there, *new])
    entries = [
        {"row": row.name, "folder": places.recorded(row.folder), **({} if row.fold is None else {"fold": row.fold})}
        for row in kept
    ]
    write(path, {"schema": files.SCHEMA, "experiment": experiment, "rows": entries, "untrained": dict(untrained or {})})


def renamed(row: NotedRow, experiment: str, new: Sequence[NotedRow]) -> bool:
    """Whether a row that was noted as the experiment's only one is among ``new`` as one of several."""
    inside = f"{experiment}/"
    return row.name == experiment and any(
        other.name.startswith(inside) and (other.folder, other.fold) == (row.folder, row.fold) for other in new
    )


def noted_untrained(root: Path, corpus: str, experiment: str) -> dict[str, str]:
    """Rows of an experiment that are not trained → why."""
    return entries_of(place(root, corpus, experiment) / NOTE, "untrained")


def note_weight(root: Path, corpus: str, experiment: str, key: str, term: str, weight: float) -> None:
    """Keep the measured weight of a term. ``key``: digest of all that it depends on."""
    add(place(root, corpus, experiment) / WEIGHTS, "weights", key, {"term": term, "weight": weight})


def lost_weights(root: Path, corpus: str, experiment: str) -> str:
    """The line on the measured weights that an experiment which was trained before lacks; "" where they are there, or nothing tells."""
    path = place(root, corpus, experiment) / WEIGHTS
    if path.is_file() or not path.with_name(NOTE).is_file():
        return ""
    return f"{path}: no such file, and {NOTE} is there (it was lost, or no weight was measured before); weights are measured again"


def noted_weight(root: Path, corpus: str, experiment: str, key: str) -> float | None:
    """The weight that was kept under ``key``; None without one. ``InputError`` for a damaged note."""
    path = place(root, corpus, experiment) / WEIGHTS
    kept = entries_of(path, "weights").get(key)
    return None if kept is None else positive(path, kept, "weight")


def note_time(root: Path, corpus: str, experiment: str, alike: Path, seconds: float, base_seconds: float) -> None:
    """Keep what a step took of the runs that lie in the folder ``alike``, and one of their base alone beside it."""
    times = {"seconds": seconds, "base_seconds": base_seconds}
    add(place(root, corpus, experiment) / WEIGHTS, "steps", places.recorded(alike), times)


def noted_times(root: Path, corpus: str, experiment: str) -> dict[Path, tuple[float, float]]:
    """Folder of a row's runs → seconds of a step, and of one of their base alone. ``InputError`` for a damaged note."""
    path = place(root, corpus, experiment) / WEIGHTS
    return {
        places.located(alike): (positive(path, entry, "seconds"), positive(path, entry, "base_seconds"))
        for alike, entry in entries_of(path, "steps").items()
    }


def positive(path: Path, entry: Any, key: str) -> float:
    try:
        value = float(entry[key])
    except (ValueError, KeyError, TypeError) as error:
        raise files.damaged(path, f"{type(error).__name__}: {error}") from None
    if not 0 < value < math.inf:
        raise files.damaged(path, f"{key} {value}")
    return value


def add(path: Path, table: str, key: str, entry: Mapping[str, Any]) -> None:
    """Add an entry to a table of a note."""
    tables = {name: entries_of(path, name) for name in ("weights", "steps")}
    tables[table][key] = dict(entry)
    write(path, {"schema": files.SCHEMA, **tables})


def write(path: Path, content: Mapping[str, Any]) -> None:
    """With its digest, and whose note it is."""
    write_atomic(path, json_bytes(signed({**content, "experiment": experiment_of(path)})))


def experiment_of(path: Path) -> str:
    """By its folder, which alone says whose note it is."""
    return path.parent.name.removeprefix("experiment-")


def read(path: Path) -> dict[str, Any]:
    """A note; ``InputError`` where it is damaged, or another experiment's. Those of earlier versions have no digest."""
    try:
        values = as_signed(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise files.damaged(path, f"{type(error).__name__}: {error}") from None
    if not isinstance(values, dict):
        raise files.damaged(path, f"expected an object, found {type(values).__name__}")
    if (theirs := values.get("experiment", experiment_of(path))) != experiment_of(path):
        raise files.damaged(path, f"of the experiment {theirs}, and its folder is of {experiment_of(path)}")
    return values


def entries_of(path: Path, table: str) -> dict[str, Any]:
    """A table of a note; empty where there is none."""
    if not path.is_file():
        return {}
    entries = read(path).get(table, {})
    if not isinstance(entries, dict):
        raise files.damaged(path, f"{table} is no table")
    return entries


def noted_rows(root: Path, corpus: str, experiment: str | None = None) -> list[NotedRow]:
    """The rows of all experiments of a corpus, or of one. Raises ``InputError`` for a damaged note."""
    name = "*" if experiment is None else experiment
    return [row for path in sorted((root / corpus).glob(f"experiment-{name}/{NOTE}")) for row in read_note(path)]


def read_note(path: Path) -> list[NotedRow]:
    values = read(path)
    try:
        return [
            NotedRow(str(entry["row"]), places.located(entry["folder"]), fold_of(entry)) for entry in values["rows"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise files.damaged(path, f"{type(error).__name__}: {error}") from None


def fold_of(entry: Mapping[str, Any]) -> int | None:
    return None if entry.get("fold") is None else int(entry["fold"])


def lost_note(record: Record) -> str:
    """The line on the note that the experiment of a finished run lacks; "" where it is there, or none is written."""
    place = record.folder.parent.parent
    if not record.is_step or record.without is not None or place.name != f"experiment-{record.experiment}":
        return ""
    if (place / NOTE).is_file() or lost.is_training(place.parent) or (place / NOTE).is_file():
        return ""
    return (
        f"{place / NOTE}: no such file, and finished runs are beside it (it was lost, or training was stopped): no report has their "
        f"rows; the same experiment again writes it, and trains nothing that is finished"
    )


def lost_note_in(folder: Path) -> str:
    """``lost_note`` for the folder of one, by the first of its runs that lacks it."""
    for place, names in files.run_folders(folder, None):
        with suppress(InputError):  # told of the run itself
            if "result.json" in names and (line := lost_note(read_run(place))):
                return line
    return ""
