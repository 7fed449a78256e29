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
    ensemble_notes,
    groups,
    lines,
    published,
)
from pipeline.report.tables import (
    NONE,
    Document,
    Grid,
    Section,
)
from pipeline.report.wording import (
    number,
    p_value,
    provenance,
    runs_counted,
)

__all__ = ["COLUMNS", "TABLE4", "groups", "report", "table4"]


def difference(own: Comparison | None) -> str:
    """ "+1.25 [−0.50, +3.00]": with the 95 % interval where there are pairs enough."""
    if own is None:
        return NONE
    ends = "" if own.low is None else f" [{number(own.low, '+.2f')}, {number(own.high, '+.2f')}]"
    return number(own.difference, "+.2f") + ends


def spread_cells(own: Spread | None) -> tuple[str, str, str]:
    """Mean, and spread over folds and over seeds."""
    return (
        (NONE, NONE, NONE) if own is None else (number(own.mean), number(own.sd_folds), number(own.sd_seeds))
    )


def grid(found: Group) -> Grid:
    header = ("Mix", "Stage", "Mean\n%", "SD over\nfolds", "SD over\nseeds", "n (folds ×\nseeds)",
              "Difference to\nbaseline", "p", "p\n(Holm)", "Difference to\nfirst teacher", "p", "Notes")  # fmt: skip
    rows = tuple(
        (
            own.mix, own.stage, *spread_cells(own.spread), runs_counted(own.spread),
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
        base, first, spread = own.to_baseline, own.to_first, own.spread
        made.append((
            about["corpus"], STAMP if found.synthetic else "", found.folder.name, about["preset"], about["model"],
            own.mix, own.stage, spread and spread.mean, spread and spread.sd_folds, spread and spread.sd_seeds,
            spread.n if spread else 0,
            base and base.difference, base and base.low, base and base.high, base and base.p, own.p_holm, base and base.n,
            first and first.difference, first and first.low, first and first.high, first and first.p, first and first.n,
            found.ratio, published(found, own.mix, own.stage), own.notes,
        ))  # fmt: skip
    return [tuple(float(f"{v:.10g}") if isinstance(v, float) else v for v in values) for values in made]


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
        "Mean: of the folds' means over seeds, last epoch. Runs that stopped have no figure; those no better than chance "
        "keep theirs, and are named in the notes.",
    ]
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
        Section(f"{one.title} ({one.config['preset'].removeprefix('cifar-')})", (table4_grid(one), grid(one)))
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
    header = ("Row", "Mean\n%", "SD over\nseeds", "n", "Published\n%", "Difference\nto published", "Difference to\nbaseline",
              "p", "p\n(Holm)", "Notes")  # fmt: skip
    rows = []
    own = lines(found)
    for row in TABLE4:
        stage = f"ensemble of {found.size}" if row.mix else "first teacher"
        line = next((one for one in own if one.stage == stage and (not row.mix or one.mix == row.mix)), None)
        spread, base = (line.spread, line.to_baseline) if line else (None, None)
        paper = published(found, row.mix, stage)
        model = found.config["model"]
        chain = found.chains.get(row.mix)
        mean, _, sd_seeds = spread_cells(spread)
        rows.append((
            row.name if row.mix or model == "resnet56" else model,
            mean, sd_seeds, str(spread.n if spread else 0),
            number(paper), number(None if spread is None or paper is None else spread.mean - paper, "+.2f"),
            difference(base), p_value(base.p if base else None), p_value(line.p_holm if line else None),
            line.notes if line else ensemble_notes(found, chain) if chain else "",
        ))  # fmt: skip
    return Grid(f"Table 4. {found.settings}; ensembles of {found.size}.", header, tuple(rows), wide=True)
