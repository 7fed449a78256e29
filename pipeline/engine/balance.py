"""The weight at which a term pulls as strongly as its base, and the time of a step: measured on the runs' own data, on the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import training
from pipeline.engine import packs, subsets
from pipeline.engine.augmented import augmentation
from pipeline.engine.packs import PlannedPack
from pipeline.engine.source import Source
from pipeline.images import samples as images
from pipeline.losses import LossMix, Term, views
from pipeline.losses.mixable import taught_live
from pipeline.runs.planned import PlannedRun
from pipeline.training.balance import gradient_norm, step_seconds
from pipeline.training.dropout import before_output
from pipeline.training.pools import chosen_pools
from pipeline.training.step import Pack

#: Batches that the norms are the mean over, and steps that the time is the median of.
BATCHES, STEPS = 20, 20


def norms(run: PlannedRun, base: LossMix, term: Term, source: Source) -> tuple[float, float]:
    """|∂base/∂θ| and |∂term/∂θ| at the network's first weights θ of the run's fold and seed.

    Both are means over the first ``BATCHES`` batches; no step is taken.
    """
    alone = LossMix((dataclasses.replace(term, weight=1.0),))
    pull, other = (gradient_norm(counting(first_pack(run, mix, source), run), BATCHES) for mix in (base, alone))
    return pull, other


def counting(pack: Pack, run: PlannedRun) -> Pack:
    """The pack with the weights and options of the first epoch in which all its terms count."""
    begins: list[Any] = [dict(term.options).get("from", 0) for mix in pack.loss.mixes for term in mix.terms]
    pack.loss.set_epoch(max(begins), run.network.epochs)
    return pack


def step_times(run: PlannedRun, mixes: Sequence[LossMix], source: Source) -> list[float]:
    """Seconds of a step of each mix, on one thread, in turns."""
    return step_seconds([first_pack(run, mix, source) for mix in mixes], STEPS)


def first_pack(run: PlannedRun, mix: LossMix, source: Source) -> Pack:
    """The run alone with another mix, before its first step."""
    planned = PlannedPack((dataclasses.replace(run, mix=mix),), source.files, source.data_set, "cpu", "loop", Path())
    # A few batches need no arrays of all rows, and arrays drop nothing behind stages.
    dropping = run.network.teacher_dropout and not before_output(run.network)
    hears = run.network.mixup and taught_live(mix)
    live = dropping or hears or views.two(mix) or packs.needs_of_pack(planned).large
    planned = dataclasses.replace(planned, live=bool(live) and not packs.with_files(planned.runs))
    data, values, labels = packs.load(planned)
    teaching = packs.teaching_of(planned)
    each = chosen_pools(values, packs.trainings(planned.runs, data), planned.network, teaching)
    statistics = training.standardisation(values, each, images.standardised_per(data))
    count = subsets.count(planned.network, data.classes)
    augment = augmentation(planned.network, data, values.device) if views.two(mix) else None
    return training.packed(values, labels, each, planned.network, count, teaching, "loop", statistics, augment)
