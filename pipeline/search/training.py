"""The trainings of one rung: packs that go on from where they were left, and how well each run does there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pipeline import runs
from pipeline.config import Settings
from pipeline.engine import missing, packs, room, schedule
from pipeline.engine.packs import PlannedPack
from pipeline.engine.source import Source
from pipeline.losses import LossMix
from pipeline.runs.planned import PlannedRun
from pipeline.training import Trained, packing
from pipeline.training.pools import NoneSure

CHECKPOINTS = ".checkpoints"


class Trial(NamedTuple):
    """One that is to be trained to a rung."""

    settings: Settings
    mix: LossMix
    runs: tuple[PlannedRun, ...]
    epochs: int
    whole: bool
    several: bool = False


class Score(NamedTuple):
    """Of one run: the accuracy behind its epoch, of clips with several labels the mean average precision; 0 of a run that failed, and
    how it failed."""

    folder: Path
    value: float
    failure: str = ""


class Batch(NamedTuple):
    """Runs that are one pack, and where it is left."""

    runs: tuple[PlannedRun, ...]
    until: int
    checkpoint: Path


def values_of(pack: PlannedPack, say: Callable[[str], None]) -> list[Score]:
    """Each run of a pack, trained up to ``pack.until``. In halves where they do not fit into the device's memory."""
    if pack.threads:
        torch.set_num_threads(pack.threads)

    def warn(line: str) -> None:
        if not line.startswith("going on from"):  # every rung does
            say(line)

    def some(planned: list[PlannedRun]) -> list[Score]:
        part = pack if len(planned) == len(pack.runs) else packs.part_of(pack, planned)
        try:
            trained = packs.fitted(part, warn)
        except NoneSure as error:  # a threshold leaves no clip to some of them
            if len(planned) > 1:
                return [score for run in planned for score in some([run])]
            trained = [Trained(packs.trainings(planned, packs.load(part)[0])[0], failure=str(error))]
        return [
            Score(run.folder, 0.0, f"fold {run.fold}, seed {run.seed}: {one.failure}")
            if one.failure
            else score_of(run, one.history[pack.until - 1])
            for run, one in zip(planned, trained)
        ]

    return packing.in_halves(some, pack.runs, say)


def score_of(run: PlannedRun, epoch: Mapping[str, Any]) -> Score:
    """Of the record of an epoch; outputs that overflowed have no mean average precision."""
    if "map" not in epoch:
        return Score(run.folder, epoch["accuracy"])
    if math.isnan(epoch["map"]):
        return Score(run.folder, 0.0, f"fold {run.fold}, seed {run.seed}: the outputs are not finite")
    return Score(run.folder, epoch["map"])


def batches(trials: Mapping[int, Trial], folder: Path, device: str, together: bool) -> list[Batch]:
    """The packs of some trials. ``together``: runs of several lie in one where their settings allow it; else each trial can be
    stopped alone."""
    distinct = {run.folder: (run, trial) for trial in trials.values() for run in trial.runs}
    alike: dict[object, list[PlannedRun]] = {}
    for run, trial in distinct.values():
        alike.setdefault((run.settings, None if together else trial.mix), []).append(run)
    return [
        Batch(
            tuple(members),
            distinct[members[0].folder][1].epochs,
            folder / CHECKPOINTS / f"{packs.pack_name(members)}.pt",
        )
        for each in alike.values()
        for group in schedule.groups(each)
        for members in packing.split(group, packing.LARGEST[device])
    ]


def lost(whole: Sequence[Batch], rung: int, begun: bool) -> list[str]:
    """A line for each checkpoint of a later rung that is gone, and one where a search has begun its first and has none of it.

    ``begun``: whether an earlier call may have trained some of these.
    """
    gone = [batch for batch in whole if not batch.checkpoint.is_file()]
    if rung:
        return [
            f"{batch.checkpoint}: no such file (it was lost); a trial of {len(batch.runs)} trainings begins anew, up to epoch {batch.until}"
            for batch in gone
        ]
    if not begun or len(gone) < len(whole):
        return []
    return [
        f"{whole[0].checkpoint.parent}: no checkpoint of the search that has begun (it was lost, or the search was stopped before it was "
        f"first written); the trials that it was at begin anew"
    ]


def scores(
    trials: Mapping[int, Trial],
    source: Source,
    folder: Path,
    *,
    device: str,
    jobs: int,
    checkpoint_minutes: float,
    together: bool,
) -> dict[int, list[Score]]:
    """Trial → its runs' scores at its epochs. ``together``: as ``batches``."""
    place = schedule.chosen_device(device)
    whole = batches(trials, folder, place, together)
    processes = schedule.processes_of(jobs, len(whole), place)
    waiting = []
    for batch in whole:
        pack = PlannedPack(
            runs=batch.runs,
            files=source.files,
            data_set=source.data_set,
            device=place,
            layout="loop" if place == "cpu" else "vmap",
            checkpoint=batch.checkpoint,
            checkpoint_seconds=60 * checkpoint_minutes,
            until=batch.until,
        )
        space = room.room(pack, processes)
        waiting.append(dataclasses.replace(pack, live=space is not None and space.live))
    if processes == 1:
        each = [one for pack in waiting for one in values_of(pack, missing.say)]
    else:
        each = schedule.in_processes(waiting, processes, values_of)
    by_folder = {score.folder: score for score in each}
    return {number: [by_folder[run.folder] for run in trial.runs] for number, trial in trials.items()}


def forget(folder: Path, kept: Sequence[Batch] = ()) -> None:
    """Remove all checkpoints of trials but those of the packs that go on."""
    wanted = {batch.checkpoint.name for batch in kept}
    for path in (folder / CHECKPOINTS).glob("pack-*.pt"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)


class Teachers:
    """Trains the teachers of trials, each once in a search."""

    def __init__(self, source: Source, how: Mapping[str, Any]) -> None:
        self.source, self.how = source, how
        self.there: set[Path] = set()

    def train(self, teachers: Sequence[PlannedRun]) -> None:
        """Those that are missing; which of them failed says ``failed``. ``InputError`` for one of other data than those at hand."""
        new = {run.folder: run for run in teachers if run.folder not in self.there}
        if levels := missing.in_homes("teachers of inner folds", new.values()):
            with suppress(missing.RunsFailed):  # their trials count as failed
                missing.train(levels, self.source, **self.how)
        self.there.update(new)

    def failed(self, trial: Trial) -> list[Score]:
        """Scores of a trial one of whose teachers failed; none where all trained."""
        teachers = dict.fromkeys(teacher for run in trial.runs for teacher in run.teachers)
        lost = [teacher for teacher in teachers if runs.read(teacher).result.failed]
        return (
            [Score(run.folder, 0.0, f"{lost[0]} failed, its teacher or another's") for run in trial.runs]
            if lost
            else []
        )
