"""An experiment's steps → levels of planned runs: each step for every fold and seed, teachers before those they teach.

What equals a run of a stage is that run, whoever asks for it: labels alone without a teacher are a teacher, what the fold's
own teacher teaches is a student, rounds of one network behind labels alone are born-again generations. All else lies
in the experiment's own folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import config
from pipeline.config import InputError, Settings, TrainSettings
from pipeline.engine.missing import Level
from pipeline.engine.teachers import require_kept
from pipeline.experiments import file_teachers, own_features, pairs, peering
from pipeline.experiments.firsts import first_teacher
from pipeline.experiments.steps import (
    PREVIOUS,
    Experiment,
    Step,
    before_in_any_round,
    is_labels_alone,
    model_of,
    require_teacher_of_epoch,
)
from pipeline.experiments.steps import TEACHER as OWN_TEACHER
from pipeline.runs import GENERATION, STEP, STUDENT, TEACHER
from pipeline.runs.planned import CROSSED, PlannedRun, under_any_preset
from pipeline.teacher_files import is_teacher_file

#: Of the runs of one step and round: fold and seed.
Key = tuple[str, int, int, int]


def network_of(step: Step, settings: Settings) -> TrainSettings:
    """How the network of a step is trained: the preset's, with what the step says of its own."""
    table = settings.teacher if step.network.partition("+")[0] == "teacher" else settings.student
    values: dict[str, Any] = dataclasses.asdict(table) | dict(step.settings)
    values["model"] = model_of(step.network, table.model)
    return config.build(TrainSettings, values, f"experiment {step.experiment}: step {step.name}")


def check(experiment: Experiment, settings: Settings) -> None:
    """``InputError`` for a step whose settings do not fit together, whose mix learns nothing from its batches, that starts from
    another network, or that asks for an epoch that its teacher does not keep."""
    for step in experiment.steps.values():
        network, where = network_of(step, settings), f"experiment {step.experiment}: step {step.name}"
        if step.cross_fitted:
            pairs.require_alone(step, experiment.steps, where)
            pairs.require_epoch(network.teacher_epoch, f"{where}: cross_fitted")
            pairs.require_labels(network.unlabelled, f"{where}: cross_fitted")
        require_teacher_of_epoch(step, network.teacher_epoch, where)
        table = step.network if step.network in ("teacher", "student") else ""
        step.mix.require(network, table, based=step.base is not None)
        own_features.check(step, experiment.steps, network, settings)
        peering.check(step, experiment.steps, network, where)
        for name in before_in_any_round(step, step.start):
            other = network_of(experiment.steps[name], settings).model
            if other != network.model:
                raise InputError(
                    f"{where}: start = {step.start!r}: {name} is a {other}, this step a {network.model}; expected a step of "
                    "the same network to start from"
                )
        for name in {teacher for each in step.teachers for teacher in before_in_any_round(step, each)}:
            try:
                require_kept(network_of(experiment.steps[name], settings), network.teacher_epoch, name)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None


def plan(
    experiment: Experiment,
    settings: Settings,
    corpus: str,
    *,
    folds: Sequence[int],
    seeds: Sequence[int],
    firsts: Sequence[Path] = (),
    trust: bool = False,
    all_folds: Sequence[int] = (),
) -> tuple[list[Level], dict[str, list[Path]]]:
    """The levels of runs whose last are the experiment's results, for each of ``folds`` and ``seeds``; and these results.

    A result is a row of a report → the folder that its runs lie in: the experiment's name, with the step's if several.

    ``firsts``: folders of finished runs, or files, that teach the first round in place of the step above it. ``trust``: whether
    files teach that do not say what their teacher was trained on. ``all_folds``: what cross-fitted steps' teachers are pairs of;
    default ``folds``. Raises ``InputError`` as ``check`` does, and where one of
    ``firsts`` has no run of a fold, or the teachers of all files have seen it.
    """
    how: dict[str, Any] = {"firsts": firsts, "trust": trust, "all_folds": all_folds}
    planner = planner_of(experiment, settings, corpus, folds=folds, seeds=seeds, **how)
    return planner.levels(), planner.results(folds, seeds)


def planner_of(
    experiment: Experiment,
    settings: Settings,
    corpus: str,
    *,
    folds: Sequence[int],
    seeds: Sequence[int],
    firsts: Sequence[Path] = (),
    trust: bool = False,
    all_folds: Sequence[int] = (),
) -> Planner:
    """``plan`` as the planner that knows which runs are of which step."""
    check(experiment, settings)
    planner = Planner(experiment, settings, corpus, tuple(firsts), trust, tuple(all_folds or folds))
    for step in experiment.last:
        for fold in folds:
            for seed in step.seeds or seeds:
                planner.last_run(step, fold, seed)
    return planner


