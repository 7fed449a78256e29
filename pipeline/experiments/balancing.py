"""Steps with ``balance``: their weights, measured once behind their teacher and noted beside the runs.

One weight for all folds and seeds: that of the first fold and seed 0. It is part of the mix from then on, so of every path,
record and table.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from pipeline import runs
from pipeline.config import Settings, digest
from pipeline.corpus.clips import UNLABELLED
from pipeline.engine.missing import Level, say, train
from pipeline.engine.source import Source
from pipeline.experiments.changing import ancestors
from pipeline.experiments.planning import Planner
from pipeline.experiments.steps import Experiment, Step
from pipeline.losses import LossMix, Term
from pipeline.losses.mix import BASES
from pipeline.losses.schedule import Ramp
from pipeline.runs.experiments import lost_weights, note_time, note_weight, noted_times, noted_weight
from pipeline.runs.planned import PlannedRun


def balanced(
    experiment: Experiment, settings: Settings, source: Source, root: Path, *, trust: bool = False, **how: Any
) -> Experiment:
    """The experiment with measured weights. Teachers of the first fold that are missing are trained for it, by ``how``.

    ``trust``: as ``plan`` takes it.

    A step whose term has no gradient becomes a row that says so. Those ``weighed`` are measured, and are gone then.
    """
    steps = [step for step in experiment.steps.values() if step.balance]
    if not steps:
        return experiment
    if line := lost_weights(root, source.name, steps[0].experiment):
        say(line)
    planner = Planner(experiment, settings, source.name, trust=trust)
    fold = min({*map(int, source.digests)} - {UNLABELLED})
    planned = {step.name: planner.run(step, 0, fold, (step.seeds or (0,))[0])[1] for step in steps}
    train(teachers_alone(planner.levels(), {run.folder for run in planned.values()}), source, **how)
    changed, untrained, measured = dict(experiment.steps), dict(experiment.untrained), dict[str, float]()
    for step in steps:
        del changed[step.name]
        weight = weight_of(step, planned[step.name], source, root)
        if weight is None and step.name in experiment.weighed:
            continue
        if weight is None:
            untrained[step.name] = "no weight makes its gradient as strong: it is 0 or not finite at the first weights"
            continue
        measured[parts(step.mix)[1].key] = weight
        if step.name not in experiment.weighed:
            mix = with_weight(step.mix, weight)
            name = f"{step.label}-{mix.slug}"
            changed[name] = dataclasses.replace(step, name=name, mix=mix, balance=False)
    for step in [one for one in changed.values() if one.apart]:
        if near := near_measured(step, measured):
            del changed[step.name]
            untrained[step.name] = near
    rows = [step for step in changed.values() if step in experiment.last or step.name not in experiment.steps]
    weighted = dataclasses.replace(experiment, steps=changed, untrained=untrained, weighed=frozenset())
    kept = ancestors(rows, weighted)  # who taught only what is not trained is no row in its place
    weighted = dataclasses.replace(weighted, steps={name: step for name, step in changed.items() if name in kept})
    time_steps(weighted, next(iter(planned.values())), settings, source, root, trust)
    return weighted


def time_steps(
    experiment: Experiment, like: PlannedRun, settings: Settings, source: Source, root: Path, trust: bool = False
) -> None:
    """Measure what a step of each row's mix takes beside its base alone, where that is not noted yet."""
    name, fold = experiment.name, like.fold
    planner = Planner(experiment, settings, source.name, trust=trust)
    for step in experiment.last:
        run = planner.last_run(step, fold, (step.seeds or (like.seed,))[0])[1]
        if not run.teachers or run.network != like.network or run.teachers != like.teachers:  # soft needs a teacher
            continue
        if run.settings.features != like.settings.features:
            continue
        if run.alike in noted_times(root, source.name, name) or (run.base and not runs.finished(run.base)):
            continue
        from pipeline.engine.balance import step_times  # torch: a finished experiment answers at once

        drawn = dataclasses.replace(run, start=None)  # what a step takes does not depend on the first weights
        alone, seconds = step_times(drawn, (LossMix.parse("soft"), run.mix), source)
        note_time(root, source.name, name, run.alike, seconds, alone)


def teachers_alone(levels: list[Level], students: set[Path]) -> list[Level]:
    """The levels without the runs that are still to get their weights."""
    kept = [Level(level.name, tuple(run for run in level.runs if run.folder not in students)) for level in levels]
    return [level for level in kept if level.runs]


def weight_of(step: Step, run: PlannedRun, source: Source, root: Path) -> float | None:
    """w with |∂base/∂θ| = |∂(w · term)/∂θ|, three digits: as it is noted, else measured and noted; None where there is none."""
    base, term = parts(step.mix)
    contents = dict(run.contents)
    taught_by = [contents.get(parent) or runs.read(parent).result.weights for parent in run.parents]
    features = None if source.spec(run.settings) is None else run.settings.features
    key = digest(features, run.network, str(base), term.key, source.digests, run.fold, run.seed, taught_by)
    weight = noted_weight(root, source.name, step.experiment, key)
    if weight is None:
        from pipeline.engine.balance import norms  # torch: a finished experiment answers at once

        pull, other = norms(run, base, term, source)
        if not (0 < pull < math.inf and 0 < other < math.inf):
            return None
        weight = float(f"{pull / other:.3g}")
        note_weight(root, source.name, step.experiment, key, term.key, weight)
        say(f"{term.key}: weight {weight:g} pulls as strongly as {base} (fold {run.fold}, seed {run.seed})")
    return weight


def near_measured(step: Step, measured: dict[str, float]) -> str:
    """Why a step with ``apart`` is not trained: the weights of its terms are near the ``measured`` ones; "" where one is not, or none was
    measured. A ramp counts by its larger end."""
    near = []
    for term in step.mix.terms:
        weight = measured.get(term.key, measured.get(term.name))  # of this form of it, else of the loss as it is
        if weight is not None and term.name not in BASES:
            ramp = term.weight
            own = max(ramp.first, ramp.last) if isinstance(ramp, Ramp) else ramp
            if max(own / weight, weight / own) > step.apart:
                return ""
            near.append(f"{own:g} is within {step.apart:g} times the measured {weight:g} of {term.name}")
    return ", and ".join(near)


def parts(mix: LossMix) -> tuple[LossMix, Term]:
    """The base and the other term of a mix of two."""
    base = min((term for term in mix.terms if term.name in BASES), key=lambda term: BASES.index(term.name))
    return LossMix((base,)), next(term for term in mix.terms if term != base)


def with_weight(mix: LossMix, weight: float) -> LossMix:
    base, term = parts(mix)
    return LossMix((*base.terms, dataclasses.replace(term, weight=weight)))
