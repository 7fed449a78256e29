"""The report of teachers and students as a document: a section per table, footnotes, where the runs came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.plurals import many
from pipeline.report.aggregation import STAMP, Row
from pipeline.report.columns import accuracy_table, calibration_table, comparison_table
from pipeline.report.table import Document, Section
from pipeline.report.wording import footnotes, listed, provenance
from pipeline.runs import Record


def section(rows: Sequence[Row], kind: str = "") -> Section:
    """The rows of one table, of several settings where they have names of their own. ``kind``: of what, in front of its title."""
    key, synthetic = rows[0].key, any(row.synthetic for row in rows)
    models = ", ".join(f"{role} {model}" for role, model in dict.fromkeys((row.role, row.model) for row in rows))
    one_settings = len({row.key for row in rows}) == 1
    settings = f"settings {key.digest}, " if one_settings else ""
    title = f"{kind}preset {key.preset}, {settings}data {key.data}: {models}"
    tables = [accuracy_table(rows)]
    if any(row.comparison or row.with_stopped is not None for row in rows):
        tables.append(comparison_table(rows))
    if any(row.calibration for row in rows):
        tables.append(calibration_table(rows))
    return Section(f"{STAMP} {title}" if synthetic else title, tuple(tables))


def tables(rows: Sequence[Row], kind: str = "") -> tuple[Section, ...]:
    """A section for each preset, settings and data."""
    keys = dict.fromkeys(row.key for row in rows)
    return tuple(section([row for row in rows if row.key == key], kind) for key in keys)


def by_data(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each preset and data."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.key.preset, row.key.data), []).append(row)
    return list(groups.values())


def experiment_tables(rows: Sequence[Row]) -> tuple[Section, ...]:
    """A section for each preset and data: what an experiment's rows are called says which settings they have."""
    return tuple(section(group, "experiments: ") for group in by_data(rows))


def document(
    rows: Sequence[Row],
    records: Sequence[Record],
    unfinished: Sequence[Path],
    missing: Sequence[str] = (),
    born: int = 0,
    experiments: Sequence[Row] = (),
) -> Document:
    """The rows as sections, one per table, with footnotes; ``missing``: mixes asked for that have no run; ``born``: how
    many born-again runs there are, which have a table of their own; ``experiments``: their rows, behind the others."""
    sections = (*tables(rows), *experiment_tables(experiments))
    every = [*rows, *experiments]
    notes = [*footnotes(every)]
    if len(sections) > 1 and len({row.key for row in every}) > 1:
        notes.append("The tables differ in settings or in data: figures of one do not compare with another's.")
    if unfinished:
        names = listed(["/".join(folder.parts[-2:]) for folder in unfinished])
        count = many(len(unfinished), "run")
        notes.append(f"Unfinished, not in the table: {count} ({names}).")
    if born:
        notes.append(
            f"Not in these tables: {many(born, 'born-again run')}. Their own table is ban.md beside "
            "this one (Table 4: table4.md), made by make ban (make table4) with the options of their training; what is "
            "finished is not trained again."
        )
    if missing:
        notes.append(f"Asked for, without a finished run: {'; '.join(missing)}.")
    stamp = f"{STAMP}: " if any(row.synthetic for row in every) else ""
    return Document(f"{stamp}{every[0].corpus}: teacher and students", sections, (*notes, *provenance(records)))
