"""Born-again chains → tables: each generation, the ensemble of all, and their paired differences.

Conventions. Accuracies are in percent of the held-out fold's clean clips (or the test images), last epoch. The
ensemble is that of generations 1 to G of one chain (a mix, fold and seed): mean of their class probabilities, from
their kept predictions. Differences are paired over fold × seed: to the chain without relational terms, the baseline,
at the same stage; and to the first teacher, generation 0. Runs that stopped have no figure; runs no better than
chance keep theirs, and are counted beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import ensembles, evaluation, losses, runs, statistics, tables
from pipeline.config import InputError
from pipeline.report.aggregation import STAMP
from pipeline.report.wording import listed, number, p_value, provenance, runs_counted
from pipeline.runs import Record
from pipeline.statistics import Cell, Comparison, Spread
from pipeline.tables import NONE, Document, Grid, Section

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
    spread: Spread
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
        generation, cell = int(record.config["generation"]), cell_of(record)
        if generation == 1:
            found.stages.setdefault(FIRST, {})[cell] = first_accuracy(record.config["teacher"])
        note(found, generation, record)
        if record.result["accuracy"] is not None:
            found.stages.setdefault(generation, {})[cell] = 100 * record.result["accuracy"]
            members.setdefault(cell, {})[generation] = record.folder
    wanted = range(1, size + 1)
    for cell, folders in members.items():
        if all(generation in folders for generation in wanted):
            found.ensemble[cell] = ensemble_accuracy([folders[generation] for generation in wanted])
    return found


def cell_of(record: Record) -> Cell:
    return int(record.config["fold"]), int(record.config["seed"])


def note(found: Chain, generation: int, record: Record) -> None:
    if record.result["status"] != "trained":
        text = f"fold{record.config['fold']}-seed{record.config['seed']} {record.result['status']}"
        found.notes.setdefault(generation, []).append(text)


def first_accuracy(teacher: str | Iterable[str]) -> float:
    """Percent of the run, or the ensemble of runs, that taught a first generation."""
    folders = [Path(teacher)] if isinstance(teacher, str) else [Path(one) for one in teacher]
    return ensemble_accuracy(folders)


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
        for generation in sorted(own.stages):
            name = "first teacher" if generation == FIRST else f"generation {generation}"
            other = base.stages.get(generation, {}) if base else {}
            texts = listed(own.notes.get(generation, []), "; ")
            made.append(line(found, own, name, own.stages[generation], {} if generation == FIRST else other, texts,
                             None if generation == FIRST else own.stages.get(FIRST, {})))  # fmt: skip
        if own.ensemble:
            name = f"ensemble of {found.size}"
            made.append(
                line(found, own, name, own.ensemble, base.ensemble if base else {}, "", own.stages.get(FIRST))
            )
    ends = [i for i, one in enumerate(made) if one.stage.startswith("ensemble")]
    adjusted = statistics.holm([one.p if (one := made[i].to_baseline) else None for i in ends])
    for i, p in zip(ends, adjusted, strict=True):
        made[i] = replace(made[i], p_holm=p)
    return made


def line(found: Group, own: Chain, name: str, values: Values, baseline: Mapping[Cell, float], notes: str,
         first: Mapping[Cell, float] | None) -> Line:  # fmt: skip
    spread = statistics.spread(values)
    whole = len(found.config["all_folds"])
    if len(spread.folds) < whole:
        notes = "; ".join(filter(None, [f"partial ({len(spread.folds)} of {whole} folds)", notes]))
    to_baseline = statistics.comparison(values, baseline, found.ratio) if own.mix != BASELINE else None
    to_first = statistics.comparison(values, first, found.ratio) if first else None
    return Line(own.mix, name, spread, to_baseline, to_first, notes)


def difference(own: Comparison | None) -> str:
    """ "+1.25 [−0.50, +3.00]": with the 95 % interval where there are pairs enough."""
    if own is None:
        return NONE
    ends = "" if own.low is None else f" [{number(own.low, '+.2f')}, {number(own.high, '+.2f')}]"
    return number(own.difference, "+.2f") + ends


def grid(found: Group) -> Grid:
    header = ("Mix", "Stage", "Mean\n%", "SD over\nfolds", "SD over\nseeds", "n (folds ×\nseeds)",
              "Difference to\nbaseline", "p", "p\n(Holm)", "Difference to\nfirst teacher", "p", "Notes")  # fmt: skip
    rows = tuple(
        (
            own.mix, own.stage, number(own.spread.mean), number(own.spread.sd_folds), number(own.spread.sd_seeds),
            runs_counted(own),  # type: ignore[arg-type]
            difference(own.to_baseline), p_value(own.to_baseline.p if own.to_baseline else None), p_value(own.p_holm),
            difference(own.to_first), p_value(own.to_first.p if own.to_first else None), own.notes,
        )
        for own in lines(found)
    )  # fmt: skip
    return Grid(found.settings, header, rows, wide=True)


COLUMNS = ("corpus", "synthetic", "group", "preset", "model", "mix", "stage", "mean_percent", "sd_folds", "sd_seeds",
           "n", "difference_to_baseline", "baseline_ci95_low", "baseline_ci95_high", "baseline_p", "baseline_p_holm",
           "baseline_pairs", "difference_to_first_teacher", "first_ci95_low", "first_ci95_high", "first_p",
           "first_pairs", "test_train_ratio", "published_percent", "notes")  # fmt: skip


def csv_rows(found: Group) -> list[tuple[object, ...]]:
    """The cells of ``COLUMNS``, one row a stage; numbers unrounded but for the last digits of binary fractions."""
    about, made = found.config, []
    for own in lines(found):
        base, first = own.to_baseline, own.to_first
        made.append((
            about["corpus"], STAMP if found.synthetic else "", found.folder.name, about["preset"], about["model"],
            own.mix, own.stage, own.spread.mean, own.spread.sd_folds, own.spread.sd_seeds, own.spread.n,
            base and base.difference, base and base.low, base and base.high, base and base.p, own.p_holm, base and base.n,
            first and first.difference, first and first.low, first and first.high, first and first.p, first and first.n,
            found.ratio, published(found, own), own.notes,
        ))  # fmt: skip
    return [tuple(float(f"{v:.10g}") if isinstance(v, float) else v for v in values) for values in made]


def published(found: Group, own: Line) -> float | None:
    """Table 4's figure for an ensemble of three, or for generation 0, of its own data set and network."""
    if found.synthetic or found.config["dataset"] != IMAGES or found.config["model"] != "resnet56":
        return None
    if own.stage == "first teacher":
        return TABLE4[0].percent
    return {row.mix: row.percent for row in TABLE4}.get(own.mix) if own.stage == "ensemble of 3" else None


