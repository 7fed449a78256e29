"""How long trainings take: a few steps of each on made-up values, on one thread, by its CPU time."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache as remembered

import numpy as np
import torch

from pipeline import cache, places, training
from pipeline.config import FeatureSpec, TrainSettings
from pipeline.corpus import Corpus
from pipeline.deploy import latency
from pipeline.losses import LossMix
from pipeline.runs.planned import PlannedRun

#: Of a measurement: at least so many steps, and so many rows.
STEPS, ROWS = 2, 64


@dataclass(frozen=True)
class Estimate:
    """What a row still costs, in CPU seconds."""

    name: str
    runs: int
    features: float
    training: float

    @property
    def seconds(self) -> float:
        return self.features + self.training

    @staticmethod
    def lines(rows: Sequence[Estimate]) -> list[str]:
        """For people: each row and all, on as many cores as there are."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        total = sum(row.seconds for row in rows)
        each = [f"  {row.name}: {row.runs} runs, {row.seconds / 60 / cores:.1f} min" for row in rows]
        return [*each, f"estimated: {total / 60 / cores:.0f} min on {cores} quiet cores ({total / 60:.0f} min of one)"]


@remembered
def step_seconds(network: TrainSettings, shape: tuple[int, ...], classes: int) -> float:
    """CPU seconds of one step, of labels alone: what a training of several steps takes longer than one of a single step."""
    plain = replace(network, epochs=1, augment="none", mixup=0.0, views="all", keep="", warmup_epochs=0.0, freeze="")
    steps = max(STEPS, ROWS // network.batch)

    def seconds(count: int) -> float:
        rows = count * network.batch
        samples = torch.randn(rows + 8, *shape, generator=torch.Generator().manual_seed(0))
        run = training.Run(1, 0, LossMix.parse("ce"), training.Task(np.arange(rows), np.arange(rows, rows + 8)))
        start = time.process_time()
        training.fit(samples, torch.arange(rows + 8) % classes, [run], plain, classes=classes, say=lambda _: None)
        return time.process_time() - start

    with latency.torch_threads(1):
        seconds(1)  # what is done once a process
        return max(0.0, seconds(1 + steps) - seconds(1)) / steps


@remembered
def feature_seconds(spec: FeatureSpec) -> float:
    """CPU seconds of a view's features."""
    return latency.feature_times(spec, 5)[0] / 1000


def estimated(name: str, missing: Sequence[PlannedRun], corpus: Corpus, extracted: set[FeatureSpec]) -> Estimate:
    """Of a row's missing runs: steps of all epochs, and features that are not there yet; their spec goes into ``extracted``."""
    clips = {fold: len(corpus.fold_clips(fold)) for fold in corpus.folds}
    spec = missing[0].settings.features
    there = all(cache.fold_path(places.cache(), corpus.name, spec, fold).is_file() for fold in corpus.folds)
    features = 0.0 if there or spec in extracted else len(spec.view_names) * len(corpus.clips) * feature_seconds(spec)
    extracted.add(spec)
    total = 0.0
    for run in missing:
        network = run.network
        views = 1 if network.views == "random" else len(spec.view_names)
        rows = views * sum(count for fold, count in clips.items() if fold != run.fold)
        step = step_seconds(network, spec.shape, len(corpus.classes))
        if network.augment != "none" and run.mix.needs_teacher:  # it runs in every step: a third of a step of training
            step += (
                step_seconds(replace(run.settings.teacher, batch=network.batch), spec.shape, len(corpus.classes)) / 3
            )
        total += network.epochs * (rows // network.batch) * step
    return Estimate(name, len(missing), features, total)
