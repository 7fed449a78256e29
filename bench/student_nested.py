"""Students with what a search chose: *nested*, each held-out fold with settings found on the other folds alone, and the *preset* of all.

The command is ``audio-rkd search``: this says what of it is there, and how many epochs are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.student_rows import FEW, MANY
from bench.student_world import World, listed, words
from pipeline import config, places, runs
from pipeline.config import InputError
from pipeline.engine.source import Source
from pipeline.experiments.stages import as_overrides
from pipeline.figures.statistics import Cell
from pipeline.runs import DataSet, Record
from pipeline.runs.experiments import noted_rows
from pipeline.runs.planned import PlannedRun
from pipeline.search import halving, nested, planning, record, searching
from pipeline.search import space as spaces
from pipeline.search.planning import Search
from pipeline.search.record import TRIALS

NESTED, PRESET = "nested", "preset"

#: Space → row of the part beside → points that the nested students should be better by.
GOALS = {
    "strong": {"default, soft": 6, "resnet18, teacher of default": 0},
    "small": {"default, soft": 14, "small, labels alone": 3},
}


#: Space → how many of the seeds asked for.
SEEDS = {"strong": MANY, "small": FEW}


@dataclass(frozen=True)
class Chosen:
    """What was found for a held-out fold (None: for all)."""

    held_out: int | None
    trials: int
    """Of which something is measured."""
    inner: float | None
    """Accuracy of the best on the inner folds, percent; None where none is trained to its end yet."""
    values: str


def seeds(name: str, world: World) -> tuple[int, ...]:
    """Of the students that are trained with what was chosen."""
    return world.seeds[: SEEDS[name]]


def sets(space: spaces.Space, world: World) -> list[str]:
    """The settings of all rows, without those that the space varies."""
    varied = {parameter.name for parameter in space.parameters}
    return [each for each in world.sets if each.partition("=")[0].replace(" ", "") not in varied]


def search_of(name: str, world: World) -> Search:
    """The search as the command line makes it, but for the features' files, of which its name and its plans say nothing."""
    space = spaces.read(name, (), world.trials)
    settings = config.for_corpus(config.read(space.preset, sets(space, world)), world.corpus.seconds)
    corpus = world.corpus
    data_set = DataSet(corpus.name, corpus.dataset, corpus.synthetic, tuple(corpus.all_folds))
    return Search(space, settings, Source((), data_set, {}, tuple(corpus.classes)), corpus.folds, (0,))


def held_out(world: World) -> list[int | None]:
    """What is searched for: each fold, then all."""
    return [*world.folds, None]


def commands(name: str, search: Search, world: World) -> list[list[str]]:
    """Features where they are not stored, then the searches and what came out of them: killed, they go on."""
    changed = words("--set", sets(search.space, world))
    features = ["features", *world.where, "--preset", search.space.preset, *changed]
    teachers, _ = middle(search, None)
    heard = words("--set", as_overrides(dict(search.space.teacher_features)))
    others = bool(heard) and not all(world.has_features(run.settings.features) for run in teachers)
    trials = ["--trials", str(world.trials)] if world.trials else []
    how = ["--folds", listed(world.folds), "--choose", "both", "--train", "--seeds", listed(seeds(name, world))]
    first = [] if world.has_features(search.settings.features) else [features]
    first += [[*features, *heard]] if others else []
    return [*first, ["search", name, *world.where, *changed, *trials, *how]]


def records(name: str, search: Search, world: World) -> dict[str, list[Record]]:
    """The finished students of both ways, of the folds and seeds asked for."""
    found: dict[str, list[Record]] = {NESTED: [], PRESET: []}
    for entry in noted_rows(places.runs(), world.corpus.name, nested.experiment_of(search)):
        way = entry.name.removeprefix(f"{name} ")
        for fold in world.folds if entry.fold is None else [entry.fold]:
            folders = [entry.folder / f"fold{fold}-seed{seed}" for seed in seeds(name, world)]
            found[way] += [runs.read(folder) for folder in folders if fold in world.folds and runs.finished(folder)]
    return found


def unfinished_cells(name: str, search: Search, world: World) -> list[Cell]:
    """(fold, seed) of the students that are still to be trained, of both ways."""
    cells: list[Cell] = []
    for way in records(name, search, world).values():
        there = {(one.fold, one.seed) for one in way}
        cells += [(fold, seed) for fold in world.folds for seed in seeds(name, world) if (fold, seed) not in there]
    return cells


def middle(search: Search, fold: int | None) -> tuple[list[PlannedRun], list[PlannedRun]]:
    """The teachers and students of a trial in the middle of the space."""
    values = {
        one.name: one.choices[len(one.choices) // 2] if one.choices else one.ends[0] for one in search.space.parameters
    }
    settings, mix = planning.settings_of(search, values)
    return planning.trainings(search, settings, mix, fold)


def epochs_left(search: Search, fold: int | None) -> int:
    """Of one student of each trial: those that the halving takes, less those on record."""
    rungs = halving.shares(search.epochs, search.space.halving, search.space.least_epochs)
    total = before = 0
    for count, until in halving.trained(search.space.trials, search.space.halving, rungs, search.epochs):
        total += count * (until - before)
        before = until
    reached: dict[int, int] = {}
    for one in record.read(search.place(fold) / TRIALS):
        reached[one.trial] = max(one.epochs, reached.get(one.trial, 0))
    return max(0, total - sum(reached.values()))


def chosen(search: Search, world: World) -> Sequence[Chosen]:
    """What each search found so far."""
    every = []
    for fold in held_out(world):
        measured = record.read(search.place(fold) / TRIALS)
        try:
            best = searching.best_of(measured)
        except InputError:
            every.append(Chosen(fold, len({one.trial for one in measured}), None, ""))
            continue
        words = f"{searching.in_words(best.values)} (trial {best.trial + 1})"
        every.append(Chosen(fold, len({one.trial for one in measured}), 100 * (best.score or 0.0), words))
    return every
