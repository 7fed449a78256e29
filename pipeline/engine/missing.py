"""Levels of planned runs → finished run folders: which are missing, and the missing ones trained, level by level."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import models, runs, samplers, signals
from pipeline.config import InputError, TrainSettings
from pipeline.engine import batches, networks, several, stopped, subsets, teachers
from pipeline.engine.source import Source
from pipeline.engine.whole import whole_of
from pipeline.locks import locked
from pipeline.losses import library
from pipeline.losses.unlabelled import require_unlabelled
from pipeline.plurals import many
from pipeline.progress import foot, say
from pipeline.runs import Record, weights
from pipeline.runs.planned import PlannedRun
from pipeline.teacher_files import is_teacher_file

#: Failed runs that a message names.
SHOWN = 5

#: Folders that are trained together at most: each is locked meanwhile, by a file that is held open.
TOGETHER = 64

#: What a stop waits for.
ENDING = "the step ends, and the epoch so far is kept"


class RunsFailed(InputError):
    """Some runs' loss was not finite; all others are finished."""


@dataclass(frozen=True)
class Level:
    """Runs of which none learns from another: they can be trained together."""

    name: str
    """What they are, in a word or two."""
    runs: tuple[PlannedRun, ...]


def any_finished(levels: Iterable[Level]) -> bool:
    """Whether any run is there to be a row: of what was refused, none is."""
    return any(runs.finished(run.folder) for level in levels for run in level.runs)


def in_homes(name: str, planned: Iterable[PlannedRun]) -> list[Level]:
    """Runs as a level for each folder that they lie in; each run once."""
    by_home: dict[Path, dict[Path, PlannedRun]] = {}
    for run in planned:
        by_home.setdefault(run.home, {})[run.folder] = run
    return [Level(name, tuple(members.values())) for members in by_home.values()]


def train(levels: Sequence[Level], source: Source, **how: Any) -> None:
    """Train the runs that are missing, each level behind those that it learns from.

    ``how``: ``checkpoint_minutes``, and what ``schedule.train_all`` takes. A run whose loss is not finite costs itself
    and those that learn from it. Raises ``InputError`` before anything is trained for runs and teachers of other data, for
    batches and terms of more classes than there are, for terms of outputs that a network has not and that lack their ensemble,
    and ``RunsFailed`` at the end if runs failed; the others are kept.
    """
    for model in dict.fromkeys(run.network.model for level in levels for run in level.runs):
        models.require(model)
    planned = {run.folder: run for level in levels for run in level.runs}
    levels, sources = by_features(levels, source)
    every, failures, trained = list[PlannedRun](), list[str](), 0
    for level, source in zip(levels, sources):  # all that is on record is looked at before hours of training
        check(level.runs, planned, source)
        every += (missing := missing_runs(level.runs, source))
        teachers.require_whole(missing, {run.folder for each in levels for run in each.runs})
        noted = batches.check(missing, source)
        networks.check(missing, planned, source)
        noted += [note for run in missing for note in teachers.other_labels(run, planned)]
        for note in dict.fromkeys([*noted, *several.absent(missing, source)]):
            say(note)
    for stage, source in stages(levels, sources):
        homes = [home for level in stage for home in in_homes(level.name, with_teachers(level.runs))]
        whole = whole_of(len(planned), every, source)
        with foot(whole.far, sys.stderr), signals.ending(ENDING):
            count, lines = train_homes(homes, source, command=whole, **how)
        trained, failures = trained + count, failures + lines
    if failures:
        raise RunsFailed(failed(failures, trained))


def by_features(levels: Sequence[Level], source: Source) -> tuple[list[Level], list[Source]]:
    """The levels, those of runs with several features as one for each; and the source of each, which is asked for other features."""
    parts: list[Level] = []
    for level in levels:
        for spec in dict.fromkeys(run.settings.features for run in level.runs):
            parts.append(Level(level.name, tuple(run for run in level.runs if run.settings.features == spec)))
    return parts, [source.on(part.runs[0].settings.features) for part in parts]


