"""What is said of a corpus of one's own beside its clips: in ``corpus.toml``, and on the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import InputError

#: What a table of clips has columns for.
COLUMNS = ("path", "label", "fold", "recording")


@dataclass(frozen=True)
class Asked:
    """What the command line says beside a corpus' place."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Of ``COLUMNS``, those that the table calls otherwise."""
    windows: bool = False
    """Long recordings as several clips."""


#: Of the command that runs; set and reset by the options of ``pipeline.commands.options``.
ASKED: ContextVar[Asked] = ContextVar("asked", default=Asked())  # noqa: B039 (frozen)


@dataclass(frozen=True)
class Stated:
    """What ``corpus.toml`` and the command line say together; the command line goes first."""

    seconds: float = 4.0
    columns: Mapping[str, str] = field(default_factory=dict)
    windows: bool = False
    """Whether what is longer than ``seconds`` is several clips."""
    hop: float | None = None
    """From the beginning of one to that of the next, in seconds; None: ``seconds``."""
    shortest: float | None = None
    """Least seconds of the last one; None: ``windows.SHORTEST_PART`` of ``seconds``."""


def read(path: Path, *keys: str) -> Stated:
    """What a ``corpus.toml`` says, defaults where it is not there. ``keys``: what it may have beside ``seconds`` and windows."""
    asked, default = ASKED.get(), Stated()
    if not path.is_file():
        return Stated(default.seconds, asked.columns, asked.windows)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # Not TOML, not UTF-8, or a number of thousands of digits.
        raise InputError(f"{path}: not a TOML file: {error}; expected a line such as seconds = 4.0") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a file that can be read") from None
    allowed = ("seconds", "windows", "hop", "shortest", *keys)
    if unknown := [key for key in values if key not in allowed]:
        raise InputError(f"{path}: unknown key {unknown[0]!r}; expected only {', '.join(allowed)}")
    seconds, columns = values.get("seconds", default.seconds), values.get("columns", {})
    if not is_between(seconds, 600):
        raise InputError(f"{path}: seconds = {seconds!r}: expected a number above 0, 600 at most")
    if not isinstance(windows := values.get("windows", False), bool):
        raise InputError(f"{path}: windows = {windows!r}: expected true or false")
    for key in ("hop", "shortest"):
        if key in values and is_between(values[key], seconds) < 0.001:
            raise InputError(
                f"{path}: {key} = {values[key]!r}: expected a number above 0, {seconds:g} (seconds) at most"
            )
        if key in values and not (windows or asked.windows):
            raise InputError(f"{path}: {key} is of windows, which are not asked for; expected windows = true beside it")
    hop, shortest = (float(values[key]) if key in values else None for key in ("hop", "shortest"))
    names = {**columns_of(columns, str(path)), **asked.columns}
    return Stated(float(seconds), names, windows or asked.windows, hop, shortest)


def is_between(value: Any, most: float) -> float:
    """``value`` where it is a number above 0 and ``most`` at most; else 0."""
    return value if not isinstance(value, bool) and isinstance(value, int | float) and 0 < value <= most else 0


def columns_of(names: Any, where: str) -> dict[str, str]:
    """What each of ``COLUMNS`` is called in a table. ``InputError``, which begins with ``where``, for another one or no text."""
    if not isinstance(names, dict):
        raise InputError(f'{where}: columns = {names!r}: expected a table such as columns = {{path = "file"}}')
    for column, name in names.items():
        if column not in COLUMNS:
            raise InputError(f"{where}: columns: {column!r}: expected some of {', '.join(COLUMNS)}")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{where}: columns: {column} = {name!r}: expected the name of a column of the table")
    return {column: name.strip() for column, name in names.items()}
