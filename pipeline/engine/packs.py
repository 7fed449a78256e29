"""Runs trained together: from cached features to finished run folders.

What is to be done is a ``PlannedPack`` of plain values, so that the same function does it in this process, in another
one, or on another machine that sees the same files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline import cache, config, models, runs, training
from pipeline.config import TrainSettings
from pipeline.engine import notes, other_features, subsets, tasks, teachers
from pipeline.engine.augmented import augmentation
from pipeline.engine.epochs import EpochLog
from pipeline.engine.outputs import crossed, loaded, of_files, stamps, taught, teacher_of
from pipeline.engine.outputs import samples as samples
from pipeline.engine.records import run_record, start_of, write_run, write_start
from pipeline.engine.source import Source, clips_of
from pipeline.engine.tasks import rows as rows
from pipeline.engine.together import judged
from pipeline.engine.whole import Whole
from pipeline.files import stamp
from pipeline.images import samples as images
from pipeline.losses.adapting import needs_with
from pipeline.losses.needs import MEMBERS, Needs, needs_of
from pipeline.models import Outputs
from pipeline.runs import DataSet
from pipeline.runs.planned import Files, PlannedRun
from pipeline.teacher_files import is_teacher_file
from pipeline.training import Live, Run, Stored, Trained, inference, packing
from pipeline.training.dropout import before_output, output_layers
from pipeline.training.members import as_one, side_by_side
from pipeline.training.pools import NoneSure


@dataclass(frozen=True)
class PlannedPack:
    """Runs that share a network and a schedule, and how they are trained; plain values, for any process."""

    runs: tuple[PlannedRun, ...]
    files: Files
    """The folds' files: all folds of the corpus, those held out too; or an archive of images."""
    data_set: DataSet
    device: str
    layout: str
    checkpoint: Path
    checkpoint_seconds: float = 300.0
    threads: int = 0
    """CPU threads; 0: torch's own choice."""
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)
    """How pack size and layout were chosen, for the record."""
    repeats: Path | None = None
    """The run that is repeated."""
    live: bool = False
    """Whether teachers run in every step, on the students' very input; else what they say is computed once, before the first."""
    command: Whole | None = None  # all that it trains
    until: int = 0  # the epoch behind which it is left for now, with its checkpoint; 0: the last

    @property
    def network(self) -> TrainSettings:
        return self.runs[0].network

    @property
    def turn(self) -> tuple[bool, float]:
        """By which packs are sorted: those that were begun, then the others, each the longest first, so that the last ones end together."""
        begun = self.checkpoint.exists()
        return not begun, -self.command.cost_of(self.runs, begun=begun) if self.command else 0.0

    @property
    def note(self) -> Path:
        """Beside the checkpoint: which runs it is of, their layout, and how that was chosen."""
        return self.checkpoint.with_suffix(".json")


def load(pack: PlannedPack) -> tuple[cache.Data, torch.Tensor, torch.Tensor]:
    """The data of all folds, and its ``samples``; kept as long as the files stay as they are."""
    return loaded(pack.files, pack.device, pack.network.data, stamps(pack.files), pack.network.features_in)


def trainings(planned: Sequence[PlannedRun], data: cache.Data) -> list[Run]:
    """The runs as ``training.fit`` wants them; teachers are numbered in the order in which they come."""
    taught_by = teachers_of(planned)
    return [
        Run(
            run.fold,
            run.drawn,
            run.mix,
            task,
            teacher=taught_by.index((run.teachers, run.fold, run.base)) if run.teachers else 0,
            start=start_of(run.start) if run.start else None,
            cohort=str(run.cohort[0].alike) if run.peer else "",
            member=run.member,
        )
        for run, task in zip(planned, tasks.tasks(planned, data))
    ]


def teachers_of(planned: Sequence[PlannedRun]) -> list[tuple[tuple[Path, ...], int, Path | None]]:
    """Each teacher once, as the runs or files that it consists of, the held-out fold that it is for, and the base beside it."""
    return list(dict.fromkeys((run.teachers, run.fold, run.base) for run in planned if run.teachers))


def with_files(planned: Sequence[PlannedRun]) -> bool:
    """Whether a teacher is a file: arrays that no network stands behind."""
    return any(is_teacher_file(teacher) for run in planned for teacher in run.teachers)


