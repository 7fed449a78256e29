"""How long trainings take: a few steps of each on made-up values, on one thread, by its CPU time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache as remembered
from pathlib import Path

import numpy as np
import torch

from bench import student_nested
from bench.student_rows import Part, Row
from bench.student_world import World, unfinished
from pipeline import training
from pipeline.config import FeatureSpec, TrainSettings
from pipeline.corpus import Corpus
from pipeline.deploy import latency
from pipeline.losses import LossMix
from pipeline.processes.cores import usable
from pipeline.runs.planned import PlannedRun

#: Of a measurement: at least so many steps, and so many rows.
STEPS, ROWS = 2, 64


@dataclass(frozen=True)
class Estimate:
    """What a part still costs, in CPU seconds."""

    name: str
    runs: int
    """That are missing, teachers among them."""
    shared: int
    """Runs of its rows that are those of an earlier row too, of this part or another."""
    features: float
    training: float
    search: float = 0.0
    """Of trials."""

    @property
    def seconds(self) -> float:
        return self.features + self.training + self.search

    @staticmethod
    def lines(parts: Sequence[Estimate]) -> list[str]:
        """For people: each part and all, on as many cores as there are."""
        cores = usable()
        total = sum(part.seconds for part in parts)
        each = [
            f"  {part.name}: {part.runs} runs, {part.seconds / 60 / cores:.1f} min"
            + (f", {part.search / 60 / cores:.1f} of them trials" if part.search else "")
            + (f" ({part.shared} runs shared with earlier rows)" if part.shared else "")
            for part in parts
        ]
        return [*each, f"estimated: {total / 60 / cores:.0f} min on {cores} quiet cores ({total / 60:.0f} min of one)"]


@dataclass
class Known:
    """What earlier rows trained or extracted already."""

    counted: set[Path] = field(default_factory=set)
    """Missing runs whose time is in the sum."""
    seen: set[Path] = field(default_factory=set)
    """Runs of rows."""
    extracted: set[FeatureSpec] = field(default_factory=set)

    def new(self, missing: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Those that are not counted yet; they are from now on."""
        left = [run for run in missing if run.folder not in self.counted]
        self.counted |= {run.folder for run in left}
        return left