# ------------------------------------------------------------------------------------------------ documents


def notes(found: Sequence[Group]) -> list[str]:
    made = [
        "Every student of a chain teaches the next one of its fold and seed; the first teacher is generation 0. Ensemble: "
        "the mean of the students' class probabilities, from their kept predictions.",
        f"Baseline: the chain without relational terms, {BASELINE}, at the same stage. Differences in percentage points, "
        "paired over fold × seed, with 95 % interval; two-sided t-test with the variance (1/n + n_test/n_train) × the "
        "sample variance, n_test/n_train = "
        + ", ".join(f"{ratio:.3g}" for ratio in sorted({one.ratio for one in found}))
        + " (Nadeau and Bengio 2003). p (Holm): adjusted for the number of mixes, ensembles only.",
        "Mean: of the folds' means over seeds, last epoch.",
    ]
    if any(one.ratio == 0 for one in found):
        made.append(
            "Images: one test set and one split; the spread over seeds is that of training, not of the images."
        )
    if any(one.synthetic for one in found):
        made.append(f"{STAMP}: made-up data; these figures say nothing about real sounds or images.")
    return made


def write(reports: Path, corpus: str, name: str, document: Document, found: Sequence[Group]) -> str:
    """``name``.md, .csv and .tex in ``reports/corpus``; the result is the text to print."""
    folder = reports / corpus
    rows = [row for one in found for row in csv_rows(one)]
    runs.write_atomic(folder / f"{name}.md", tables.markdown(document).encode())
    runs.write_atomic(folder / f"{name}.tex", tables.latex(document).encode())
    runs.write_atomic(folder / f"{name}.csv", tables.comma_separated(COLUMNS, rows).encode())
    return tables.text(document)


def report(root: Path, reports: Path, corpus: str, *, generations: int | None = None) -> str:
    """Write ``reports/<corpus>/ban.md``, ``.csv`` and ``.tex``: a section for each group of chains."""
    found = present(root, corpus, generations)
    stamp = f"{STAMP}: " if any(one.synthetic for one in found) else ""
    sections = tuple(Section(one.title, (grid(one),)) for one in found)
    records = [record for one in found for record in one.records]
    document = Document(
        f"{stamp}{corpus}: born-again generations", sections, (*notes(found), *provenance(records))
    )
    return write(reports, corpus, "ban", document, found)


def present(root: Path, corpus: str, generations: int | None) -> list[Group]:
    found = groups(root, corpus, generations)
    if not found:
        raise InputError(f"no finished generation in {root / corpus}; train first: make ban, or make table4")
    return found


def table4(root: Path, reports: Path, corpus: str, *, generations: int | None = None) -> str:
    """Write ``reports/<corpus>/table4.md``, ``.csv`` and ``.tex``: Table 4 of the paper, and each generation below."""
    found = present(root, corpus, generations)
    stamp = f"{STAMP}: " if any(one.synthetic for one in found) else ""
    sections = tuple(
        Section(f"{one.title} ({one.config['preset'].removeprefix('cifar-')})", (table4_grid(one), grid(one)))
        for one in found
    )
    records = [record for one in found for record in one.records]
    own = ["Published: Cho et al. 2023, Table 4, CIFAR-100: learning rate 0.001 × 0.1 at epochs 60, 120, 160 of 200, "
           "batch 256, ensembles of three generations. Preset cifar-paper has these settings, cifar-strong a rate of 0.1, "
           "crop and flip; the teachers' outputs are those for the image as it is."]  # fmt: skip
    document = Document(f"{stamp}{corpus}: Table 4", sections, (*own, *notes(found), *provenance(records)))
    return write(reports, corpus, "table4", document, found)


def table4_grid(found: Group) -> Grid:
    header = ("Row", "Mean\n%", "SD over\nseeds", "n", "Published\n%", "Difference\nto published", "Difference to\nbaseline",
              "p", "p\n(Holm)")  # fmt: skip
    rows = []
    own = lines(found)
    for row in TABLE4:
        stage = f"ensemble of {found.size}" if row.mix else "first teacher"
        line = next((one for one in own if one.stage == stage and (not row.mix or one.mix == row.mix)), None)
        mean = line.spread.mean if line else None
        paper = None if found.synthetic else row.percent
        base = line.to_baseline if line else None
        rows.append((
            row.name, number(mean), number(line.spread.sd_seeds if line else None), str(line.spread.n if line else 0),
            number(row.percent), number(None if mean is None or paper is None else mean - paper, "+.2f"),
            difference(base), p_value(base.p if base else None), p_value(line.p_holm if line else None),
        ))  # fmt: skip
    return Grid(f"Table 4. {found.settings}; ensembles of {found.size}.", header, tuple(rows))
