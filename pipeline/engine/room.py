"""Whether what a pack reads of its teachers is kept in memory, or its teachers run in every step; and what either takes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass

import torch

from pipeline.config import InputError
from pipeline.engine import packs
from pipeline.engine.packs import PlannedPack
from pipeline.losses.needs import Needs
from pipeline.plurals import many
from pipeline.teacher_files import is_teacher_file
from pipeline.teacher_files.reading import read as read_file
from pipeline.training import Stored, packing
from pipeline.training.dropout import before_output, output_layers
from pipeline.training.inference import CHUNK
from pipeline.training.packing import Budget

#: So many runs fill a device: packs are not made smaller than that to store what teachers say.
FEW = {"cpu": 2, "cuda": 10}


@dataclass(frozen=True)
class Room:
    """How the teachers of some runs teach. Bytes are of one teacher's arrays, and of what there is for them."""

    live: bool
    each: int = 0
    free: int = 0
    teachers: int | None = None
    """The most teachers of a pack whose arrays are stored; None: any number."""
    augmented: bool = False
    dropped: bool = False
    relabelled: bool = False
    mixed: bool = False

    def beside(self, memory: Budget, teachers: int) -> Budget:
        """``memory`` for packs of so many teachers at most, whose arrays are stored in it too."""
        return memory if self.live else dataclasses.replace(memory, of_teacher=self.each, teachers=teachers)

    def told(self, teachers: int) -> str:
        """For a pack of so many teachers: what their arrays take, or why they run."""
        if self.augmented:
            return "the teachers run in every step, on the inputs as they are augmented"
        if self.dropped:
            return "the teachers run in every step, each time with other values dropped"
        if self.mixed:
            return "the teachers run in every step, on the inputs as they are mixed"
        if self.relabelled:
            return "the teachers run in every step, for the labels that are known of clips are each run's own"
        wanted = f"{gigabytes(self.each * teachers)} of what is read of {many(teachers, 'teacher')}"
        if self.live:
            return f"the teachers run in every step: {wanted} is more than the {gigabytes(self.free)} there are for it"
        return f"{wanted}, stored"


def room(pack: PlannedPack, processes: int = 1, size: int | None = None) -> Room | None:
    """For all runs that may lie in one pack, ``size`` at most, ``processes`` packs at a time; None where nothing large is read.

    Stored where it fits into this process's share of the free memory, of which the runs themselves then have the rest, in smaller
    packs if need be; live where it does not, and where inputs are augmented or teachers drop values: arrays know nothing of these.
    """
    taught_by = packs.teachers_of(pack.runs)
    if not taught_by:
        return None
    if pack.network.taught_on_augmented:
        return Room(live=True, augmented=True)
    if pack.network.teacher_dropout and pack.network.teacher_dropout_at == "stages":
        return Room(live=True, dropped=True)
    if any(run.hears_mixtures for run in pack.runs):
        return Room(live=True, mixed=True)
    needs = packs.needs_of_pack(pack)
    if not needs.large:
        return None
    _, values, _ = packs.load(pack)
    if needs.constants and pack.network.label_noise_fixed:
        return Room(live=True, relabelled=True)  # constants are of each run's own labels, and need the teacher's maps
    of_files = packs.with_files(pack.runs)
    each = len(values) * (bytes_of_file(pack) if of_files else packs.live_teachers(pack, 1).bytes_of_row(needs))
    free = packing.budget(values, processes).free
    kind = values.device.type
    wanted = min(len(taught_by), size or packing.LARGEST[kind])
    fitting = max(0, free) // max(each, 1)
    if fitting >= wanted:
        return Room(False, each, free)
    if size is None and fitting >= FEW[kind]:
        return Room(False, each, free, teachers=fitting)
    if of_files:
        raise InputError(
            f"{pack.runs[0].teachers[0]}: {gigabytes(each)} of what it says is more than the {gigabytes(max(0, free))} there are for "
            "it; expected a file of fewer maps, or terms that read none of them"
        )
    return Room(True, each, free)


def bytes_of_file(pack: PlannedPack) -> int:
    """Memory that a row of the first file takes, which all files of the pack have in common."""
    shapes = read_file(next(t for run in pack.runs for t in run.teachers if is_teacher_file(t))).shapes
    return sum(4 * math.prod(shape) for shape in shapes.values())


def sketch(pack: PlannedPack, needs: Needs) -> Stored:
    """Arrays of the right shapes for a measurement: every row holds what the first teacher says of one of its training rows."""
    data, values, labels = packs.load(pack)
    teachers = packs.teachers_of(pack.runs)
    live = packs.live_teachers(pack, 1)
    rows = packs.rows(data, next(run.fold for run in pack.runs if run.teachers))[0][:CHUNK]
    kept = live.kept(0, values[rows[:1]], needs)
    if "logits" not in kept:
        kept["logits"] = live.says(0, values[rows[:1]], needs).logits
    index = torch.as_tensor(rows, device=labels.device)
    constants = live.measured(0, values, rows, labels[index], needs)
    stored = Stored(
        {name: value.expand(len(teachers), len(values), *value.shape[1:]) for name, value in kept.items()},
        {name: value.expand(len(teachers), *value.shape) for name, value in constants.items()},
        live.shapes(),
    )
    if not before_output(pack.network):
        return stored
    hidden = live.teachers[0][0](values[rows[:1]]).hidden
    stored.layers = output_layers(packs.live_teachers(pack).teachers, hidden.expand(len(teachers), len(values), -1))
    return stored


def most_teachers(each: list[PlannedPack]) -> int:
    """Of the packs, the most teachers in one."""
    return max(itertools.chain([0], (len(packs.teachers_of(pack.runs)) for pack in each)))


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
