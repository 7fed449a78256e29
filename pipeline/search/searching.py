"""The search itself: brackets of trials, each trained rung by rung, on the inner folds of one held-out fold.

What is tried follows from the space, the seed and what was measured before, and what is measured from the settings alone. So a
search that was killed at any moment goes on with the same trials: those on record are read, the others are trained, from their
checkpoints where there are some.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import InputError
from pipeline.corpus.clips import UNLABELLED
from pipeline.engine.missing import say
from pipeline.locks import locked
from pipeline.plurals import many
from pipeline.runs.planned import PlannedRun
from pipeline.search import halving, planning, proposing, record, training
from pipeline.search.planning import Search
from pipeline.search.record import TRIALS, Measured
from pipeline.search.space import Value
from pipeline.search.training import Score, Teachers, Trial


def searched(search: Search, held_out: int | None, how: Mapping[str, Any]) -> list[Measured]:
    """All that is measured of the trials for a held-out fold (None: for all folds), what is on record of it not again.

    ``how``: ``device``, ``jobs`` and ``checkpoint_minutes``. Raises ``InputError`` for a record of other data or versions, or a
    damaged one, and where all values of the space are refused.
    """
    folder = search.place(held_out)
    with locked(folder / "search", str(folder)):
        begun = (folder / record.SEARCH).is_file()
        record.begin(folder, about(search, held_out))
        measured = record.read(folder / TRIALS)
        if gone := record.lost(folder / TRIALS):
            say(f"{folder / TRIALS}: {record.lost_words(gone)}: measured again, to the same trials")
        teachers = Teachers(search.source, how)
        rungs = halving.shares(search.epochs, search.space.halving, search.space.least_epochs)
        place = 0
        for numbers in halving.brackets(search.space.trials, search.space.halving, len(rungs)):
            values = proposing.proposals(search.space, search.seed, measured[:place], numbers)
            trials = dict(zip(numbers, values))
            for rung, share in enumerate(rungs):
                known = measured[place : place + len(trials)]
                if gone and [(one.trial, one.rung) for one in known] != [(number, rung) for number in trials]:
                    # What is left of a rung is measured again with the rest of it, and so is all that came after.
                    measured, known = measured[:place], []
                if known:
                    require_same(folder / TRIALS, known, trials, rung)
                else:
                    known = rung_of(search, held_out, trials, rung, share, teachers, how, begun)
                    begun = False
                    measured = [*measured, *known]
                    record.keep(folder, measured)
                    say(told(search, known, held_out))
                place += len(known)
                trials = {one.trial: trials[one.trial] for one in known if one.goes_on}
                if not trials:
                    break
        require_end(folder / TRIALS, measured, place)
        training.forget(folder)
    return measured


def about(search: Search, held_out: int | None) -> dict[str, Any]:
    """What ``search.json`` says: what the trials follow from that is no part of the folder's name, and what it is about."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    if search.space.sampler != "grid":
        versions["optuna"] = proposing.library().__version__
    digests, parts = search.source.digests, (*search.inner(held_out), UNLABELLED)
    data = {str(part): digests[str(part)] for part in parts if str(part) in digests}
    objective = {record.OBJECTIVE: search.measure} if search.several else {}
    return {
        **objective,
        "space": search.space.told,
        "preset": search.settings.preset,
        "held out": held_out,
        "validated on": search.validating(held_out),
        "seeds": search.seeds,
        "seed": search.seed,
        "data": data,
        "versions": versions,
    }


