"""What ran: settings, runs, versions and machines of a table, as grids of text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from pipeline import runs
from pipeline.report.page.gathering import Runs, listed
from pipeline.report.table import NONE, Column, Table, number, of
from pipeline.runs import Record
from pipeline.runs.damage import spared


def settings_table(table: Runs) -> Table:
    """Every training setting, teacher beside student."""
    kinds = {"teacher": table.teacher, "student": table.student}
    shown = {name: entry.records[0].recorded_settings[name] for name, entry in kinds.items() if entry}
    keys = dict.fromkeys(key for values in shown.values() for key in values)
    rows = tuple((key, *(text(values.get(key)) for values in shown.values())) for key in keys)
    return Table.of_texts("Training settings.", ("Setting", *shown), rows)


def feature_table(table: Runs) -> Table:
    settings = table.entries[0].records[0].recorded_settings
    rows = tuple((key, text(value)) for key, value in settings["features"].items())
    return Table.of_texts("Feature settings.", ("Setting", "value"), rows)


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
        of_pack = record.result.seconds
        if of_pack is None:
            return None
        total += of_pack / max(1, record.result.runs_in_pack or 1)
    return total


def times(records: Iterable[Record]) -> str:
    """From the first run's end to the last one's, to the minute; the second date only where it is another."""
    finished = sorted(str(r.result.finished) for r in records if r.result.finished)
    if not finished:
        return NONE
    first, last = (moment[:16].replace("T", " ") for moment in (finished[0], finished[-1]))
    if first == last:
        return f"{first} UTC"
    return f"{first} to {last[11:] if last[:10] == first[:10] else last} UTC"


def runs_table(table: Runs) -> Table:
    """A row per mix: which folds and seeds, on which device, in what time."""
    columns = (
        Column("", of("name"), "Model / mix"),
        Column("", lambda entry: len(entry.records), "Runs"),
        Column("", lambda entry: listed({record.fold for record in entry.records}), "Folds"),
        Column("", lambda entry: listed({record.seed for record in entry.records}), "Seeds"),
        Column("", lambda entry: several(record.result.epochs for record in entry.records), "Epochs"),
        *(pack_column(name) for name in ("device", "layout", "threads")),
        Column("", lambda entry: several(r.result.runs_in_pack for r in entry.records), "Runs in\na pack"),
        Column(
            "",
            lambda entry: seconds(entry.records),
            "Training,\ns",
            format=lambda value: number(value, ".1f"),
        ),
        Column("", lambda entry: times(entry.records), "Finished", prose=True),
    )
    caption = "Runs. Training: seconds, each run its share of its pack, summed over the runs."
    return Table.build(caption, columns, table.entries)


def pack_column(name: str) -> Column:
    return Column("", lambda entry: several(getattr(r.pack, name) for r in entry.records), name.capitalize())


def run_list(table: Runs) -> Table:
    """Every finished run; the items are (entry, record)."""
    several = any(entry.several for entry in table.entries)
    columns = (
        Column("", lambda item: item[0].name, "Model / mix"),
        Column("", lambda item: item[1].fold, "Fold"),
        Column("", lambda item: item[1].seed, "Seed"),
        Column("", lambda item: item[1].result.percent, "mAP" if several else "Accuracy", "%", number),
        Column("", lambda item: item[1].result.best_epoch, "Best\nepoch"),
        Column(
            "",
            lambda item: ": ".join(filter(None, (item[1].result.status, item[1].result.failure))),
            "Status",
        ),
        Column("", lambda item: item[1].folder.as_posix(), "Folder", prose=True),
    )
    items = [(entry, record) for entry in table.entries for record in entry.records]
    return Table.build("Every finished run.", columns, items)


def environment_table(table: Runs) -> Table:
    """A column for each different environment: versions, machine, commit; how many runs each made."""
    environments: dict[str, tuple[dict[str, str], int]] = {}
    for entry in table.entries:
        for record in entry.records:
            environment = spared(partial(runs.read_environment, record.folder))
            values = flat(environment) if environment else {"python": "its environment.json is damaged"}
            key = json.dumps(values, sort_keys=True)
            environments[key] = (values, environments[key][1] + 1 if key in environments else 1)
    columns = list(environments.values())
    keys = dict.fromkeys(key for values, _ in columns for key in values)
    rows = [("runs", *(str(count) for _, count in columns))]
    rows += [(key, *(values.get(key, NONE) for values, _ in columns)) for key in keys]
    header = ("", *(f"environment {i}" for i in range(1, len(columns) + 1)))
    return Table.of_texts("Versions and machines.", header, rows)


def flat(environment: Mapping[str, Any]) -> dict[str, str]:
    """Python, machine, commit and packages on one level; without the time, which every run has of its own."""
    commit = environment.get("commit")
    values = {name: text(environment.get(name)) for name in ("python", "platform", "cpus") if name in environment}
    if commit:
        values["commit"] = f"{commit[:10]}{' (changed)' if environment.get('changed') else ''}"
    return {**values, **{name: text(version) for name, version in environment["packages"].items()}}
