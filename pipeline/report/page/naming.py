"""What tables of one page are called beside each other: by what differs between them, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.report.page.gathering import Runs


def labels(tables: Sequence[Runs]) -> list[str]:
    """A name per table: its models; where that is not enough the preset and the settings that differ, then the data."""
    names = [models(table) for table in tables]
    alike = [[other for other, name in zip(tables, names) if name == label] for label in names]
    names = [", ".join([name, *differing(table, group)]) for table, name, group in zip(tables, names, alike)]
    twice = Counter(names)
    # Equal in all that is recorded of them: the digests tell them apart.
    return [
        f"{name}, settings {table.key.digest}, data {table.key.data}" if twice[name] > 1 else name
        for table, name in zip(tables, names)
    ]


def models(table: Runs) -> str:
    """ "teacher resnet18, student cnn2"."""
    return ", ".join(dict.fromkeys(f"{e.row.role} {e.row.model}" for e in table.entries))


def differing(table: Runs, group: Sequence[Runs]) -> list[str]:
    """What ``table`` has otherwise than another one of ``group``, "student.lr 0.003"."""
    of_table, others = about(table), [about(other) for other in group]
    return [f"{key} {value}" for key, value in of_table.items() if any(other.get(key) != value for other in others)]


def about(table: Runs) -> dict[str, str]:
    """Preset, every setting that the table's numbers depend on, and the digest of its data."""
    students = [entry for entry in table.entries if entry.row.is_student]
    settings = (students or table.entries)[0].records[0].recorded_settings
    names = ("features", "teacher", "student") if students else ("features", "teacher")
    flat = {f"{name}.{key}": str(value) for name in names for key, value in settings[name].items()}
    return {"preset": table.key.preset, **flat, "data": table.key.data}
