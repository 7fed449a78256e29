"""Born-again chains: the runs of each generation, the ensemble of all, and their paired differences.

Conventions. Accuracies, of clips with several labels mean average precisions, are in percent of the held-out fold's clean clips (or the test images), last epoch. The
ensemble is that of generations 1 to G of one chain (a mix, fold and seed): mean of their class probabilities, from
their kept predictions. Differences are paired over fold × seed and judged over folds (of images, which have one test
set, over trainings): to the chain without relational terms, the baseline, at the same stage; and to the first teacher,
generation 0. Runs that stopped have no figure and their chain no ensemble; runs no better than chance count, and are
named beside it. p (Holm) is over the ensembles of all mixes, for each of the two differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pipeline import runs
from pipeline.figures import ensembles, evaluation, statistics
from pipeline.figures.statistics import Cell, Comparison, Spread
from pipeline.label_sets import mean_average_precision
from pipeline.plurals import many
from pipeline.report import paper, recordings
from pipeline.report.aggregation import (
    STAMP,
    cell,
    chance,
    ratio,
    stopped,
)
from pipeline.report.table import signed
from pipeline.report.wording import listed
from pipeline.runs import Record
from pipeline.teacher_files import is_teacher_file

BASELINE = paper.chained()
FIRST = 0
ENSEMBLE = -1
"""Stands for the ensemble where generations are numbers."""

#: What the stages are called in tables.
FIRST_NAME, ENSEMBLE_NAME = "first teacher", "ensemble of {}"

Values = dict[Cell, float]


@dataclass
class Chain:
    """The runs of one mix in one group: accuracies in percent, by generation, fold and seed."""

    mix: str
    stages: dict[int, Values] = field(default_factory=dict)
    """Generation (0: the first teachers) → its runs."""
    ensemble: Values = field(default_factory=dict)
    """Of the generations 1 to ``Group.size``, where all of them are there."""
    notes: dict[int, list[str]] = field(default_factory=dict)
    """Generation → what keeps its mean from being the whole truth."""
    folders: dict[int, dict[Cell, list[Path]]] = field(default_factory=dict)
    """Generation → the runs behind its figures; those of a first teacher vote together."""
    stopped: set[Cell] = field(default_factory=set)
    """Cells whose chain stopped, so that they have no ensemble."""


@dataclass
class Group:
    """The chains that share settings, data and first teachers."""

    folder: Path
    chains: dict[str, Chain]
    size: int
    """Generations in the ensemble."""
    records: list[Record]

    @property
    def first(self) -> Record:
        """One of its runs: what it says of corpus, settings and preset holds for all."""
        return self.records[0]

    @property
    def synthetic(self) -> bool:
        return self.first.synthetic

    @property
    def ratio(self) -> float:
        """n_test / n_train of the corrected test; 0 where there is one fixed test set."""
        return 0.0 if self.first.is_of_images else ratio(self.first)

    @property
    def unit(self) -> str:
        """Over what differences are judged, see ``statistics.comparison``."""
        return "training" if self.first.is_of_images else "fold"

    @property
    def settings(self) -> str:
        settings = self.first.settings.student
        drops = (
            f"epochs {settings.milestones}" if settings.milestones else f"every {many(settings.step_epochs, 'epoch')}"
        )
        schedule = f"× {settings.gamma:g} at {drops}" if settings.schedule == "step" else settings.schedule
        schedule = schedule.replace("at every", "every")
        return (
            f"{settings.model}, preset {self.first.preset}: {many(settings.epochs, 'epoch')}, batch {settings.batch}, learning "
            f"rate {settings.lr:g} {schedule}, augmentation {settings.augment}"
        )

    @cached_property
    def lines(self) -> list[Line]:
        """See ``lines``; reads the kept predictions once."""
        return lines(self)

    @property
    def title(self) -> str:
        return f"{STAMP if self.synthetic else ''} {self.folder.name}".strip()


@dataclass(frozen=True)
class Line:
    """One stage of one chain, with its comparisons."""

    mix: str
    stage: str
    spread: Spread | None
    """None where no run of the stage has a figure."""
    to_baseline: Comparison | None
    to_first: Comparison | None
    notes: str
    p_holm: float | None = None
    first_p_holm: float | None = None
    with_stopped: float | None = None
    """Of ensembles: the difference to the baseline with chains that stopped at chance; None without any."""

    @property
    def is_ensemble(self) -> bool:
        return self.stage.startswith("ensemble")


def groups(root: Path, corpus: str, generations: int | None = None) -> list[Group]:
    """The chains below ``root/corpus`` that have a finished run; the ensembles are of ``generations``, or of all."""
    by_folder: dict[Path, list[Record]] = {}
    for record in runs.find(root, corpus):
        if record.is_generation:
            by_folder.setdefault(record.folder.parents[2], []).append(record)
    return [group(folder, records, generations) for folder, records in by_folder.items()]


def group(folder: Path, records: Sequence[Record], generations: int | None) -> Group:
    deepest = max(record.generation for record in records)
    size = min(generations or deepest, deepest)
    by_mix: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: paper.place(paper.TABLE4, record.recorded_mix)):
        by_mix.setdefault(record.recorded_mix, []).append(record)
    chains = {mix: chain(mix, members, size) for mix, members in by_mix.items()}
    return Group(folder, chains, size, list(records))


def chain(mix: str, records: Sequence[Record], size: int) -> Chain:
    """Figures of one mix: of the first teachers, of each generation, and of the ensembles."""
    of_mix = Chain(mix)
    members: dict[Cell, dict[int, Path]] = {}
    for record in records:
        generation, at = record.generation, cell(record)
        if generation == 1:
            first(of_mix, at, record)
        note(of_mix, generation, at, record.result.status)
        if record.trusted:
            note(of_mix, generation, at, "taught by what does not say what it was trained on: trusted")
        if stopped(record):
            of_mix.stopped.add(at)
        elif (percent := record.result.percent) is not None:
            of_mix.stages.setdefault(generation, {})[at] = percent
            of_mix.folders.setdefault(generation, {})[at] = [record.folder]
            members.setdefault(at, {})[generation] = record.folder
    wanted = range(1, size + 1)
    for at, folders in members.items():
        if all(generation in folders for generation in wanted):
            voters = [folders[generation] for generation in wanted]
            of_mix.folders.setdefault(ENSEMBLE, {})[at] = voters
            of_mix.ensemble[at] = ensemble_score(voters)
    return of_mix


def note(into: Chain, generation: int, at: Cell, status: str) -> None:
    if status != "trained":
        into.notes.setdefault(generation, []).append("fold{}-seed{} {}".format(*at, status))


def first(into: Chain, at: Cell, record: Record) -> None:
    """The figure of the run, or the ensemble of runs, that taught a first generation; a note where it is gone."""
    folders = list(record.teachers)
    if files := [folder.name for folder in folders if is_teacher_file(folder)]:
        remark = f"{', '.join(files)}: a file, which has no accuracy of its own"
        into.notes[FIRST] = list(dict.fromkeys([*into.notes.get(FIRST, []), remark]))
        return
    gone = [folder for folder in folders if not runs.finished(folder)]
    if gone:
        into.notes.setdefault(FIRST, []).append(f"missing: {gone[0]} was removed")
        return
    for folder in folders:
        note(into, FIRST, at, runs.read(folder).result.status)
    into.folders.setdefault(FIRST, {})[at] = folders
    into.stages.setdefault(FIRST, {})[at] = ensemble_score(folders)


def ensemble_notes(group: Group, of_mix: Chain) -> str:
    """What is to be said of the members of a chain's ensembles."""
    remarks = [f"generation {g}: {text}" for g in range(1, group.size + 1) for text in of_mix.notes.get(g, [])]
    return listed(remarks, "; ")


