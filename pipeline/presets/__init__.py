"""The presets: a TOML file each, with the tables ``[features]``, ``[teacher]`` and ``[student]``, and how one layers on another.

A preset says what it changes. All else it takes from ``default``, or from what its first line names: ``extends = "paper"``,
or ``extends = "other.toml"``, a file beside it. Every value of the presets here has a comment that says where it is from.
What the keys mean and which values are taken: ``pipeline.config``. A preset that was chosen by what it reaches on some folds says so:
``chosen = {corpus = "urbansound8k", folds = [1, 2, 3]}``; reports then say that its figures on these folds are optimistic.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
BASE = FOLDER / "default.toml"


class Chosen(NamedTuple):
    """By what they reach on which folds settings were chosen."""

    corpus: str
    """Its name, or that of its data set."""
    folds: tuple[int, ...]

    def includes(self, fold: int, *names: str) -> bool:
        """Whether a fold of the corpus or data set of one of these names is among them."""
        return self.corpus in names and fold in self.folds

    def over(self, base: Chosen | None) -> Chosen:
        """Of what layers on settings that were chosen too: these folds have chosen it as well, where they are of the same corpus."""
        if base is None or base.corpus != self.corpus:
            return self
        return Chosen(self.corpus, tuple(sorted({*base.folds, *self.folds})))


def chosen(tables: dict[str, Any], path: Path) -> Chosen | None:
    """What a preset's ``tables`` say of it, which is taken out of them; ``ValueError``, one line, where that is no such thing."""
    value = tables.pop("chosen", None)
    if value is None:
        return None
    folds = value.get("folds") if isinstance(value, dict) and value.keys() == {"corpus", "folds"} else None
    if (
        not isinstance(folds, list)
        or not isinstance(value["corpus"], str)
        or not all(type(fold) is int for fold in folds)
    ):
        raise ValueError(
            f"{path}: chosen = {value!r}: expected for example {{corpus = 'urbansound8k', folds = [1, 2, 3]}}"
        )
    return Chosen(value["corpus"], tuple(folds))


def layers(preset: str) -> list[tuple[Path, dict[str, Any]]]:
    """(file, its tables) of a preset's name or TOML file and of all that it layers on, from the lowest up.

    Raises ``ValueError``, one line, for a preset that is not there, is no TOML file, or layers on itself.
    """
    path = located(preset, Path())
    seen: list[Path] = []
    stack: list[tuple[Path, dict[str, Any]]] = []
    while True:
        if path.resolve() in seen:
            names = " → ".join(str(file) for file, _ in stack)
            raise ValueError(f"{names} → {path}: a preset that layers on itself; expected an end, extends = 'default'")
        seen.append(path.resolve())
        tables = contents(path)
        base = tables.pop("extends", None)
        stack.append((path, tables))
        if base is None and path.resolve() == BASE.resolve():
            return stack[::-1]
        if not isinstance(base, str | None):
            raise ValueError(f"{path}: extends = {base!r}: expected one name, for example 'paper', or 'other.toml'")
        try:
            path = BASE if base is None else located(base, path.parent)
        except ValueError as error:
            raise ValueError(f"{path}: extends: {error}") from None


def names() -> tuple[str, ...]:
    """The presets that come with the project."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def located(preset: str, beside: Path) -> Path:
    """The file of a preset's name, or of a path, relative to ``beside``."""
    path = beside / preset if preset.endswith(".toml") else FOLDER / f"{preset}.toml"
    if not path.is_file():
        raise ValueError(f"no preset {preset!r}; expected one of {', '.join(names())}, or the path of a .toml file")
    return path


def contents(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # Not TOML, not UTF-8, or a number of thousands of digits.
        raise ValueError(f"{path}: not a TOML file: {error}") from None