def train(pack: PlannedPack, say: Callable[[str], None]) -> list[str]:
    """Train a pack and write its run folders. Returns a line for each run that failed.

    Only the training rows (all views) and the clean test rows of each run's own fold are read. A stopped call
    leaves a checkpoint, and the same call goes on from there. What does not fit into the device's memory is
    trained in halves.
    """
    if pack.threads:
        torch.set_num_threads(pack.threads)

    def train_some(planned: list[PlannedRun]) -> list[Trained]:
        return train_sure(pack if len(planned) == len(pack.runs) else part_of(pack, planned), say)

    results = packing.in_halves(train_some, pack.runs, say, len(pack.runs[0].cohort))
    return [f"{run.folder}: {one.failure}" for run, one in zip(pack.runs, results) if one.failure]


def train_sure(pack: PlannedPack, say: Callable[[str], None]) -> list[Trained]:
    """``train_whole``; runs to which a threshold leaves no clip without a label fail, and the others go on without them."""
    try:
        return train_whole(pack, say)
    except NoneSure as error:
        reasons = error.reasons
    forget(pack)
    data = load(pack)[0]
    failed = {
        place: Trained(run, failure=reasons[place])
        for place, run in enumerate(trainings(pack.runs, data))
        if place in reasons
    }
    for place, result in failed.items():
        if not runs.finished((run := pack.runs[place]).folder):
            write_run(run, run_record(pack, run, data), data, result)
    others = [run for place, run in enumerate(pack.runs) if place not in failed]
    trained = iter(train_whole(part_of(pack, others), say) if others else ())
    return [failed[place] if place in failed else next(trained) for place in range(len(pack.runs))]


def train_whole(pack: PlannedPack, say: Callable[[str], None]) -> list[Trained]:
    """``train`` of all runs at once."""
    data = load(pack)[0]
    how = {"layout": pack.layout, "measured": pack.measured, **({"live": True} if pack.live else {})}
    notes.write(pack.note, pack.runs, how)
    log = EpochLog(pack.runs, say, pack.command)
    records = [run_record(pack, run, data) for run in pack.runs]
    for run, record in zip(pack.runs, records):
        if not runs.finished(run.folder):  # by a call that was killed while it wrote the pack's folders
            write_start(record)
    log.begin()
    try:
        trained = fitted(pack, say, log.keep)
    except Exception as error:
        if packing.out_of_memory(error):  # its halves are packs of their own
            forget(pack)
        raise
    log.flush()
    for run, record, result in zip(pack.runs, records, trained):
        if not runs.finished(run.folder):
            write_run(run, record, data, judged(run, record, data, result))
    forget(pack)
    return trained


def fitted(
    pack: PlannedPack, say: Callable[[str], None], on_epoch: Callable[[int, dict[str, Any]], None] | None = None
) -> list[Trained]:
    """``training.fit`` of a pack: from its checkpoint, or from the beginning, to its last epoch or ``until``. No folder is written."""
    data, values, labels = load(pack)
    task = (values, labels, trainings(pack.runs, data), pack.network)
    return training.fit(
        *task,
        classes=subsets.count(pack.network, data.classes),
        teaching=teaching_of(pack),
        device=values.device,
        layout=pack.layout,
        checkpoint=pack.checkpoint,
        checkpoint_seconds=pack.checkpoint_seconds,
        on_epoch=on_epoch,
        say=say,
        augment=augmentation(pack.network, data, values.device),
        per=images.standardised_per(data),
        until=pack.until or None,
    )


def pack_name(planned: Sequence[PlannedRun]) -> str:
    """Of the files that an unfinished pack is kept in: the same runs, the same name."""
    return f"pack-{config.digest([str(run.folder) for run in planned])}"


def part_of(pack: PlannedPack, planned: Sequence[PlannedRun]) -> PlannedPack:
    """Some of a pack's runs as a pack of their own."""
    checkpoint = pack.checkpoint.with_name(f"{pack_name(planned)}.pt")
    return dataclasses.replace(pack, runs=tuple(planned), checkpoint=checkpoint)


def forget(pack: PlannedPack) -> None:
    """Remove what a pack left to go on from."""
    for path in (pack.checkpoint, pack.note):
        path.unlink(missing_ok=True)


