"""The figures of a comparison: measured, as JSON, and read back for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import files, runs
from pipeline.errors import Damaged
from pipeline.runs.damage import met

#: In the reports of a corpus: NAME.json for each comparison.
FOLDER = "explained"

SCHEMA = 1

#: The figures of a network at one margin, in the order of the tables.
FIGURES = ("n_fg", "n_bg", "share", "d_mean", "d_var", "stable")


@dataclass(frozen=True)
class Heard:
    """One network: how many concepts it has, for each margin of what foreground is."""

    kind: str
    """As ``listeners.KINDS``."""
    row: str
    model: str
    fold: int
    seed: int
    run: str
    weights: str
    """Digest of its run's weights."""
    epochs: tuple[int, ...]
    """The kept ones that were measured, and the last."""
    figures: Mapping[str, Mapping[str, float | None]]
    """dB (as text) → ``FIGURES`` and ``background`` (H̄ in nats), ``clips``."""
    by_epoch: Mapping[str, Sequence[float]]
    """ "n_fg" and "n_bg" at each of the epochs, at the usual margin."""


@dataclass(frozen=True)
class Explained:
    """A comparison of some networks."""

    corpus: str
    synthetic: bool
    name: str
    """Of its files."""
    layer: str
    search: Mapping[str, float]
    heard: tuple[Heard, ...]
    clips: Mapping[str, Sequence[str]]
    """Fold → the clips that were heard."""
    left_out: Mapping[str, Mapping[str, Sequence[int]]]
    """Fold → class → clips without an event, of all of its clips."""
    chance: Mapping[str, float]
    """dB → share of the blocks that are foreground: λ of concepts that lie anywhere. Mean over the clips of all folds."""
    differences: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
    """Row of a distilled student → dB → figure → its difference to the same network on labels."""
    drawn: Mapping[str, Any]
    """What the picture shows (``pictures``)."""
    notes: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Of its pictures, among those of the page."""
        return f"explained-{self.name}"


def values(heard: Sequence[Heard], margin: str, figure: str) -> dict[tuple[int, int], float]:
    """(fold, seed) → a figure, of the networks that have it."""
    known = {(one.fold, one.seed): one.figures[margin][figure] for one in heard}
    return {cell: value for cell, value in known.items() if value is not None}


def as_json(explained: Explained) -> dict[str, Any]:
    return files.signed({"schema": SCHEMA, **asdict(explained)})


def kept(reports_root: Path, corpus: str) -> list[Explained]:
    """The comparisons of a corpus whose runs still have the weights that were measured; damaged files are told at the command's end."""
    there = []
    for path in sorted((reports_root / corpus / FOLDER).glob("*.json")):
        explained = read(path)
        if explained and all(current(one) for one in explained.heard):
            there.append(explained)
    return there


def read(path: Path) -> Explained | None:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if held.pop("content") != files.content_digest(held, "content"):
            raise ValueError("not what was written")
        if held.pop("schema") != SCHEMA:
            return None
        held["heard"] = tuple(Heard(**one | {"epochs": tuple(one["epochs"])}) for one in held["heard"])
        return Explained(**held | {"notes": tuple(held["notes"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        met[f"{path}: damaged ({error}); remove it, and explain the runs again"] = None
        return None


def current(one: Heard) -> bool:
    """Whether the run is there with the weights that were measured."""
    folder = Path(one.run)
    try:
        return runs.finished(folder) and runs.read(folder).result.weights == one.weights
    except Damaged:
        return False
