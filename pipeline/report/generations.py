"""The tables of born-again chains in words: what ``pipeline.report.chains`` found, printed and as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import InputError
from pipeline.figures.statistics import Comparison
from pipeline.report.aggregation import STAMP
from pipeline.report.chains import (
    BASELINE,
    ENSEMBLE_NAME,
    FIRST_NAME,
    Group,
    Line,
    ensemble_notes,
    groups,
    published,
)
from pipeline.report.paper import CHAINED_NETWORK, TABLE4
from pipeline.report.table import (
    NONE,
    Column,
    Document,
    Section,
    Table,
    interval,
    number,
    of,
    p_value,
    signed,
)
from pipeline.report.wording import SEVERAL_LABELS, ends, provenance, runs_counted, tested, trusted_teachers

__all__ = ["groups", "report", "table4"]


class Stage(NamedTuple):
    """A row: one stage of a chain of a group."""

    group: Group
    line: Line


class PaperRow(NamedTuple):
    """A row of Table 4: the stage that stands for it, where there is one."""

    name: str
    line: Line | None
    published: float | None
    notes: str

    @property
    def difference_to_published(self) -> float | None:
        if self.line is None or self.line.spread is None or self.published is None:
            return None
        return self.line.spread.mean - self.published


def with_interval(test: Comparison | None) -> str:
    """ "+1.25 [−0.50, +3.00]": with the 95 % interval over folds to come, where there are folds enough."""
    if test is None:
        return NONE
    return signed(test.difference) + ("" if test.low is None else f" {interval(ends(test))}")


def difference_columns(name: str, to: str, p_holm: str, tests: Sequence[Comparison]) -> list[Column]:
    """Those of one difference for people; p only where some row has units enough for one.

    ``to``, ``p_holm``: where an item has the comparison and its adjusted p.
    """
    few, enough = any(one.no_claim for one in tests), any(not one.no_claim for one in tests)
    like = "images" if tests and tests[0].unit == "training" else "recordings"
    recordings = of(f"{to}.recordings")
    columns = [Column("", of(to), f"Difference to\n{name}", format=with_interval)]
    if few:
        columns += [
            Column("", lambda item: ends(recordings(item)), f"95 %, {like}\nlike these", format=interval),
            Column("", of(f"{to}.no_claim"), "Claim", format=lambda claim: claim or ""),
        ]
    if enough:
        columns += [
            Column("", of(f"{to}.p"), "p", format=p_value),
            Column("", of(p_holm), "p\n(Holm)", format=p_value),
        ]
    return columns


#: Of a comparison in the CSV: its key behind ``baseline_`` or ``first_``, and where it stands.
JUDGED = {
    "ci95_low": "low",
    "ci95_high": "high",
    "recordings_ci95_low": "recordings.low",
    "recordings_ci95_high": "recordings.high",
    "p": "p",
    "p_holm": "",
    "units": "units",
    "pairs": "n",
    "sd_difference_units": "sd_units",
    "sd_difference_pairs": "sd_pairs",
    "no_claim": "no_claim",
}


def judged_columns(key: str, prefix: str, to: str, p_holm: str) -> list[Column]:
    """Those of one difference for machines."""

    def adjusted(stage: Stage) -> object:
        return of(p_holm)(stage) if of(to)(stage) else None

    values: dict[str, Callable[[Any], object]] = {
        name: of(f"{to}.{path}") if path else adjusted for name, path in JUDGED.items()
    }
    return [Column(key, of(f"{to}.difference"))] + [Column(f"{prefix}_{name}", value) for name, value in values.items()]


MEAN = Column("mean_percent", of("line.spread.mean"), "Mean", "%", number)
SD_FOLDS = Column("sd_folds", of("line.spread.sd_folds"), "SD over\nfolds", format=number)
SD_SEEDS = Column("sd_seeds", of("line.spread.sd_seeds"), "SD over\nseeds", format=number)
RUNS = Column("n", lambda item: of("line.spread.n")(item) or 0, "n")
BASELINE_AT, FIRST_AT = ("line.to_baseline", "line.p_holm"), ("line.to_first", "line.first_p_holm")

#: Every column of ``ban.csv`` and ``table4.csv``, in its order.
CSV = (
    Column("corpus", of("group.first.corpus")),
    Column("synthetic", lambda stage: STAMP if stage.group.synthetic else ""),
    Column("group", of("group.folder.name")),
    Column("preset", of("group.first.preset")),
    Column("model", of("group.first.model")),
    Column("mix", of("line.mix")),
    Column("stage", of("line.stage")),
    *(MEAN, SD_FOLDS, SD_SEEDS, RUNS),
    *judged_columns("difference_to_baseline", "baseline", *BASELINE_AT),
    *judged_columns("difference_to_first_teacher", "first", *FIRST_AT),
    Column("difference_with_stopped_at_chance", of("line.with_stopped")),
    Column("unit", of("group.unit")),
    Column("test_train_ratio", of("group.ratio")),
    Column("published_percent", lambda stage: published(stage.group, stage.line.mix, stage.line.stage)),
    Column("notes", of("line.notes")),
)


def stages(chains_of_corpus: Sequence[Group]) -> list[Stage]:
    return [Stage(group, line) for group in chains_of_corpus for line in group.lines]


def tests_of(lines: Sequence[Line]) -> list[Comparison]:
    return [test for line in lines for test in (line.to_baseline, line.to_first) if test]


def chains_table(group: Group) -> Table:
    tests = tests_of(group.lines)
    columns = [
        Column("", of("line.mix"), "Mix"),
        Column("", of("line.stage"), "Stage"),
        *(MEAN, SD_FOLDS, SD_SEEDS),
        Column("", of("line.spread"), "n (folds ×\nseeds)", format=runs_counted),
        *difference_columns("baseline", *BASELINE_AT, tests),
        *difference_columns("first teacher", *FIRST_AT, tests),
        Column("", of("line.notes"), "Notes", prose=True),
    ]
    return Table.build(group.settings, columns, stages([group]))


def paper_row(group: Group, name: str, mix: str) -> PaperRow:
    stage = ENSEMBLE_NAME.format(group.size) if mix else FIRST_NAME
    line = next((one for one in group.lines if one.stage == stage and (not mix or one.mix == mix)), None)
    chain = group.chains.get(mix)
    model = group.first.model
    notes = line.notes if line else ensemble_notes(group, chain) if chain else ""
    return PaperRow(name if mix or model == CHAINED_NETWORK else model, line, published(group, mix, stage), notes)


def paper_table(group: Group) -> Table:
    """The rows of Table 4."""
    tests = [line.to_baseline for line in group.lines if line.to_baseline and line.is_ensemble]
    columns = [
        Column("", of("name"), "Row"),
        *(MEAN, SD_SEEDS, RUNS),
        Column("", of("published"), "Published", "%", number),
        Column("", of("difference_to_published"), "Difference\nto published", format=signed),
        *difference_columns("baseline", *BASELINE_AT, tests),
        Column("", of("notes"), "Notes", prose=True),
    ]
    caption = f"Table 4. {group.settings}; ensembles of {group.size}."
    return Table.build(caption, columns, [paper_row(group, row.name, row.mix) for row in TABLE4])


def notes(chains_of_corpus: Sequence[Group]) -> list[str]:
    several = any(one.first.several_labels for one in chains_of_corpus)
    baseline = "" if several else f"Baseline: the chain without relational terms, {BASELINE}, at the same stage. "
    lines = [
        "Every student of a chain teaches the next one of its fold and seed; the first teacher is generation 0. Ensemble: "
        "the mean of the students' class probabilities, from their kept predictions.",
        f"{baseline}Differences in percentage points, with the 95 % interval. p (Holm): adjusted for the number of mixes, ensembles "
        "only; single generations have no adjusted p, and no claim rests on them.",
        "Mean: of the folds' means over seeds, last epoch. Runs that stopped, for something was not finite, have no figure, "
        "and their chain no ensemble; those no better than chance count, and are named in the notes.",
    ]
    if several:
        lines.append(f"{SEVERAL_LABELS} There is no chain without relational terms: soft needs one label a clip.")
    for unit in dict.fromkeys(one.unit for one in chains_of_corpus):
        lines += tested([test for one in chains_of_corpus if one.unit == unit for test in tests_of(one.lines)])
    if any(one.ratio == 0 for one in chains_of_corpus):
        lines.append(
            "Images: one test set, and one split for all seeds (--split-seed); the spread over seeds is that of training, "
            "not of the images. The images kept aside for validation train nothing and choose nothing here: they are free "
            "for choosing settings. A run's own best_accuracy is of the epoch that the test images chose: optimistic."
        )
    if any(one.synthetic for one in chains_of_corpus):
        lines.append(f"{STAMP}: made-up data; these figures say nothing about real sounds or images.")
    return lines


def report(root: Path, reports: Path, corpus: str, *, generations: int | None = None) -> str:
    """Write ``reports/<corpus>/ban.md``, ``.csv`` and ``.tex``: a section for each group of chains."""
    chains_of_corpus = present(root, corpus, generations)
    stamp = f"{STAMP}: " if any(one.synthetic for one in chains_of_corpus) else ""
    sections = tuple(Section(one.title, (chains_table(one),)) for one in chains_of_corpus)
    records = [record for one in chains_of_corpus for record in one.records]
    document = Document(
        f"{stamp}{corpus}: born-again generations",
        sections,
        (*notes(chains_of_corpus), *trusted_teachers(records), *provenance(records)),
    )
    return document.save(reports / corpus, "ban", Table.build("", CSV, stages(chains_of_corpus)))


def present(root: Path, corpus: str, generations: int | None) -> list[Group]:
    chains_of_corpus = groups(root, corpus, generations)
    if not chains_of_corpus:
        raise InputError(f"no finished generation in {root / corpus}; train first: make ban, or make table4")
    return chains_of_corpus


def table4(root: Path, reports: Path, corpus: str, *, generations: int | None = None) -> str:
    """Write ``reports/<corpus>/table4.md``, ``.csv`` and ``.tex``: Table 4 of the paper, and each generation below."""
    chains_of_corpus = present(root, corpus, generations)
    stamp = f"{STAMP}: " if any(one.synthetic for one in chains_of_corpus) else ""
    sections = tuple(
        Section(f"{one.title} ({one.first.preset.removeprefix('cifar-')})", (paper_table(one), chains_table(one)))
        for one in chains_of_corpus
    )
    records = [record for one in chains_of_corpus for record in one.records]
    of_table = [
        "Published: Cho et al. 2023, Table 4, CIFAR-100: learning rate 0.001 × 0.1 at epochs 60, 120, 160 of 200, "
        "batch 256, ResNet-56, ensembles of three generations; other runs have no published figure beside them. Preset "
        "cifar-paper has these settings, cifar-strong a rate of 0.1, crop and flip; the teachers' outputs are those for "
        "the image as it is."
    ]
    lines = (*of_table, *notes(chains_of_corpus), *trusted_teachers(records), *provenance(records))
    document = Document(f"{stamp}{corpus}: Table 4", sections, lines)
    return document.save(reports / corpus, "table4", Table.build("", CSV, stages(chains_of_corpus)))
