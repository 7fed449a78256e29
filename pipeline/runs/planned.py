"""What a run is before it is trained. No torch here: finished stages answer without it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.images.archive import Archive

#: A run that teaches, or several that teach together as their ensemble.
Teacher = Path | tuple[Path, ...]

#: Between the random numbers of one generation and the next of the same seed.
GENERATION_STRIDE = 1_000_003


@dataclass(frozen=True)
class Cell:
    """One run to be: where it goes, what it holds out, its seed and its mix; who teaches it."""

    folder: Path
    role: str
    fold: int
    seed: int
    mix: str
    teacher: Teacher | None = None
    generation: int = 0
    """Of a born-again chain: 0 is its first teacher."""

    @property
    def teachers(self) -> tuple[Path, ...]:
        """The runs that teach it; none, one, or the members of an ensemble."""
        if self.teacher is None:
            return ()
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    @property
    def drawn(self) -> int:
        """The seed of its random numbers. A student must not begin with its teacher's own weights and order."""
        return self.seed + GENERATION_STRIDE * self.generation

    def noted(self) -> dict[str, Any]:
        """As JSON can hold it; ``from_note`` is the way back."""
        teachers = list(map(str, self.teachers))
        return {**asdict(self), "folder": str(self.folder),
                "teacher": teachers if isinstance(self.teacher, tuple) else teachers[0] if teachers else None}  # fmt: skip

    @classmethod
    def from_note(cls, note: dict[str, Any]) -> Cell:
        """``KeyError`` and ``TypeError`` where ``note`` is not of a cell."""
        told = note["teacher"]
        teacher = tuple(map(Path, told)) if isinstance(told, list) else Path(told) if told else None
        return cls(**{**note, "folder": Path(note["folder"]), "teacher": teacher})


#: What the packs load their data from: the folds' files, or an archive.
Files = tuple[Path, ...] | Archive