def check(runs_of_level: Sequence[PlannedRun], planned: Mapping[Path, PlannedRun], source: Source) -> None:
    """``InputError`` for runs and teachers of other data, and for batches and terms of more classes than there are."""
    teachers.check(runs_of_level, source)
    counts = {network: subsets.count(network, source.classes) for network in {run.network for run in runs_of_level}}
    for network, role in dict.fromkeys((run.network, role_of(run)) for run in runs_of_level):
        samplers.check_classes(network.sampler, network.batch, counts[network], role)
    for mix, network in dict.fromkeys((run.mix, run.network) for run in runs_of_level):
        mix.require_classes(counts[network])
        several.check(mix, network, source)
        if not (source.has_unlabelled or network.unlabelled):
            require_unlabelled(mix, network)
        if (network.label_noise or network.label_noise_fixed) and len(source.classes) < 2:
            raise InputError("label noise with a single class; expected two classes at least, or label_noise = 0")
    for run in runs_of_level:
        subsets.check(run, planned, source)
        teachers.require_members(run)
        teachers.require_same_labels(run, planned)


def stages(levels: Sequence[Level], sources: Sequence[Source]) -> list[tuple[list[Level], Source]]:
    """The levels that are trained ``together``, and their source."""
    found, first = [], 0
    for stage in together(levels):
        found.append((stage, sources[first]))
        first += len(stage)
    return found


def together(levels: Sequence[Level]) -> list[list[Level]]:
    """Levels behind each other that are trained together, on the same features: none learns from another, and each has folders of its
    own. So no process waits for the last runs of one folder where those of the next could begin."""
    found: list[list[Level]] = []
    for level in levels:
        before = [run for other in (found[-1] if found else ()) for run in other.runs]
        folders, homes = {run.folder for run in before}, {run.home for run in before}
        apart = any(run.home in homes or folders & {*run.parents} for run in level.runs)
        alike = bool(before) and before[0].settings.features == level.runs[0].settings.features
        if alike and not apart and len(homes) < TOGETHER:
            found[-1].append(level)
        else:
            found.append([level])
    return found


def train_homes(
    homes: Sequence[Level], source: Source, *, checkpoint_minutes: float = 5.0, **how: Any
) -> tuple[int, list[str]]:
    """Train the missing runs of levels that have one home each: how many there were, and a line for each that failed."""
    parts = [part for level in homes if (part := Level(level.name, tuple(told_missing(level, source)))).runs]
    if not parts:
        return 0, []
    # torch comes here and not at the top, so that a finished stage answers at once.
    from pipeline.engine import schedule

    every = [run for part in parts for run in part.runs]
    with contextlib.ExitStack() as locks:
        for part in parts:
            home = part.runs[0].home
            locks.enter_context(locked(home / "training", f"{home}"))
        for part in parts:  # once nobody else is at any of them
            checkpoints = part.runs[0].home / ".checkpoints"
            for line in (*stopped.lost(checkpoints, part.runs), *stopped.given_up(part.runs)):
                say(line)
        started = time.monotonic()
        failures = schedule.train_all(
            every,
            source,
            checkpoint_seconds=60 * checkpoint_minutes,
            say=say,
            **{"pack": None, "layout": None, "jobs": 0, **how},
        )
    first = every[0].home
    where = f"{first}" if len(parts) == 1 else f"{len(parts)} folders of {first.parent}"
    names = ", ".join(dict.fromkeys(part.name for part in parts))
    say(f"{names}: {many(len(every), 'run')} in {time.monotonic() - started:.0f} s, in {where}")
    return len(every), failures


def told_missing(level: Level, source: Source) -> list[PlannedRun]:
    """The missing runs of a level of one home; how many there are is said, and what is to be known of them."""
    home, name = level.runs[0].home, level.name
    missing = missing_runs(level.runs, source)
    finished = f"{name}: {len(level.runs) - len(missing):,} of {many(len(level.runs), 'run')} finished in {home}"
    say(
        f"{finished}; {len(missing):,} to train with preset {missing[0].settings.preset}"
        if missing
        else f"{finished}; nothing to do"
    )
    for role, network in dict.fromkeys((role_of(run), run.network) for run in missing):
        if note := departure(network, role):
            say(note)
    for note in dict.fromkeys(note for run in missing for note in (*unclipped(run), *teachers.untold(run))):
        say(note)
    return missing


