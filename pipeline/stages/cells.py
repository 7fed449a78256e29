"""What a run is before it is trained. No torch here: finished stages answer without it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cell:
    """One run to be: where it goes, what it holds out, its seed and its mix; a student's teacher run."""

    folder: Path
    role: str
    fold: int
    seed: int
    mix: str
    teacher: Path | None = None
