"""A trial's values → its settings, mix and trainings: for each inner fold a student that sees neither it nor the held-out fold.

Its teacher has seen neither of the two either: a teacher for each pair of folds, as cross-fitted students have, in the same folders.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import config, places
from pipeline import models as models_of
from pipeline.config import InputError, Settings
from pipeline.engine import batches, missing, networks
from pipeline.engine.source import Source
from pipeline.engine.teachers import check as check_teachers
from pipeline.experiments import planning, stages, steps
from pipeline.experiments.pairs import of_pair
from pipeline.experiments.steps import Experiment
from pipeline.images.archive import Archive
from pipeline.label_sets import measure
from pipeline.losses import LossMix
from pipeline.losses.several import require_several
from pipeline.runs import STEP
from pipeline.runs.planned import PlannedRun
from pipeline.search.space import Space, Value

#: What the trainings of a trial are called; their folders are never written.
TRIAL = "search"


@dataclass(frozen=True)
class Search:
    """What is searched, on what, and from which settings."""

    space: Space
    settings: Settings
    """Everything that the space does not vary."""
    source: Source
    folds: tuple[int, ...]
    """All that are here."""
    seeds: tuple[int, ...]
    """Of each trial."""
    seed: int = 0
    """Of what is proposed."""

    @property
    def name(self) -> str:
        """The space's name and a digest of all that the trials follow from but the data."""
        about = [self.space.told, self.settings.features, self.settings.teacher, self.settings.student]
        return f"{self.space.name}-{config.digest(*about, list(self.seeds), self.seed)}"

    @property
    def folder(self) -> Path:
        return places.runs() / self.source.name / f"search-{self.name}"

    @property
    def several(self) -> bool:
        """Whether clips have several labels each."""
        return bool(self.source.label_sets)

    @property
    def measure(self) -> str:
        """What is maximised."""
        return measure(self.several)

    @property
    def epochs(self) -> int:
        return getattr(self.settings, self.space.network).epochs  # type: ignore[no-any-return]

    def inner(self, held_out: int | None) -> tuple[int, ...]:
        """The folds on which trials are trained and validated: all but the one held out; None: all."""
        return tuple(fold for fold in self.folds if fold != held_out)

    def validating(self, held_out: int | None) -> tuple[int, ...]:
        """The inner folds that validate: as many as the space asks for, in turn from the one behind the held-out fold."""
        inner = self.inner(held_out)
        count = min(self.space.validation or len(inner), len(inner))
        first = sum(fold < held_out for fold in inner) if held_out is not None else 0
        return tuple(sorted((*inner, *inner)[first : first + count]))

    def place(self, held_out: int | None) -> Path:
        """The folder of what was tried for a held-out fold; None: for all folds."""
        return self.folder / ("all" if held_out is None else f"fold{held_out}")


def require(search: Search, held_out: Sequence[int | None]) -> None:
    """``InputError`` where nothing would be left to train on."""
    for fold in held_out:
        inner = search.inner(fold)
        if len(inner) < 2:
            without = "" if fold is None else f" without fold {fold}"
            raise InputError(
                f"{search.source.name}{without} has {len(inner)} fold: a search trains on some and validates on another; expected "
                f"{2 if fold is None else 3} folds at least"
            )
    if search.several:
        require_several_taken(search.space, search.settings, search.source.name)


def require_several_taken(space: Space, settings: Settings, where: str) -> None:
    """``InputError`` where a mix of the space needs one label a clip, or a setting that all trials have; ``where``: the corpus of clips
    with several, for the line."""
    if space.network == "teacher":
        require_several(steps.LABELS, settings.teacher, "teacher", where)
        return
    lowest = {parameter.name: parameter.ends[0] for parameter in space.parameters}
    for text in space.losses:
        mix = LossMix.parse(space.mix_of({**lowest, "losses": text}))
        require_several(mix, settings.student, "student", where)


