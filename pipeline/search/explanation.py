"""A search in words, before anything is trained: what is varied, how many trainings that is, and how long it may take."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import places, runs
from pipeline.experiments.stages import named_teachers
from pipeline.experiments.times import time_of
from pipeline.plurals import many
from pipeline.runs.planned import PlannedRun
from pipeline.search import halving, planning
from pipeline.search.planning import Search


def explained(search: Search, held_out: Sequence[int | None]) -> str:
    """What ``--explain`` prints. Teachers are counted for the settings at the low ends: others may need more."""
    space = search.space
    rungs = halving.shares(search.epochs, space.halving, space.least_epochs)
    lines = [f"search {space.name}{f': {space.title}' if space.title else ''}"]
    lines.append(
        f"from preset {search.settings.preset}, the {space.network}'s {search.measure}, sampler {space.sampler}"
    )
    lines += [f"  {parameter.name:24} {parameter}" for parameter in space.parameters]
    if space.network == "student":
        lines.append(f"losses {'; '.join(space.losses)}")
    if space.taught_by:
        lines.append(f"taught by {named_teachers(space.teacher_seeds, dict(space.teacher_features))}")
    lines += ["", *stages(search, rungs), ""]
    teachers: dict[object, PlannedRun] = {}
    trainings = epochs = 0
    for fold in held_out:
        students = len(search.validating(fold)) * len(search.seeds)
        settings, mix = planning.settings_of(search, {one.name: one.ends[0] for one in space.parameters})
        before, _ = planning.trainings(search, settings, mix, fold)
        teachers |= {run.folder: run for run in before}
        where = "for all folds" if fold is None else f"fold {fold} held out"
        each = "each trained on all others" if fold is None else f"each trained on all others but {fold}"
        lines.append(f"{where}: validated on {', '.join(map(str, search.validating(fold)))}, {each}")
        reached = halving.trained(space.trials, space.halving, rungs, search.epochs)
        trainings += space.trials * students
        before_epochs = [0, *(end for _, end in reached)]
        epochs += students * sum(count * (end - start) for (count, end), start in zip(reached, before_epochs))
    left = [run for run in teachers.values() if not runs.finished(run.folder)]
    lines.append(f"In all {many(trainings, 'training')}, {many(epochs, 'epoch')}.")
    if teachers:
        lines.append(f"Before them {many(len(teachers), 'teacher')}, {len(left)} of them to train.")
    by_model: dict[str, int] = {getattr(search.settings, space.network).model: epochs}
    for run in left:
        by_model[run.network.model] = by_model.get(run.network.model, 0) + run.network.epochs
    return "\n".join([*lines, time_of(by_model, places.runs(), search.source.name)])


def stages(search: Search, rungs: Sequence[float]) -> list[str]:
    """How trials are stopped early."""
    space = search.space
    parts = halving.brackets(space.trials, space.halving, len(rungs))
    ends = ", ".join(str(halving.epochs_at(share, search.epochs)) for share in rungs)
    if len(rungs) == 1:
        return [
            f"{many(space.trials, 'trial')}, {len(parts[0])} proposed at once, each of {many(search.epochs, 'epoch')}"
        ]
    return [
        f"{many(space.trials, 'trial')} in brackets of {len(parts[0])}, up to epochs {ends}: at each of these one in "
        f"{space.halving} goes on, the others are stopped",
    ]