def teaching_of(pack: PlannedPack) -> Stored | Live | None:
    """What each teacher says of the training rows of its own fold, computed once for all of its students; or the teachers.

    Raises ``InputError`` for a teacher of another fold than the student's, or of other data: it may have seen the clips
    held out here; and for one that lacks what a term reads.
    """
    taught_by = teachers_of(pack.runs)
    data, values, labels = load(pack)
    teachers.require_folds(pack.runs)
    digests = {str(fold): digest for fold, digest in data.digests.items()}
    source = Source(pack.files, pack.data_set, digests, data.classes, data.label_sets)
    teachers.check(pack.runs, source)
    if not taught_by:
        return None
    needs = needs_of_pack(pack)
    for run in pack.runs:
        needs_of([run.mix]).of_teacher(len(run.teachers), ", ".join(map(str, run.teachers)))
    if pack.live:
        return live_teachers(pack)
    learned = subsets.chosen(pack.runs[0], data.classes)
    clips = clips_of(data, pack.data_set, learned) if with_files(pack.runs) else None
    if needs.large or needs.heads:
        asked = [tasks.answered(data, fold) for _, fold, _ in taught_by]
        learners = [next(run for run in pack.runs if (run.teachers, run.fold, run.base) == one) for one in taught_by]
        trained_on = tasks.tasks(learners, data)
        with training.tuned(values.device, tf32=False):  # what is distilled is not rounded
            if clips is None:
                stored = inference.stored(live_teachers(pack), values, asked, labels, needs, trained_on)
                return with_layers(pack, stored)
            files_alone = of_files([(members[0], fold) for members, fold, _ in taught_by], clips, needs, values.device)
            numbers = torch.arange(len(values), device=values.device)
            return inference.stored(files_alone, numbers, asked, labels, needs, trained_on)
    names = tuple(sorted({"embedding", "logits", *needs.names} - {MEMBERS}))
    how = (pack.device, pack.network.data, pack.network.teacher_epoch, names)

    def told(teacher: Path, fold: int, base: Path | None) -> Outputs:
        if clips is not None and is_teacher_file(teacher):
            return of_files([(teacher, fold)], clips, needs, values.device).teachers[0]
        weights = (stamp(one / "model.pt") for one in (teacher, base) if one)
        own = other_features.files_of(teacher, pack.runs, source)
        return taught(teacher, own, *how, (*stamps(own), *weights), base, pack.network.features_in)

    def together(members: tuple[Path, ...], fold: int, base: Path | None) -> Outputs:
        if (members, fold) in cross_fitted:
            return crossed(members, fold, data, values)
        return as_one([told(teacher, fold, base) for teacher in members], needs.members, pack.network.teacher_average)

    cross_fitted = {(run.teachers, run.fold) for run in pack.runs if run.crossed}
    each = (together(*one) for one in taught_by)
    return with_layers(pack, Stored(side_by_side(each, len(taught_by))))


def with_layers(pack: PlannedPack, stored: Stored) -> Stored:
    """With the teachers' output layers, where dropout acts before these."""
    if not before_output(pack.network):
        return stored
    stored.layers = output_layers(live_teachers(pack).teachers, stored.outputs.hidden)
    return stored


def live_teachers(pack: PlannedPack, count: int | None = None) -> Live:
    """The networks of the pack's teachers, or of the first ``count`` of them. ``InputError`` where they lack what is read."""
    other_features.require_live(pack.runs)
    epoch, device = pack.network.teacher_epoch, torch.device(pack.device)
    folders = teachers_of(pack.runs)[:count]
    networks = [[teacher_of(folder, epoch, base) for folder in members] for members, _, base in folders]
    live = Live(networks, pack.network.teacher_average)
    live.require(needs_of_pack(pack))
    return live.to(device)


def needs_of_pack(pack: PlannedPack) -> Needs:
    """What the terms of its runs need of their teachers, and the dropout before an output layer."""
    mixes = [run.mix for run in pack.runs if run.teachers]
    data = load(pack)[0]
    count = subsets.count(pack.network, data.classes)
    needs = needs_with(mixes, lambda: models.network(pack.network.model, data.features.shape[2:], count))
    hidden = {"hidden"} if before_output(pack.network) else set()
    return dataclasses.replace(needs, outputs=tuple(sorted({*needs.outputs, *hidden})))
