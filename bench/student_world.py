"""The runs of ``bench.students``' rows as the command line plans them, which of them are missing, and the commands that train them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.student_rows import Part, Row
from pipeline import cache, config, places, runs
from pipeline.commands.distill import teacher_features
from pipeline.config import FeatureSpec, Settings
from pipeline.corpus import Corpus
from pipeline.experiments import stages
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import read, variant
from pipeline.runs import Record
from pipeline.runs.planned import PlannedRun


@dataclass(frozen=True)
class World:
    """What is asked for."""

    corpus: Corpus
    data: Path | None
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    sets: tuple[str, ...] = ()
    trials: int | None = None
    """Of each search; None: as many as its space has."""
    students: tuple[str, ...] = ()
    """Of part ``presets`` those that are trained, with their teachers; (): all."""
    plans: dict[Row, list[tuple[PlannedRun, ...]]] = field(default_factory=dict, compare=False)
    """Of rows that were asked for since the last command: what is finished decides under which preset's name a teacher lies."""

    def settings(self, row: Row) -> Settings:
        return config.for_corpus(config.read(row.preset, (*row.sets, *self.sets)), self.corpus.seconds)

    def heard(self, row: Row) -> dict[str, Any]:
        """The features of its teachers that are not its own."""
        return teacher_features(row.preset, (*row.sets, *self.sets), row.heard)

    def seeds_of(self, row: Row) -> tuple[int, ...]:
        """Of a row's runs. A teacher has the seed that all students of its fold share, or one of those that teach together."""
        if row.mix:
            return self.seeds[: row.most]
        return row.teachers or (self.settings(row).student.teacher_seed,)

    def levels(self, row: Row) -> list[tuple[PlannedRun, ...]]:
        """The row's runs last, before them those that teach them."""
        if row in self.plans:
            return self.plans[row]
        step = read("teacher")
        if row.mix:
            above = stages.own_teachers(row.teachers, self.heard(row))
            taught_by = {"teacher": stages.TOGETHER} if above else {}
            step = variant("student", "student", *above, mix=None, each={"mix": [row.mix]}, **taught_by)
        levels, _ = plan(step, self.settings(row), self.corpus.name, folds=self.folds, seeds=self.seeds_of(row))
        self.plans[row] = [level.runs for level in levels]
        return self.plans[row]

    def planned(self, row: Row) -> tuple[PlannedRun, ...]:
        """The runs of a row."""
        return self.levels(row)[-1]

    def missing(self, row: Row) -> list[PlannedRun]:
        return unfinished(self.planned(row))

    def untaught(self, row: Row) -> list[PlannedRun]:
        """The teachers that a row's missing runs wait for."""
        return unfinished([run for level in self.levels(row)[:-1] for run in level]) if self.missing(row) else []

    def records(self, row: Row) -> list[Record]:
        """The finished runs of a row."""
        return [runs.read(run.folder) for run in self.planned(row) if runs.finished(run.folder)]

    def has_features(self, spec: FeatureSpec) -> bool:
        return all(cache.fold_path(places.cache(), self.corpus.name, spec, k).is_file() for k in self.corpus.parts)

    def trained(self, part: Part) -> tuple[Row, ...]:
        """The rows of a part that are to be trained."""
        if part.name != "presets" or not self.students:
            return part.rows
        asked = [row for row in part.rows if row.mix and row.student in self.students]
        presets = {row.preset for row in asked}
        return tuple(row for row in part.rows if row in asked or (not row.mix and row.preset in presets))

    @cached_property
    def where(self) -> list[str]:
        """The options that name the corpus."""
        return ["--dataset", self.corpus.dataset, *(["--data", str(self.data)] if self.data else [])]

    def commands(self, row: Row) -> list[list[str]]:
        """The commands that train what is missing of a row: features and teachers where they are, then its own runs."""
        chosen = [*self.where, "--preset", row.preset, *words("--set", (*row.sets, *self.sets))]
        of_teachers = [*chosen, *words("--set", row.heard)]
        folds = ["--folds", listed(self.folds)]
        teachers = self.untaught(row) if row.mix else self.missing(row)
        heard = dict.fromkeys(run.settings.features for run in teachers)
        commands = [] if self.has_features(self.settings(row).features) else [["features", *chosen]]
        if row.heard and not all(map(self.has_features, heard)):
            commands.append(["features", *of_teachers])
        if teachers:
            seeds = listed(sorted({run.seed for run in teachers}))
            commands.append(["teacher", *of_teachers, *folds, "--seeds", seeds])
        if row.mix:
            taught = ["--teacher-seeds", listed(row.teachers)] if row.teachers else []
            taught += words("--teacher-set", row.heard)
            seeds = listed(self.seeds_of(row))
            commands.append(["distill", *chosen, *folds, "--seeds", seeds, "--losses", row.mix, *taught])
        return commands


def unfinished(planned: Sequence[PlannedRun]) -> list[PlannedRun]:
    return [run for run in planned if not runs.finished(run.folder)]


def words(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
