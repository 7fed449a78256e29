"""The tables of born-again chains in words: what ``pipeline.report.chains`` found, printed and as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import runs
from pipeline.config import InputError
from pipeline.figures.statistics import Comparison, Spread
from pipeline.report import tables
from pipeline.report.aggregation import STAMP
from pipeline.report.chains import (
    BASELINE,
    TABLE4,
    Group,
    Line,
    ensemble_notes,
    groups,
    published,
)
from pipeline.report.tables import (
    NONE,
    Document,
    Grid,
    Section,
)
from pipeline.report.wording import (
    interval,
    number,
    p_value,
    provenance,
    runs_counted,
    tested,
)

__all__ = ["COLUMNS", "TABLE4", "groups", "report", "table4"]


def difference(own: Comparison | None) -> str:
    """ "+1.25 [−0.50, +3.00]": with the 95 % interval over folds to come, where there are folds enough."""
    if own is None:
        return NONE
    ends = "" if own.low is None else f" {interval(own.low, own.high)}"
    return number(own.difference, "+.2f") + ends


def over_recordings(own: Comparison | None) -> str:
    return interval(own.recordings.low, own.recordings.high) if own and own.recordings else NONE


def tests_of(found: Sequence[Line]) -> list[Comparison]:
    return [test for own in found for test in (own.to_baseline, own.to_first) if test]


def difference_header(name: str, tests: Sequence[Comparison]) -> tuple[str, ...]:
    """The columns of one difference; p only where some row has units enough for one."""
    few, enough = any(own.no_claim for own in tests), any(not own.no_claim for own in tests)
    like = "images" if tests and tests[0].unit == "training" else "recordings"
    return (
        f"Difference to\n{name}",
        *((f"95 %, {like}\nlike these", "Claim") if few else ()),
        *(("p", "p\n(Holm)") if enough else ()),
    )


def difference_cells(
    own: Comparison | None, p_holm: float | None, tests: Sequence[Comparison]
) -> tuple[str, ...]:
    few, enough = any(one.no_claim for one in tests), any(not one.no_claim for one in tests)
    return (
        difference(own),
        *((over_recordings(own), own.no_claim if own else "") if few else ()),
        *((p_value(own.p if own else None), p_value(p_holm)) if enough else ()),
    )


def spread_cells(own: Spread | None) -> tuple[str, str, str]:
    """Mean, and spread over folds and over seeds."""
    return (
        (NONE, NONE, NONE) if own is None else (number(own.mean), number(own.sd_folds), number(own.sd_seeds))
    )


def grid(found: Group) -> Grid:
    own_lines = found.lines
    tests = tests_of(own_lines)
    header = ("Mix", "Stage", "Mean\n%", "SD over\nfolds", "SD over\nseeds", "n (folds ×\nseeds)",
              *difference_header("baseline", tests), *difference_header("first teacher", tests), "Notes")  # fmt: skip
    rows = tuple(
        (
            own.mix, own.stage, *spread_cells(own.spread), runs_counted(own.spread),
            *difference_cells(own.to_baseline, own.p_holm, tests),
            *difference_cells(own.to_first, own.first_p_holm, tests), own.notes,
        )
        for own in own_lines
    )  # fmt: skip
    return Grid(found.settings, header, rows, wide=True)


#: Of a comparison in the CSV, each behind ``baseline_`` or ``first_``.
JUDGED = ("ci95_low", "ci95_high", "recordings_ci95_low", "recordings_ci95_high", "p", "p_holm", "units", "pairs",
          "sd_difference_units", "sd_difference_pairs", "no_claim")  # fmt: skip
COLUMNS = ("corpus", "synthetic", "group", "preset", "model", "mix", "stage", "mean_percent", "sd_folds", "sd_seeds",
           "n", "difference_to_baseline", *(f"baseline_{name}" for name in JUDGED), "difference_to_first_teacher",
           *(f"first_{name}" for name in JUDGED), "difference_with_stopped_at_chance", "unit", "test_train_ratio",
           "published_percent", "notes")  # fmt: skip


def csv_rows(found: Group) -> list[tuple[object, ...]]:
    """The cells of ``COLUMNS``, one row a stage; numbers unrounded but for the last digits of binary fractions."""
    first, made = found.records[0], []
    for own in found.lines:
        spread = own.spread
        made.append((
            first.corpus, STAMP if found.synthetic else "", found.folder.name, first.preset, first.model,
            own.mix, own.stage, spread and spread.mean, spread and spread.sd_folds, spread and spread.sd_seeds,
            spread.n if spread else 0, *csv_cells(own.to_baseline, own.p_holm), *csv_cells(own.to_first, own.first_p_holm),
            own.with_stopped, found.unit, found.ratio, published(found, own.mix, own.stage), own.notes,
        ))  # fmt: skip
    return [tuple(float(f"{v:.10g}") if isinstance(v, float) else v for v in values) for values in made]


def csv_cells(own: Comparison | None, p_holm: float | None) -> tuple[object, ...]:
    """The difference and ``JUDGED``."""
    if own is None:
        return (None,) * (1 + len(JUDGED))
    beside = own.recordings
    return (own.difference, own.low, own.high, beside and beside.low, beside and beside.high, own.p, p_holm, own.units, own.n,
            own.sd_units, own.sd_pairs, own.no_claim)  # fmt: skip


def notes(found: Sequence[Group]) -> list[str]:
    made = [
        "Every student of a chain teaches the next one of its fold and seed; the first teacher is generation 0. Ensemble: "
        "the mean of the students' class probabilities, from their kept predictions.",
        f"Baseline: the chain without relational terms, {BASELINE}, at the same stage. Differences in percentage points, "
        "with the 95 % interval. p (Holm): adjusted for the number of mixes, ensembles only; single generations have no "
        "adjusted p, and no claim rests on them.",
        "Mean: of the folds' means over seeds, last epoch. Runs that stopped, for something was not finite, have no figure, "
        "and their chain no ensemble; those no better than chance count, and are named in the notes.",
    ]
    for unit in dict.fromkeys(one.unit for one in found):
        made += tested([test for one in found if one.unit == unit for test in tests_of(one.lines)])
    if any(one.ratio == 0 for one in found):
        made.append(
            "Images: one test set, and one split for all seeds (--split-seed); the spread over seeds is that of training, "
            "not of the images. The images kept aside for validation train nothing and choose nothing here: they are free "
            "for choosing settings. A run's own best_accuracy is of the epoch that the test images chose: optimistic."
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
        Section(
            f"{one.title} ({one.records[0].preset.removeprefix('cifar-')})", (table4_grid(one), grid(one))
        )
        for one in found
    )
    records = [record for one in found for record in one.records]
    own = ["Published: Cho et al. 2023, Table 4, CIFAR-100: learning rate 0.001 × 0.1 at epochs 60, 120, 160 of 200, "
           "batch 256, ResNet-56, ensembles of three generations; other runs have no published figure beside them. Preset "
           "cifar-paper has these settings, cifar-strong a rate of 0.1, crop and flip; the teachers' outputs are those for "
           "the image as it is."]  # fmt: skip
    document = Document(f"{stamp}{corpus}: Table 4", sections, (*own, *notes(found), *provenance(records)))
    return write(reports, corpus, "table4", document, found)


def table4_grid(found: Group) -> Grid:
    own = found.lines
    tests = [one.to_baseline for one in own if one.to_baseline and one.stage.startswith("ensemble")]
    header = ("Row", "Mean\n%", "SD over\nseeds", "n", "Published\n%", "Difference\nto published",
              *difference_header("baseline", tests), "Notes")  # fmt: skip
    rows = []
    for row in TABLE4:
        stage = f"ensemble of {found.size}" if row.mix else "first teacher"
        line = next((one for one in own if one.stage == stage and (not row.mix or one.mix == row.mix)), None)
        spread, base = (line.spread, line.to_baseline) if line else (None, None)
        paper = published(found, row.mix, stage)
        model = found.records[0].model
        chain = found.chains.get(row.mix)
        mean, _, sd_seeds = spread_cells(spread)
        rows.append((
            row.name if row.mix or model == "resnet56" else model,
            mean, sd_seeds, str(spread.n if spread else 0),
            number(paper), number(None if spread is None or paper is None else spread.mean - paper, "+.2f"),
            *difference_cells(base, line.p_holm if line else None, tests),
            line.notes if line else ensemble_notes(found, chain) if chain else "",
        ))  # fmt: skip
    return Grid(f"Table 4. {found.settings}; ensembles of {found.size}.", header, tuple(rows), wide=True)