def rung_of(
    search: Search,
    held_out: int | None,
    trials: Mapping[int, Mapping[str, Value]],
    rung: int,
    share: float,
    teachers: Teachers,
    how: Mapping[str, Any],
    begun: bool,
) -> list[Measured]:
    """The trials of a bracket that have come so far, trained up to a rung; which go on is decided.

    ``begun``: whether an earlier call may have trained some of them up to here.
    """
    planned, taught_by, refused = dict[int, Trial](), list[PlannedRun](), dict[int, str]()
    for number, values in trials.items():
        try:
            settings, mix = planning.settings_of(search, values)
            before, runs = planning.trainings(search, settings, mix, held_out)
        except InputError as error:
            refused[number] = str(error)
            continue
        planning.require_data(search, before, runs)
        try:
            planning.require_trainable(search, before, runs)
        except InputError as error:
            refused[number] = str(error)
            continue
        taught_by += before
        epochs = halving.epochs_at(share, runs[0].network.epochs)
        planned[number] = Trial(settings, mix, tuple(runs), epochs, share == 1, search.several)
    teachers.train(taught_by)
    folder = search.place(held_out)
    together = search.space.halving == 1
    device = training.schedule.chosen_device(how["device"])
    training.forget(folder, training.batches(planned, folder, device, together))  # those that were stopped
    scores = {number: lost for number, trial in planned.items() if (lost := teachers.failed(trial))}
    if trained := {number: trial for number, trial in planned.items() if number not in scores}:
        for line in training.lost(training.batches(trained, folder, device, together), rung, begun):
            say(line)
        scores |= training.scores(trained, search.source, folder, **how, together=together)
    means = {number: mean_of(planned[number], scores[number]) for number in planned}
    going = halving.survivors({n: float(np.mean(list(m.values()))) for n, m in means.items()}, search.space.halving)
    return [
        Measured(number, rung, 0, False, values, "", refused=refused[number])
        if number in refused
        else measured_of(number, rung, planned[number], values, means[number], scores[number], number in going)
        for number, values in trials.items()
    ]


def mean_of(trial: Trial, scores: Sequence[Score]) -> dict[int, float]:
    """Inner fold → mean over seeds."""
    by_fold: dict[int, list[float]] = {}
    for run, score in zip(trial.runs, scores):
        by_fold.setdefault(run.fold, []).append(score.value)
    return {fold: float(np.mean(values)) for fold, values in by_fold.items()}


def measured_of(
    number: int,
    rung: int,
    trial: Trial,
    values: Mapping[str, Value],
    folds: Mapping[int, float],
    scores: Sequence[Score],
    is_among_best: bool,
) -> Measured:
    mean = float(np.mean(list(folds.values())))
    return Measured(
        number,
        rung,
        trial.epochs,
        trial.whole,
        values,
        str(trial.mix),
        None if trial.several else mean,
        {str(fold): value for fold, value in folds.items()},
        tuple(score.failure for score in scores if score.failure),
        goes_on=is_among_best and not trial.whole,
        map=mean if trial.several else None,
    )


def require_same(path: Path, known: Sequence[Measured], trials: Mapping[int, Mapping[str, Value]], rung: int) -> None:
    """``InputError`` where the record holds other trials than the space and the trials before give."""
    there = [(one.trial, one.rung, dict(one.values)) for one in known]
    expected = [(number, rung, dict(values)) for number, values in trials.items()]
    if there != expected:
        raise other_trials(path)


def require_end(path: Path, measured: Sequence[Measured], place: int) -> None:
    if len(measured) > place:
        raise other_trials(path)


def other_trials(path: Path) -> InputError:
    return InputError(
        f"{path}: other trials than this space and seed give; expected those of a search as it wrote them: remove the folder "
        f"{path.parent} and search again"
    )


def told(search: Search, measured: Sequence[Measured], held_out: int | None) -> str:
    """A line of progress: how far, how many, and the best of them."""
    tried = [one for one in measured if one.score is not None]
    where = "all folds" if held_out is None else f"without fold {held_out}"
    first, last = measured[0].trial + 1, measured[-1].trial + 1
    refused = f", {len(measured) - len(tried)} refused" if len(tried) < len(measured) else ""
    if not tried:
        return f"{search.space.name}, {where}: trials {first} to {last}: all refused: {measured[0].refused}"
    best = max(tried, key=lambda one: one.score or 0.0)
    return (
        f"{search.space.name}, {where}: {many(len(measured), 'trial')} ({first} to {last} of {search.space.trials}) up to epoch {best.epochs}"
        f"{refused}; best {percent(search, best)}, trial {best.trial + 1}: {in_words(best.values)}"
    )


def percent(search: Search, one: Measured) -> str:
    """ "61.3 %", of clips with several labels "mAP 61.3 %"."""
    return f"{'mAP ' if search.several else ''}{100 * (one.score or 0):.1f} %"


def in_words(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name.removeprefix('student.')} {value}" for name, value in values.items())


def best_of(measured: Sequence[Measured]) -> Measured:
    """The best trial of those that were trained to their end; of equals the first. ``InputError`` where there is none."""
    whole = [one for one in measured if one.whole and one.score is not None]
    if not whole:
        reason = next((one.refused for one in measured if one.refused), "none was trained")
        raise InputError(f"no trial was trained to its end: {reason}; expected values that go together")
    return max(whole, key=lambda one: (one.score or 0.0, -one.trial))
