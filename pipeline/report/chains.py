"""Born-again chains: the runs of each generation, the ensemble of all, and their paired differences.

Conventions. Accuracies are in percent of the held-out fold's clean clips (or the test images), last epoch. The
ensemble is that of generations 1 to G of one chain (a mix, fold and seed): mean of their class probabilities, from
their kept predictions. Differences are paired over fold × seed: to the chain without relational terms, the baseline,
at the same stage; and to the first teacher, generation 0. Runs that stopped have no figure; runs no better than
chance keep theirs, and are counted beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import losses, runs
from pipeline.figures import ensembles, evaluation, statistics
from pipeline.figures.statistics import Cell, Comparison, Spread
from pipeline.report.aggregation import STAMP, cell
from pipeline.report.wording import listed
from pipeline.runs import Record

ROLE = "generation"
BASELINE = str(losses.LossMix.parse("ce,soft"))
FIRST = 0

#: A data set of images has one held-out part, the test images: its training sets do not overlap.
IMAGES = "cifar100"

Values = dict[Cell, float]


class Published(NamedTuple):
    """A row of Table 4 (CIFAR-100) of Cho et al. 2023: of the ensemble of three, but the first."""

    name: str
    mix: str
    """Canonical text; "" for generation 0."""
    percent: float


TABLE4 = (
    Published("ResNet-56", "", 59.72),
    Published("BAN ensemble (baseline)", BASELINE, 64.30),
    *(
        Published(f"+ {' + '.join(terms)}", str(losses.LossMix.parse(",".join([*terms, "ce", "soft"]))), percent)
        for terms, percent in (
            (("distance",), 64.44), (("angle",), 65.36), (("area",), 64.28), (("distance", "angle"), 64.32),
            (("distance", "area"), 63.86), (("angle", "area"), 64.82), (("distance", "angle", "area"), 64.50),
        )
    ),
)  # fmt: skip


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


@dataclass
class Group:
    """The chains that share settings, data and first teachers."""

    folder: Path
    config: dict[str, Any]
    """Of one of its runs: what it says of corpus, settings and preset holds for all."""
    chains: dict[str, Chain]
    size: int
    """Generations in the ensemble."""
    records: list[Record]

    @property
    def synthetic(self) -> bool:
        return bool(self.config["synthetic"])

    @property
    def ratio(self) -> float:
        """n_test / n_train of the corrected test; 0 where there is one fixed test set."""
        return 0.0 if self.config["dataset"] == IMAGES else 1 / max(1, len(self.config["data"]) - 1)

    @property
    def settings(self) -> str:
        own = self.config["settings"]["student"]
        drops = f"epochs {own['milestones']}" if own["milestones"] else f"every {own['step_epochs']} epochs"
        schedule = f"× {own['gamma']:g} at {drops}" if own["schedule"] == "step" else own["schedule"]
        schedule = schedule.replace("at every", "every")
        return (f"{own['model']}, preset {self.config['preset']}: {own['epochs']} epochs, batch {own['batch']}, learning "
                f"rate {own['lr']:g} {schedule}, augmentation {own['augment']}")  # fmt: skip

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


# -------------------------------------------------------------------------------------------------- chains


def groups(root: Path, corpus: str, generations: int | None = None) -> list[Group]:
    """The chains below ``root/corpus`` that have a finished run; the ensembles are of ``generations``, or of all."""
    found: dict[Path, list[Record]] = {}
    for record in runs.find(root, corpus):
        if record.config["role"] == ROLE:
            found.setdefault(record.folder.parents[2], []).append(record)
    return [group(folder, records, generations) for folder, records in found.items()]


def group(folder: Path, records: Sequence[Record], generations: int | None) -> Group:
    deepest = max(int(record.config["generation"]) for record in records)
    size = min(generations or deepest, deepest)
    by_mix: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: place(record.config["mix"])):
        by_mix.setdefault(record.config["mix"], []).append(record)
    chains = {mix: chain(mix, members, size) for mix, members in by_mix.items()}
    return Group(folder, records[0].config, chains, size, list(records))


def chain(mix: str, records: Sequence[Record], size: int) -> Chain:
    """Figures of one mix: of the first teachers, of each generation, and of the ensembles."""
    found = Chain(mix)
    members: dict[Cell, dict[int, Path]] = {}
    for record in records:
        generation, own = int(record.config["generation"]), cell(record)
        if generation == 1:
            first(found, own, record)
        note(found, generation, own, record.result["status"])
        if record.result["accuracy"] is not None:
            found.stages.setdefault(generation, {})[own] = 100 * record.result["accuracy"]
            members.setdefault(own, {})[generation] = record.folder
    wanted = range(1, size + 1)
    for own, folders in members.items():
        if all(generation in folders for generation in wanted):
            found.ensemble[own] = ensemble_accuracy([folders[generation] for generation in wanted])
    return found


def note(found: Chain, generation: int, own: Cell, status: str) -> None:
    if status != "trained":
        found.notes.setdefault(generation, []).append("fold{}-seed{} {}".format(*own, status))


def first(found: Chain, own: Cell, record: Record) -> None:
    """The figure of the run, or the ensemble of runs, that taught a first generation; a note where it is gone."""
    teacher = record.config["teacher"]
    folders = [Path(one) for one in ([teacher] if isinstance(teacher, str) else teacher)]
    gone = [folder for folder in folders if not runs.finished(folder)]
    if gone:
        found.notes.setdefault(FIRST, []).append(f"missing: {gone[0]} was removed")
        return
    for folder in folders:
        note(found, FIRST, own, runs.read_result(folder)["status"])
    found.stages.setdefault(FIRST, {})[own] = ensemble_accuracy(folders)


def ensemble_notes(found: Group, own: Chain) -> str:
    """What is to be said of the members of a chain's ensembles."""
    said = [f"generation {g}: {text}" for g in range(1, found.size + 1) for text in own.notes.get(g, [])]
    return listed(said, "; ")