@remembered
def seconds_of_step(network: TrainSettings, shape: tuple[int, ...], classes: int) -> float:
    """CPU seconds of one step, of labels alone: what a training of several steps takes longer than one of a single step."""
    steps = max(STEPS, ROWS // network.batch)

    def seconds(count: int) -> float:
        rows = count * network.batch
        samples = torch.randn(rows + 8, *shape, generator=torch.Generator().manual_seed(0))
        run = training.Run(1, 0, LossMix.parse("ce"), training.Task(np.arange(rows), np.arange(rows, rows + 8)))
        start = time.process_time()
        training.fit(samples, torch.arange(rows + 8) % classes, [run], network, classes=classes, say=lambda _: None)
        return time.process_time() - start

    with latency.torch_threads(1):
        seconds(1)  # what is done once a process
        return max(0.0, seconds(1 + steps) - seconds(1)) / steps


def step_seconds(network: TrainSettings, shape: tuple[int, ...], classes: int) -> float:
    """Of what the time of a step depends on; measured once for all rows that have it in common."""
    like = {name: getattr(network, name) for name in ("model", "batch", "optimizer", "precision", "average")}
    return seconds_of_step(TrainSettings(**like, lr=1e-4, epochs=1), shape, classes)


@remembered
def feature_seconds(spec: FeatureSpec) -> float:
    """CPU seconds of a view's features."""
    return latency.feature_times(spec, 5)[0] / 1000


def epoch_seconds(run: PlannedRun, corpus: Corpus, share: float = 1.0) -> float:
    """CPU seconds of an epoch of a run, on a share of its clips."""
    network, spec = run.network, run.settings.features
    views = 1 if network.views == "random" else len(spec.view_names)
    left_out = (run.fold, run.without)
    rows = share * views * sum(len(corpus.fold_clips(fold)) for fold in corpus.folds if fold not in left_out)
    step = step_seconds(network, spec.shape, len(corpus.classes))
    if run.changed_inputs and run.mix.needs_teacher:  # they run in every step
        step += heard_seconds(run, network.batch, corpus)
    return rows // network.batch * step


def heard_seconds(run: PlannedRun, batch: int, corpus: Corpus, heard: FeatureSpec | None = None) -> float:
    """CPU seconds in which a run's teachers hear a batch: a third of a step of training. ``heard``: features that are not the run's."""
    teacher = TrainSettings(model=run.settings.teacher.model, batch=batch)
    spec = heard or run.settings.features
    return len(run.teachers) * step_seconds(teacher, spec.shape, len(corpus.classes)) / 3


def stored_seconds(missing: Sequence[PlannedRun], corpus: Corpus, heard: FeatureSpec | None = None) -> float:
    """CPU seconds in which the teachers of a row's runs say what is stored of them: once for a fold, of all views of its clips."""
    seconds = 0.0
    for run in {run.fold: run for run in missing if run.mix.needs_teacher and not run.changed_inputs}.values():
        clips = sum(len(corpus.fold_clips(fold)) for fold in corpus.folds if fold != run.fold)
        seconds += clips * len(run.settings.features.view_names) / ROWS * heard_seconds(run, ROWS, corpus, heard)
    return seconds


def feature_time(spec: FeatureSpec, world: World, known: Known) -> float:
    """CPU seconds of all clips' features; 0 where they are stored, or an earlier row has them."""
    if spec in known.extracted or world.has_features(spec):
        return 0.0
    known.extracted.add(spec)
    return len(spec.view_names) * len(world.corpus.clips) * feature_seconds(spec)


def estimated(part: Part, world: World, known: Known) -> Estimate:
    """What is missing of a part; what counts for it goes into ``known``."""
    count = shared = 0
    features = seconds = 0.0
    for row in world.trained(part):
        planned = {run.folder for run in world.planned(row)}
        shared += len(planned & known.seen)
        known.seen |= planned
        missing = known.new([*world.untaught(row), *world.missing(row)])
        features += sum(feature_time(run.settings.features, world, known) for run in missing)
        count += len(missing)
        seconds += sum(run.network.epochs * epoch_seconds(run, world.corpus, row.share) for run in missing)
        taught_by = [run for level in world.levels(row)[:-1] for run in level]
        heard = taught_by[0].settings.features if taught_by else None
        seconds += stored_seconds(missing, world.corpus, heard)
    search = searched(part.space, world, known) if part.space else (0, 0.0, 0.0)
    return Estimate(part.name, count + search[0], shared, features, seconds + search[1], search[2])


def searched(space: str, world: World, known: Known) -> tuple[int, float, float]:
    """Of a search: the runs that come of it and its teachers, their seconds, and those of its trials, by the space's middle."""
    search = student_nested.search_of(space, world)
    runs, seconds, trials = 0, 0.0, 0.0
    for held_out in student_nested.held_out(world):
        teachers, students = student_nested.middle(search, held_out)
        for run in known.new(unfinished(teachers)):
            runs += 1
            seconds += run.network.epochs * epoch_seconds(run, world.corpus)
        each = sum(epoch_seconds(run, world.corpus) for run in students)
        trials += student_nested.epochs_left(search, held_out) * each
    row = Row("", search.settings.preset, search.space.losses[0].format(taught=1, T=2))
    like: Mapping[int, PlannedRun] = {run.fold: run for run in world.planned(row)}
    for fold, _ in student_nested.unfinished_cells(space, search, world):
        runs += 1
        seconds += like[fold].network.epochs * epoch_seconds(like[fold], world.corpus)
    return runs, seconds, trials
