"""The runs that a run goes back to, as records and notes name them: teachers, the one that it starts from, its base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import places

if TYPE_CHECKING:
    from pipeline.runs.record import Record


def recorded(teachers: tuple[Path, ...]) -> str | list[str] | None:
    """Teachers as records name them: none, one, or the members of an ensemble."""
    names = [places.recorded(teacher) for teacher in teachers]
    return names if len(names) > 1 else names[0] if names else None


def parents(teachers: tuple[Path, ...], start: Path | None, base: Path | None) -> tuple[Path, ...]:
    """The runs that a run goes back to directly, each once."""
    return tuple(dict.fromkeys([*teachers, *(path for path in (start, base) if path)]))


def before(record: Record) -> tuple[Path, ...]:
    """All runs and places that a run goes back to: ancestors, parents, named first teachers, and the peer beside which it learned."""
    return (*record.lineage, *record.parents, *record.firsts, *([record.peer] if record.peer else []))


def others(start: Path | None, base: Path | None) -> dict[str, str]:
    """As records name them, beside the teachers; without those that there are not."""
    return {name: places.recorded(path) for name, path in (("start", start), ("base", base)) if path}


def path_of(kept: Mapping[str, Any], name: str) -> Path | None:
    """The run that a record names beside the teachers; None without one."""
    return places.located(kept[name]) if kept.get(name) else None


def as_paths(named: str | list[str] | None) -> tuple[Path, ...]:
    """The way back from ``recorded``."""
    return tuple(map(places.located, [named] if isinstance(named, str) else named or ()))
