"""What stopped trainings left: packs to go on from, and a line where a checkpoint that they go on from, or its note, is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline import runs
from pipeline.engine import notes
from pipeline.engine.whole import epochs_of
from pipeline.runs import weights
from pipeline.runs.folder import FILES
from pipeline.runs.planned import PlannedRun


def with_peers(planned: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The runs, each cohort behind each other. A peer that is finished learns once more beside one that is not, and is left as it is."""
    return list(dict.fromkeys(member for run in planned for member in run.cohort))


def left_over(
    folder: Path, planned: Sequence[PlannedRun], say: Callable[[str], None] = lambda line: None
) -> list[dict[str, Any]]:
    """Packs that were stopped behind a checkpoint, as fields of ``PlannedPack``; each run is wanted or finished already.

    (A pack that was killed while it wrote its run folders has finished runs; it ends as it would have.) What is of
    no more use is removed: notes without a checkpoint, packs that are finished as a whole.
    """
    wanted = set(planned)
    stopped = []
    for note in sorted(folder.glob("pack-*.json")):
        members, how = notes.read(note, planned, say)
        path = note.with_suffix(".pt")
        finished = {run for run in members if runs.finished(run.folder)}
        if not path.is_file() or (members and len(finished) == len(members)):
            path.unlink(missing_ok=True)
            note.unlink(missing_ok=True)
        elif is_taken_up(members, wanted):
            stopped.append({"runs": members, "checkpoint": path, **how})
    return stopped


def is_taken_up(members: Sequence[PlannedRun], wanted: set[PlannedRun]) -> bool:
    """Whether a stopped pack goes on: some of its runs are wanted, and all others are finished."""
    others = [run for run in members if run not in wanted]
    return len(others) < len(members) and all(runs.finished(run.folder) for run in others)


def lost(folder: Path, planned: Sequence[PlannedRun]) -> list[str]:
    """A line for each checkpoint, or note beside one, that is gone and by which unfinished runs would go on: they begin anew.

    What tells are the files that are written before it, of the pack and in the runs' own folders. A training that was killed before
    its first checkpoint leaves the same, so each line is true of both. ``folder``: of the checkpoints; asked before ``left_over``,
    which takes away what is of no more use.
    """
    members_of_packs = with_peers(planned)
    begun = [run for run in members_of_packs if is_begun(run.folder)]
    lines, unreadable, covered = list[str](), list[str](), set[PlannedRun]()
    for note in sorted(folder.glob("pack-*.json")) if begun else ():
        members, _ = notes.read(note, members_of_packs, unreadable.append)
        here, path = [run for run in members if run in begun], note.with_suffix(".pt")
        covered.update(here)
        if here and not path.is_file():
            lines.append(
                f"{path}: no such file, and its note is there (it was lost, or training was stopped before it was first "
                f"written); {named(here)} anew"
            )
        elif here and not is_taken_up(members, set(members_of_packs)):
            lines.append(f"{path}: of runs too that are not asked for now, so it waits for them; {named(here)} anew")
    rest = [run for run in begun if run not in covered]
    ended = [run for run in rest if (run.folder / "model.pt").is_file()]
    lines += map(without_result, ended)
    rest = [run for run in rest if run not in ended]
    if not rest or unreadable:  # ``left_over`` tells of a note that cannot be read
        return lines
    without_note = [path for path in sorted(folder.glob("pack-*.pt")) if not path.with_suffix(".json").is_file()]
    lines += [
        f"{path.with_suffix('.json')}: no such file, and {path.name} is there (it was lost); it is taken up where the same runs "
        f"come together again, else they begin anew"
        for path in without_note
    ]
    return lines if without_note else [*lines, nothing_left(folder, rest)]


def given_up(missing: Sequence[PlannedRun]) -> Iterator[str]:
    """Take the result of each damaged run away, so that it is trained again: to the same bits, as its settings are the same. A line each."""
    for run in missing:
        if runs.finished(run.folder):
            yield f"{run.folder}: {weights.damaged_files(run.folder)}; it is trained again"
            (run.folder / "result.json").unlink()


def without_result(run: PlannedRun) -> str:
    """The line on a run that has weights, and neither a result nor a checkpoint."""
    return (
        f"{run.folder / 'result.json'}: no such file, and model.pt is there (it was lost, or training was stopped as it wrote its last "
        f"files); it is trained again"
    )


def nothing_left(folder: Path, begun: Sequence[PlannedRun]) -> str:
    """The line on runs that have begun, and of which neither checkpoint nor note is there."""
    epochs = max(epochs_of(run.folder) for run in begun)
    far = f", {epochs} epochs far" if epochs > 1 else ", one epoch far" if epochs else ""
    return (
        f"{folder}: no checkpoint of runs that have begun{far} (it was lost, or training was stopped before it was first written); "
        f"{named(begun)} anew"
    )


def named(begun: Sequence[PlannedRun]) -> str:
    """The first of the runs, how many more, and the verb."""
    others = f" and {len(begun) - 1} more" if len(begun) > 1 else ""
    return f"{begun[0].folder}{others} {'begin' if others else 'begins'}"


def is_begun(folder: Path) -> bool:
    """Whether a training has written into a run's folder, and not its last file."""
    return not runs.finished(folder) and any((folder / name).is_file() for name in FILES)