def missing_runs(planned: Sequence[PlannedRun], source: Source) -> list[PlannedRun]:
    """The runs that are not finished, or whose weights or predictions are not what their result names any more.

    A finished one that was trained on other data is an error.
    """
    missing = []
    for run in planned:
        if not runs.finished(run.folder):
            missing.append(run)
            continue
        now = {int(fold): digest for fold, digest in source.digests.items()}
        record = runs.read(run.folder)
        require_own_place(run, record)
        if reason := runs.outdated(record, data=now, teachers=True):
            raise InputError(
                f"{run.folder} {reason}; results of different data or teachers are not mixed: remove {run.group} and run "
                "again"
            )
        if weights.damaged_files(run.folder):
            missing.append(run)
    return missing


def require_own_place(run: PlannedRun, record: Record) -> None:
    """``InputError`` where the folder of a planned run holds another one: two were exchanged, one was copied over, or it goes back to
    a single run of another seed, which is no part of its path."""
    here, wanted = (
        f"{of.corpus} {of.step if of.is_step else of.role}{of.generation or ''} fold{of.fold}-seed{of.seed} {mix}{settings}"
        for of, mix, settings in (
            (record, record.mix_text, f" settings {record.digest}" if record.is_teacher_or_student else ""),
            (run, str(run.mix), f" settings {run.digest}" if run.is_teacher_or_student else ""),
        )
    )
    if here != wanted:
        raise InputError(
            f"{run.folder} holds another run ({here}) than its place is for ({wanted}): folders were exchanged or renamed; rename "
            "it back, or remove it and run again"
        )
    there, now = (
        ", ".join(sorted(path.name for path in of.parents if not is_teacher_file(path))) for of in (record, run)
    )
    if run.is_step and there != now:
        raise InputError(
            f"{run.folder} goes back to {there or 'no run'}, and by its step as it is now to {now or 'none'}; results of different "
            f"teachers are not mixed: remove {run.group} and run again, or give the step another name"
        )


def with_teachers(planned: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The runs whose parents have weights: what would learn or start from a run that failed ends with it."""
    kept = []
    for run in planned:
        # One that was left out itself has no result at all.
        failed = [
            str(parent)
            for parent in run.parents
            if not is_teacher_file(parent) and (not runs.finished(parent) or runs.read(parent).result.failed)
        ]
        if failed:
            say(f"{run.folder}: left out, for {', '.join(failed)} failed")
        else:
            kept.append(run)
    return kept


def failed(failures: Sequence[str], trained: int) -> str:
    more = [f"and {len(failures) - SHOWN} more"] if len(failures) > SHOWN else []
    first = f"{len(failures):,} of {many(trained, 'run')} stopped; the others are kept"
    return "\n       ".join([first, *failures[:SHOWN], *more])


def role_of(run: PlannedRun) -> str:
    """The table of the settings that its network is."""
    return "teacher" if run.is_teacher else "student"


def unclipped(run: PlannedRun) -> list[str]:
    """A line for each term that was published with clipped gradients, where the run does not clip them."""
    if run.network.clip_norm:
        return []
    norms = {term.name: library.constant(term.name, "CLIP_NORM", 0.0) for term in run.mix.terms}
    return [
        f"note: {name} was published with clip_norm = {norm:g}, and {role_of(run)}.clip_norm is 0: outputs may run away, and the "
        f"student stay at chance; --set {role_of(run)}.clip_norm={norm:g} is the remedy"
        for name, norm in norms.items()
        if norm
    ]


def departure(network: TrainSettings, role: str) -> str:
    """A line for settings that are known not to train, so that nobody takes the result for a finding."""
    if network.model == "cnn2" and network.lr >= 0.03 and not network.warmup_epochs and not network.clip_norm:
        size = "is the published value" if network.lr == 0.1 else "is high"
        return (
            f"note: {role}.lr = {network.lr:g} {size}; the student has no batch norm and stays at chance with 0.1 and "
            "nearly so with 0.03 (see docs/settings.md). Preset default has the smallest change that trains."
        )
    return ""