def ensemble_accuracy(folders: Sequence[Path]) -> float:
    together = ensembles.ensemble(folders)
    return 100 * evaluation.accuracy(together.logits, together.labels)


def place(mix: str) -> tuple[int, str]:
    """Sorts Table 4's rows in its order, then other mixes by name."""
    order = [row.mix for row in TABLE4]
    return (order.index(mix), "") if mix in order else (len(order), mix)


# --------------------------------------------------------------------------------------------------- lines


def lines(found: Group) -> list[Line]:
    """Every stage of every chain: generations first, then the ensemble; Holm over the ensembles of all mixes."""
    made = []
    base = found.chains.get(BASELINE)
    for own in found.chains.values():
        for generation in sorted(own.stages.keys() | own.notes.keys()):
            name = "first teacher" if generation == FIRST else f"generation {generation}"
            other = base.stages.get(generation, {}) if base else {}
            texts = listed(own.notes.get(generation, []), "; ")
            made.append(line(found, own, name, own.stages.get(generation, {}), {} if generation == FIRST else other, texts,
                             None if generation == FIRST else own.stages.get(FIRST, {})))  # fmt: skip
        if own.ensemble:
            name = f"ensemble of {found.size}"
            made.append(
                line(
                    found,
                    own,
                    name,
                    own.ensemble,
                    base.ensemble if base else {},
                    ensemble_notes(found, own),
                    own.stages.get(FIRST),
                )
            )
    ends = [i for i, one in enumerate(made) if one.stage.startswith("ensemble")]
    adjusted = statistics.holm([one.p if (one := made[i].to_baseline) else None for i in ends])
    for i, p in zip(ends, adjusted, strict=True):
        made[i] = replace(made[i], p_holm=p)
    return made


def line(found: Group, own: Chain, name: str, values: Values, baseline: Mapping[Cell, float], notes: str,
         first: Mapping[Cell, float] | None) -> Line:  # fmt: skip
    spread = statistics.spread(values) if values else None
    whole = len(found.config["all_folds"])
    if spread and len(spread.folds) < whole:
        notes = "; ".join(filter(None, [f"partial ({len(spread.folds)} of {whole} folds)", notes]))
    to_baseline = statistics.comparison(values, baseline, found.ratio) if own.mix != BASELINE else None
    to_first = statistics.comparison(values, first, found.ratio) if first else None
    return Line(own.mix, name, spread, to_baseline, to_first, notes)


def published(found: Group, mix: str, stage: str) -> float | None:
    """Table 4's figure for an ensemble of three, or for generation 0, of its own data set and network."""
    if found.synthetic or found.config["dataset"] != IMAGES or found.config["model"] != "resnet56":
        return None
    if stage == "first teacher":
        return TABLE4[0].percent
    return {row.mix: row.percent for row in TABLE4}.get(mix) if stage == "ensemble of 3" else None
