"""What ran: settings, runs, versions and machines of a table, as grids of text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline import runs
from pipeline.report.aggregation import cell
from pipeline.report.page.gathering import Entry, Table, listed
from pipeline.report.tables import NONE, Grid
from pipeline.report.wording import number
from pipeline.runs import STUDENT, TEACHER, Record


def settings_grid(table: Table) -> Grid:
    """Every training setting, teacher beside student."""
    kinds = {role: table.first(role) for role in (TEACHER, STUDENT)}
    shown = {role: record.recorded_settings[role] for role, record in kinds.items() if record}
    keys = dict.fromkeys(key for values in shown.values() for key in values)
    rows = tuple((key, *(text(values.get(key)) for values in shown.values())) for key in keys)
    return Grid("Training settings.", ("Setting", *shown), rows)


def feature_grid(table: Table) -> Grid:
    settings = table.entries[0].records[0].recorded_settings
    rows = tuple((key, text(value)) for key, value in settings["features"].items())
    return Grid("Feature settings.", ("Setting", "value"), rows)


def text(value: object) -> str:
    return NONE if value is None or value == "" else value if isinstance(value, str) else json.dumps(value)


def several(values: Iterable[object]) -> str:
    """Different values, each once, in order; NONE where there is none."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value not in (None, ""))) or NONE


def packs(records: Iterable[Record], key: str) -> str:
    return several(getattr(record.pack, key) for record in records)


def seconds(records: Iterable[Record]) -> float | None:
    """Time of training: a run's share of its pack's seconds, summed; None where a run has not kept it."""
    total = 0.0
    for record in records:
        own = record.result.seconds
        if own is None:
            return None
        total += own / max(1, record.result.runs_in_pack or 1)
    return total


def times(records: Iterable[Record]) -> str:
    """From the first run's end to the last one's, to the minute; the second date only where it is another."""
    found = sorted(str(r.result.finished) for r in records if r.result.finished)
    if not found:
        return NONE
    first, last = (moment[:16].replace("T", " ") for moment in (found[0], found[-1]))
    if first == last:
        return f"{first} UTC"
    return f"{first} to {last[11:] if last[:10] == first[:10] else last} UTC"


def runs_grid(table: Table) -> Grid:
    """A row per mix: which folds and seeds, on which device, in what time."""
    header = ("Model / mix", "Runs", "Folds", "Seeds", "Epochs", "Device", "Layout", "Threads", "Runs in\na pack",
              "Training,\ns", "Finished")  # fmt: skip
    rows = tuple(run_row(entry) for entry in table.entries)
    caption = "Runs. Training: seconds, each run its share of its pack, summed over the runs."
    return Grid(caption, header, rows, wide=True)


def run_row(entry: Entry) -> tuple[str, ...]:
    cells = [cell(record) for record in entry.records]
    return (
        entry.name, str(len(cells)), listed({fold for fold, _ in cells}), listed({seed for _, seed in cells}),
        several(r.result.epochs for r in entry.records), packs(entry.records, "device"), packs(entry.records, "layout"),
        packs(entry.records, "threads"), several(r.result.runs_in_pack for r in entry.records),
        number(seconds(entry.records), ".1f"), times(entry.records),
    )  # fmt: skip


def run_list(table: Table) -> Grid:
    """Every finished run."""
    header = ("Model / mix", "Fold", "Seed", "Accuracy\n%", "Best\nepoch", "Status", "Folder")
    rows = tuple(
        (
            entry.name, str(r.fold), str(r.seed),
            number(None if r.result.accuracy is None else r.result.percent), text(r.result.best_epoch),
            str(r.result.status) + (f": {r.result.failure}" if r.result.failure else ""), r.folder.as_posix(),
        )
        for entry in table.entries for r in entry.records
    )  # fmt: skip
    return Grid("Every finished run.", header, rows, wide=True)


def environment_grid(table: Table) -> Grid:
    """A column for each different environment: versions, machine, commit; how many runs each made."""
    found: dict[str, tuple[dict[str, str], int]] = {}
    for entry in table.entries:
        for record in entry.records:
            own = flat(runs.read_environment(record.folder))
            key = json.dumps(own, sort_keys=True)
            found[key] = (own, found[key][1] + 1 if key in found else 1)
    columns = list(found.values())
    keys = dict.fromkeys(key for own, _ in columns for key in own)
    rows = [("runs", *(str(count) for _, count in columns))]
    rows += [(key, *(own.get(key, NONE) for own, _ in columns)) for key in keys]
    header = ("", *(f"environment {i}" for i in range(1, len(columns) + 1)))
    return Grid("Versions and machines.", header, tuple(rows))


def flat(environment: Mapping[str, Any]) -> dict[str, str]:
    """Python, machine, commit and packages on one level; without the time, which every run has of its own."""
    commit = environment.get("commit")
    own = {
        name: text(environment.get(name)) for name in ("python", "platform", "cpus") if name in environment
    }
    if commit:
        own["commit"] = f"{commit[:10]}{' (changed)' if environment.get('changed') else ''}"
    return {**own, **{name: text(version) for name, version in environment["packages"].items()}}
