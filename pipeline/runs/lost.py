"""Files that are gone and leave no reader an error: without them a run counts as unfinished, or as none.

What tells are the files that are written before them. Where a training holds its lock they are still to come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from pipeline import locks
from pipeline.runs import folder as files
from pipeline.runs.damage import met

RESULT, CONFIG = "result.json", "config.json"


def file_of_run(folder: Path, names: Collection[str]) -> str:
    """The line on a file that a run's folder, with files of these ``names``, lacks and once had; "" where none is, or nothing is known.

    Without ``result.json`` a run is unfinished, as one is whose training was stopped as it wrote its last files: the line fits both.
    """
    later = [name for name in ("model.pt", "predictions.npz") if name in names]
    if RESULT in names:
        return ""
    if CONFIG not in names and (others := [name for name in files.FILES if name in names]):
        lacking, there, remedy = CONFIG, others[0], "the command that trained it writes it again, and goes on"
    elif later:
        lacking, there = RESULT, later[0]
        remedy = "it counts as unfinished until the command that trained it is given again"
    else:
        return ""
    if is_trained(folder) or (folder / lacking).is_file():  # in this order: a training may just have ended
        return ""
    cause = "it was lost, or training was stopped" if lacking == RESULT else "it was lost"
    return f"{folder / lacking}: no such file, and {there} is there ({cause}); {remedy}"


def tell(lines: Iterable[str]) -> None:
    """Each of ``lines`` that is not empty is told at the command's end (``damage``)."""
    met.update(dict.fromkeys(filter(None, lines)))


def is_trained(folder: Path) -> bool:
    """Whether a training, or a repetition, of which the run is a part holds its lock."""
    places = [folder, *(parent / "training" for parent in folder.parents[:4])]
    return any(locks.holder_now(locks.lock_of(place)) for place in places)


def is_training(corpus: Path) -> bool:
    """Whether any stage or experiment of a corpus, whose runs lie in this folder, is trained: one writes its note at its end, and
    trains in the folders of others in between."""
    return any(locks.holder_now(lock) for lock in corpus.glob("*/.training.lock"))