@dataclass
class Planner:
    """The runs that were asked for so far, each with its depth: how many trainings come before it."""

    experiment: Experiment
    settings: Settings
    corpus: str
    firsts: tuple[Path, ...] = ()
    trust: bool = False
    folds: tuple[int, ...] = ()
    """All that the corpus has here: cross-fitted steps have a teacher per pair of them."""
    planned: dict[Key, tuple[int, PlannedRun]] = field(default_factory=dict)
    labels: dict[Key, str] = field(default_factory=dict)

    def run(self, step: Step, round_: int, fold: int, seed: int) -> tuple[int, PlannedRun]:
        """(depth, run) of a step, with all that goes before it."""
        key = (step.name, round_, fold, seed)
        if key not in self.planned:
            self.planned[key] = self.planned_run(step, round_, fold, seed)
            self.labels[key] = f"{step.label} {round_} of {step.rounds}" if round_ else step.label
        return self.planned[key]

    def last_run(self, step: Step, fold: int, seed: int) -> tuple[int, PlannedRun]:
        """``run`` of a step's last round. The rounds come one by one: a thousand of them are no deep recursion."""
        for round_ in range(1, step.rounds):
            self.run(step, round_, fold, seed)
        return self.run(step, step.rounds, fold, seed)

    def teachers(self, step: Step, round_: int, fold: int, seed: int) -> tuple[int, list[PlannedRun]]:
        """The least depth of a run, and the runs that teach it. A mix that reads no teacher has none, at the same depth."""
        if not step.teachers or (self.firsts and round_ == 1):
            return 1 if round_ else 0, []
        if not step.mix.needs_teacher:
            return 1 + max(self.depth_of(self.experiment.steps[step.at_first(name)]) for name in step.teachers), []
        each = [one for name in step.teachers for one in self.members(step, name, round_, fold, seed)]
        return 1 + max(depth for depth, _ in each), list({run.folder: run for _, run in each}.values())

    def members(self, step: Step, name: str, round_: int, fold: int, seed: int) -> list[tuple[int, PlannedRun]]:
        """The runs of a step that teaches: one, or one for each of its own seeds."""
        if name == PREVIOUS and round_ > 1:
            return [self.run(step, round_ - 1, fold, seed)]
        teacher = self.experiment.steps[step.at_first(name)]
        seeds = (seed,)
        network = network_of(step, self.settings)
        if name != PREVIOUS and is_labels_alone(teacher) and not network.labels_by_seed:
            seeds = (network.teacher_seed,)  # all seeds of a fold share it
        return [self.last_run(teacher, fold, one) for one in teacher.seeds or seeds]

    def single(self, step: Step, name: str | None, round_: int, fold: int, seed: int) -> tuple[int, PlannedRun] | None:
        """The run that a step starts from, or its base: of its own seed, but of the fold's own teacher that of the seed that all
        share."""
        if name is None:
            return None
        if name == PREVIOUS and round_ > 1:
            return self.run(step, round_ - 1, fold, seed)
        other = self.experiment.steps[step.at_first(name)]
        if other.seeds and seed not in other.seeds and len(other.seeds) > 1:
            raise InputError(
                f"experiment {step.experiment}: step {step.name}: {name} has the seeds {', '.join(map(str, other.seeds))}, and "
                f"none is {seed}; expected one of one seed, or the same seeds"
            )
        network = network_of(step, self.settings)
        if other.name == OWN_TEACHER and not network.labels_by_seed:
            seed = network.teacher_seed
        return self.last_run(other, fold, other.seeds[0] if other.seeds and seed not in other.seeds else seed)

    def depth_of(self, step: Step) -> int:
        """How many trainings come before a step's last round."""
        above = max((self.depth_of(self.experiment.steps[name]) for name in step.parents), default=-1)
        return above + max(1, step.rounds)

    def planned_run(self, step: Step, round_: int, fold: int, seed: int) -> tuple[int, PlannedRun]:
        """(depth, run) of a step; see the module's top for its role."""
        network = network_of(step, self.settings)
        depth, taught_by = self.crossed(step, fold) if step.cross_fitted else self.teachers(step, round_, fold, seed)
        start, base = (self.single(step, name, round_, fold, seed) for name in (step.start, step.base))
        depth = max([depth, *(1 + one[0] for one in (start, base) if one)])
        teachers = tuple(teacher.folder for teacher in taught_by)
        name = step.name.rpartition("/")[2]
        role, of_teacher, of_student, generation = STEP, self.settings.teacher, network, 0
        firsts: tuple[Path, ...] = ()
        named = step.files if step.mix.needs_teacher else ()
        if is_labels_alone(step):
            role, of_teacher, of_student = TEACHER, network, self.settings.student
        elif round_ and (self.firsts or self.is_chain(step)):
            role, of_teacher, generation, firsts = GENERATION, network, round_, tuple(self.firsts)
            named = firsts
            if self.firsts and round_ == 1:
                shared = network.teacher_seed
                folders = [folder for folder in firsts if not is_teacher_file(folder)]
                teachers = tuple(first_teacher(folder, fold, seed, shared, self.corpus) for folder in folders)
                teachers += self.files_of(firsts, fold)
        elif step.cross_fitted:
            firsts = (self.whole(step, fold).alike,)
        elif stages_teacher := self.own_teacher(step):
            role, of_teacher = STUDENT, network_of(stages_teacher, self.settings)
        else:
            before = [*taught_by, *([start[1]] if start else [])]
            generation = max([run.generation + 1 for run in before if run.network.model == network.model], default=0)
            name += f"-{round_}" if round_ else ""
            teachers += self.files_of(named, fold)
        own = own_features.settings_of(step, self.settings)
        settings = dataclasses.replace(own, teacher=of_teacher, student=of_student)
        settings = under_any_preset(self.corpus, settings) if is_labels_alone(step) else settings
        of = (step.experiment, name, role, self.corpus, settings, fold, seed, step.mix, teachers, generation, firsts)
        places: dict[str, Any] = {word: one[1].folder for word, one in (("start", start), ("base", base)) if one}
        places |= {"crossed": step.cross_fitted, "peer": step.peer.rpartition("/")[2]}
        unlike, contents = own_features.differ(settings, taught_by), file_teachers.contents(named)
        return depth, PlannedRun(*of, **places, contents=contents, unlike=unlike)

    def whole(self, step: Step, fold: int) -> PlannedRun:
        """The teacher of a whole fold that those of pairs are like; it is not trained for them."""
        teacher = self.experiment.steps[step.teachers[0]]
        seeds = teacher.seeds or (network_of(step, self.settings).teacher_seed,)
        return self.planned_run(teacher, 0, fold, seeds[0])[1]

    def crossed(self, step: Step, fold: int) -> tuple[int, list[PlannedRun]]:
        """Depth of a cross-fitted step, and its teachers: one per fold but the one that is held out."""
        pairs.require_folds(self.folds, f"experiment {step.experiment}: step {step.name}: cross_fitted")
        taught_by = pairs.with_others(self.whole(step, fold), fold, self.folds)
        for run in taught_by:
            key = (f"{CROSSED} {step.teachers[0]}", run.without or 0, run.fold, run.seed)
            self.planned.setdefault(key, (0, run))
            self.labels[key] = "teachers of pairs of folds"
        return 1, taught_by

    def files_of(self, named: Sequence[Path], fold: int) -> tuple[Path, ...]:
        """Those of the files that teach students of a fold."""
        return file_teachers.teaching([path for path in named if is_teacher_file(path)], fold, self.trust)

    def is_chain(self, step: Step) -> bool:
        """Whether the rounds of a step are born-again generations: one network throughout, the first on labels alone."""
        first = self.experiment.steps[str(step.before)]
        same = network_of(first, self.settings) == network_of(step, self.settings) and first.features == step.features
        alone = step.teachers == (PREVIOUS,) and not (step.start or step.base or step.files)
        return alone and same and is_labels_alone(first) and not first.seeds

    def own_teacher(self, step: Step) -> Step | None:
        """The step that teaches a student as the stages have it: one run on labels alone, of the seed that all share."""
        if len(step.teachers) != 1 or step.teachers == (PREVIOUS,) or step.start or step.base or step.files:
            return None
        teacher = self.experiment.steps[step.teachers[0]]
        shared = network_of(step, self.settings).teacher_seed
        alone = is_labels_alone(teacher) and teacher.seeds in ((), (shared,))
        return teacher if alone and teacher.features == step.features else None

    def of_step(self, name: str) -> set[Path]:
        """The folders of a step's runs."""
        return {run.folder for key, (_, run) in self.planned.items() if key[0] == name}

    def levels(self) -> list[Level]:
        """The runs by depth and by the folder that they lie in, in the order of the steps."""
        places: dict[tuple[int, Path], dict[Path, tuple[Key, PlannedRun]]] = {}
        for key, (depth, run) in self.planned.items():
            places.setdefault((depth, run.home), {}).setdefault(run.folder, (key, run))
        levels = []
        for place in sorted(places, key=lambda place: place[0]):
            members = places[place].values()
            names = dict.fromkeys(self.labels[key] for key, _ in members)
            levels.append(Level(", ".join(names), tuple(run for _, run in members)))
        return levels

    def results(self, folds: Sequence[int], seeds: Sequence[int]) -> dict[str, list[Path]]:
        """See ``plan``."""
        rows: dict[str, list[Path]] = {}
        inside = f"{self.experiment.name}/"
        # A row alone is named as the experiment, but not where its neighbours are left out: with other networks they may be trained.
        left_out = self.experiment.part or any(row.startswith(inside) for row in self.experiment.untrained)
        for step in (last := self.experiment.last):
            name = self.experiment.name if len(last) == 1 and not left_out else f"{inside}{step.name}"
            each = [
                self.planned[step.name, step.rounds, fold, seed][1].alike
                for fold in folds
                for seed in step.seeds or seeds
            ]
            rows[name] = list(dict.fromkeys(each))
        return rows