def require_values(space: Space, settings: Settings) -> None:
    """``InputError`` where a value of the space is none of its setting, a mix is none, or a network is not there.

    Each end and choice has to be right beside the lowest of all others; what does not go together is refused in its trial.
    """
    lowest = {parameter.name: parameter.ends[0] for parameter in space.parameters}
    for parameter in space.parameters:
        table, _, key = parameter.name.partition(".")
        for value in parameter.ends:
            if table in ("student", "teacher"):
                tables = dataclasses.asdict(getattr(settings, table))
                config.build(config.TrainSettings, {**tables, key: value}, f"space {space.name}: [{table}]")
            elif space.network == "student":
                LossMix.parse(space.mix_of({**lowest, parameter.name: value}))
    for text in space.losses if space.network == "student" else ():
        LossMix.parse(space.mix_of({**lowest, "losses": text}))
    varied = [value for one in space.parameters if one.name.endswith(".model") for value in one.choices]
    for model in dict.fromkeys([getattr(settings, space.network).model, *map(str, varied)]):
        models_of.require(model)


def settings_of(search: Search, values: Mapping[str, Value]) -> tuple[Settings, LossMix]:
    """The settings and the mix of a trial. ``InputError`` where its values do not go together."""
    settings = search.settings
    tables = {name: dataclasses.asdict(getattr(settings, name)) for name in config.KINDS}
    for name, value in values.items():
        table, _, key = name.partition(".")
        if table in ("student", "teacher"):
            tables[table][key] = value
    where = ", ".join(f"{name} = {value}" for name, value in values.items())
    settings = dataclasses.replace(settings, **config.built_tables(tables, where))
    if search.space.network == "teacher":
        return settings, steps.LABELS
    try:
        mix = LossMix.parse(search.space.mix_of(values))
        mix.require(settings.student, "student")
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return settings, mix


def trainings(
    search: Search, settings: Settings, mix: LossMix, held_out: int | None
) -> tuple[list[PlannedRun], list[PlannedRun]]:
    """The teachers and the students of a trial, for each validating fold and seed, none of which sees ``held_out``."""
    if search.space.network == "teacher":
        settings = dataclasses.replace(settings, student=settings.teacher)
    experiment = stages.students_of([mix], search.space.taught_by)
    return without(experiment, settings, search.source.name, search.validating(held_out), search.seeds, held_out, TRIAL)


def require_data(search: Search, teachers: Sequence[PlannedRun], students: Sequence[PlannedRun]) -> None:
    """``InputError`` for teachers of other data than are at hand, and for damaged features: of no trial's values, so the search ends."""
    if not isinstance(search.source.files, Archive):
        _ = search.source.clips
    check_teachers([*teachers, *students], search.source)


def require_trainable(search: Search, teachers: Sequence[PlannedRun], students: Sequence[PlannedRun]) -> None:
    """``InputError`` where the values of a trial cannot be trained with: known before anything is trained."""
    planned = {run.folder: run for run in teachers}
    missing.check(teachers, planned, search.source)
    missing.check(students, planned, search.source)
    batches.check([*teachers, *students], search.source)
    networks.check(students, planned, search.source)


def without(
    experiment: Experiment,
    settings: Settings,
    corpus: str,
    folds: Sequence[int],
    seeds: Sequence[int],
    held_out: int | None,
    name: str,
) -> tuple[list[PlannedRun], list[PlannedRun]]:
    """The teachers and the students of ``experiment`` and ``folds`` that are not trained on ``held_out`` either. ``name``: that of the
    students' own experiment."""
    levels, _ = planning.plan(experiment, settings, corpus, folds=folds, seeds=seeds)
    planned = [run for level in levels for run in level.runs]
    teachers = {run.folder: run for run in planned if run.is_teacher}
    students = [run for run in planned if not run.is_teacher]
    if held_out is None:
        return list(teachers.values()), students
    pairs = {folder: of_pair(run, run.fold, held_out) for folder, run in teachers.items()}
    return list(pairs.values()), [
        dataclasses.replace(
            run,
            experiment=name,
            step=f"student-without-{held_out}",
            role=STEP,
            without=held_out,
            teachers=tuple(pairs[folder].folder for folder in run.teachers),
        )
        for run in students
    ]
