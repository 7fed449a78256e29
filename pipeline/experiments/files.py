"""Where experiments lie, and what is in their files."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

from pipeline.config import InputError
from pipeline.losses.library import suggestion

PACKAGE = "pipeline.experiments"

#: Where a user's own lie, beside the folders of the package.
OWN = Path("experiments")

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def folders() -> list[Path]:
    """The folders in which an experiment is found by its name."""
    return [*map(Path, importlib.import_module(PACKAGE).__path__), OWN]


def names() -> tuple[str, ...]:
    """All experiments that are found by their name."""
    return tuple(sorted({path.stem for folder in folders() for path in folder.glob("*.toml")}))


def located(experiment: str, beside: Path = Path()) -> Path:
    """The file of an experiment's name, or of a path, relative to ``beside``."""
    if experiment.endswith(".toml"):
        path = beside / experiment
        if not path.is_file():
            raise InputError(f"no experiment file {path}; expected the path of a .toml file, or {expected()}")
        return path
    paths = [path for folder in folders() if (path := folder / f"{experiment}.toml").is_file()]
    if not paths or not NAME.fullmatch(experiment):
        near = suggestion(experiment, names())
        raise InputError(f"no experiment {experiment!r}{near}; expected {expected()}, or the path of a .toml file")
    if len(paths) > 1:
        raise InputError(
            f"experiment {experiment!r} is in {' and '.join(map(str, paths))}; expected one of this name: rename one, or "
            "name the file"
        )
    return paths[0]


def expected() -> str:
    return f"one of {', '.join(names())}"


def contents(path: Path) -> dict[str, Any]:
    """The tables of an experiment's file."""
    if not NAME.fullmatch(path.stem):
        raise InputError(
            f"{path}: expected a file's name of letters, digits, '.', '_' and '-': runs are named after it"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # Not TOML, not UTF-8, or a number of thousands of digits.
        raise InputError(f"{path}: not a TOML file: {error}") from None


def titles() -> dict[str, str]:
    """Name → title of all experiments; "" of one without."""
    named = {}
    for name in names():
        title = contents(located(name)).get("title", "")
        named[name] = title if isinstance(title, str) else ""
    return named