def ensemble_score(folders: Sequence[Path]) -> float:
    together = ensembles.ensemble(folders)
    if together.labels.ndim == 2:
        return 100 * mean_average_precision(together.labels, together.logits)
    return 100 * evaluation.accuracy(together.logits, together.labels)


def lines(group: Group) -> list[Line]:
    """Every stage of every chain: generations first, then the ensemble; Holm over the ensembles of all mixes."""
    rows = []
    for of_mix in group.chains.values():
        stages = sorted(of_mix.stages.keys() | of_mix.notes.keys())
        rows += [line(group, of_mix, stage) for stage in stages]
        if of_mix.ensemble:
            rows.append(line(group, of_mix, ENSEMBLE))
    ends = [i for i, one in enumerate(rows) if one.is_ensemble]
    to_baseline, to_first = (
        statistics.holm([test.p if test else None for test in tests])
        for tests in ([rows[i].to_baseline for i in ends], [rows[i].to_first for i in ends])
    )
    for i, p, first_p in zip(ends, to_baseline, to_first, strict=True):
        rows[i] = replace(rows[i], p_holm=p, first_p_holm=first_p)
    return rows


def line(group: Group, of_mix: Chain, stage: int) -> Line:
    """One generation, the first teacher, or the ensemble, with its comparisons."""
    base = group.chains.get(BASELINE)
    values = figures(of_mix, stage)
    spread = statistics.spread(values) if values else None
    to_baseline = (
        None if of_mix is base or stage == FIRST or base is None else compared(group, of_mix, stage, base, stage)
    )
    to_first = None if stage == FIRST else compared(group, of_mix, stage, of_mix, FIRST)
    filled = None
    if stage == ENSEMBLE and base is not None and of_mix is not base:
        filled = statistics.with_stopped(values, base.ensemble, of_mix.stopped, base.stopped, chance(group.first))
    notes = [ensemble_notes(group, of_mix) if stage == ENSEMBLE else listed(of_mix.notes.get(stage, []), "; ")]
    whole = len(group.first.all_folds)
    if spread and len(spread.folds) < whole:
        notes.insert(0, f"partial ({len(spread.folds)} of {whole} folds)")
    if filled is not None:
        notes.append(f"with chains that stopped at chance {signed(filled)} to the baseline")
    names = {ENSEMBLE: ENSEMBLE_NAME.format(group.size), FIRST: FIRST_NAME}
    name = names.get(stage, f"generation {stage}")
    return Line(of_mix.mix, name, spread, to_baseline, to_first, "; ".join(filter(None, notes)), with_stopped=filled)


def figures(of_mix: Chain, stage: int) -> Values:
    return of_mix.ensemble if stage == ENSEMBLE else of_mix.stages.get(stage, {})


def compared(group: Group, of_mix: Chain, stage: int, other: Chain, other_stage: int) -> Comparison | None:
    """A stage of a chain less a stage of another one, or of the same."""
    test = statistics.comparison(figures(of_mix, stage), figures(other, other_stage), group.ratio, group.unit)
    return recordings.beside(test, of_mix.folders.get(stage, {}), other.folders.get(other_stage, {}))


def published(group: Group, mix: str, stage: str) -> float | None:
    """Table 4's figure for an ensemble of three, or for generation 0, of its own data set and network."""
    first = group.first
    if first.synthetic or not first.is_of_images or first.model != paper.CHAINED_NETWORK:
        return None
    if stage == FIRST_NAME:
        return paper.percent(paper.TABLE4, "")
    return paper.percent(paper.TABLE4, mix) if stage == ENSEMBLE_NAME.format(paper.MEMBERS) else None
