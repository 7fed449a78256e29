"""How far a pack has come, why a run stopped, and what a stopped training says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.training.task import Run


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: the step was finished and, where there is a path for it, a checkpoint written. The message says so."""


@dataclass(eq=False)
class Progress:
    """How far a pack has come, beside what ``Pack`` holds."""

    epoch: int = 0
    """The epoch under way, from 0."""
    done: int = 0
    """Steps of it that are done."""
    epoch_seconds: float = 0.0
    history: list[list[dict[str, Any]]] = field(default_factory=list)
    failures: list[str | None] = field(default_factory=list)
    best_accuracy: list[float] = field(default_factory=list)
    best_epoch: list[int | None] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


def failure(bad: Sequence[int], finite: bool, terms: Sequence[str], epoch: int, run: Run) -> str | None:
    """Why a run stops, from the first step at which the total and each term were not finite (-1: never)."""
    where = f"fold {run.fold}, seed {run.seed}, epoch {epoch + 1}"
    steps = [step for step in bad if step >= 0]
    if not steps:
        return None if finite else f"{where}: the weights are not finite at the end; try a lower learning rate"
    first = min(steps)
    names = [term for term, step in zip(terms, bad[1:]) if step == first] or ["the weighted sum"]
    return f"{where}, step {first + 1}: {', '.join(names)} is not finite; try a lower learning rate or clip_norm"
