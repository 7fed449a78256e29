"""The columns of the teacher's and students' table, and the two printed tables and the CSV that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.losses import LossMix
from pipeline.plurals import many
from pipeline.report.aggregation import BASELINE, OF_SEVERAL, STAMP, Row
from pipeline.report.table import Column, Table, counted, interval, joined, number, of, p_value, signed
from pipeline.report.wording import comparison_remarks, ends, remarks, runs_counted

NAME = Column("", of("name"), "Model / mix")

SETTINGS = Column("settings", of("key.digest"), "Settings")

#: Which runs a row is of.
IDENTITY = (
    Column("corpus", of("corpus")),
    Column("synthetic", lambda row: STAMP if row.synthetic else ""),
    Column("preset", of("key.preset")),
    SETTINGS,
    Column("data", of("key.data")),
    Column("role", of("role")),
    Column("model", of("model")),
    Column("mix", of("mix")),
    Column("baseline", lambda row: "baseline" if row.baseline else ""),
)

MEAN = Column("mean_percent", of("spread.mean"), "Mean", "%", number)
SD_FOLDS = Column("sd_folds", of("spread.sd_folds"), "SD over\nfolds", format=number)
SD_SEEDS = Column("sd_seeds", of("spread.sd_seeds"), "SD over\nseeds", format=number)
RUNS = Column("", of("spread"), "n (folds ×\nseeds)", format=runs_counted)
BEST = Column("best_epoch_percent_optimistic", of("best"), "Best epoch %\n(optimistic)", format=number)
WINDOWS = Column("windows_percent", of("windows"), "Per\nwindow", "%", number)
BALANCED = Column("balanced_percent", of("balanced"), "Balanced", "%", number)
PARAMETERS = Column("parameters", of("parameters"), "Parameters", format=counted)
PUBLISHED = Column("published_percent", of("published"), "Published", "%", number)
TO_PUBLISHED = Column(
    "difference_to_published", of("difference_to_published"), "Difference\nto published", format=signed
)

DIFFERENCE = Column("difference_to_baseline", of("comparison.difference"), "Difference\nto baseline", format=signed)
INTERVAL = Column("", lambda row: ends(row.comparison), "95 % interval\n(folds to come)", format=interval)
RECORDINGS = Column(
    "",
    lambda row: ends(of("comparison.recordings")(row)),
    "95 % interval\n(recordings\nlike these)",
    format=interval,
)
FOLDS = Column("folds_compared", of("comparison.units"), "folds", format=lambda units: str(units or 0))
PAIRS = Column("pairs", of("comparison.n"), "pairs", format=lambda pairs: str(pairs or 0))
SD_UNITS = Column("sd_difference_folds", of("comparison.sd_units"), "SD over\nfolds", format=number)
SD_PAIRS = Column("sd_difference_pairs", of("comparison.sd_pairs"), "SD over\npairs", format=number)
P = Column("p", of("comparison.p"), "p", format=p_value)
P_HOLM = Column("p_holm", lambda row: row.p_holm, "p\n(Holm)", format=p_value)
P_WILCOXON = Column("p_wilcoxon", of("comparison.p_wilcoxon"), "p\n(Wilcoxon)", format=p_value)

CALIBRATED = Column("", lambda row: f"{row.calibration.runs} of {row.runs}", "Runs")
TEMPERATURE = Column("temperature", of("calibration.temperature"), "T", format=number)
ECE_BEFORE = Column("", of("calibration.ece_before"), "Error %\nbefore", format=number)
ECE_AFTER = Column("ece_calibrated_percent", of("calibration.ece_after"), "Error %\nafter", format=number)
NLL_BEFORE = Column("", of("calibration.nll_before"), "NLL\nbefore", format=number)
NLL_AFTER = Column("", of("calibration.nll_after"), "NLL\nafter", format=number)

#: Every column of ``table.csv``, in its order.
CSV = (
    *IDENTITY,
    *(MEAN, SD_FOLDS, SD_SEEDS),
    Column("n", lambda row: row.spread.n if row.spread else 0),
    Column("folds", lambda row: " ".join(map(str, row.spread.folds)) if row.spread else ""),
    Column("seeds", lambda row: " ".join(map(str, row.spread.seeds)) if row.spread else ""),
    *(BEST, PARAMETERS, DIFFERENCE),
    Column("ci95_low", of("comparison.low")),
    Column("ci95_high", of("comparison.high")),
    *(FOLDS, PAIRS, SD_UNITS, SD_PAIRS, P, P_HOLM),
    Column("mixes_compared", lambda row: row.compared_mixes if row.comparison else None),
    P_WILCOXON,
    Column("recordings_ci95_low", of("comparison.recordings.low")),
    Column("recordings_ci95_high", of("comparison.recordings.high")),
    Column("no_claim", of("comparison.no_claim")),
    Column("difference_with_stopped_at_chance", of("with_stopped")),
    Column("test_train_ratio", of("comparison.ratio")),
    *(PUBLISHED, TO_PUBLISHED),
    Column("partial", of("partial")),
    Column("finished_runs", of("runs")),
    Column("at_chance", lambda row: len(row.at_chance)),
    Column("stopped", lambda row: len(row.failures)),
    Column("mean_percent_with_stopped_at_chance", of("all_runs")),
    Column("skipped_clips", of("skipped")),
    Column("macro_f1_percent", of("macro_f1")),
    BALANCED,
    Column("ece_percent", of("ece")),
    Column("agreement_percent", of("agreement")),
    WINDOWS,
    Column("calibrated_runs", lambda row: row.calibration.runs if row.calibration else 0),
    *(TEMPERATURE, ECE_AFTER),
    Column("notes", lambda row: joined([*remarks(row), *comparison_remarks(row)])),
)


def data_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns of ``table.csv``: where clips have several labels also what the figures are of."""
    return (*CSV, Column("measure", of("measure"))) if any(row.several for row in rows) else CSV


def accuracy_table(rows: Sequence[Row]) -> Table:
    """All rows; with the balanced accuracy where it was kept, and the settings where they are of several."""
    notes = Column("", lambda row: joined(remarks(row)), "Notes", prose=True)
    balanced = [BALANCED] if any(row.balanced is not None for row in rows) else []  # earlier versions did not keep it
    windows = [WINDOWS] if any(row.windows is not None for row in rows) else []
    columns = (
        NAME,
        MEAN,
        SD_FOLDS,
        SD_SEEDS,
        RUNS,
        *windows,
        *balanced,
        BEST,
        PARAMETERS,
        PUBLISHED,
        TO_PUBLISHED,
        notes,
    )
    if len({row.key.digest for row in rows}) > 1:
        columns = (NAME, SETTINGS, *columns[1:])
    figure = rows[0].measure
    return Table.build(
        f"{figure[0].upper()}{figure[1:]} on the held-out fold's clean clips, last epoch.", columns, rows
    )


def calibration_table(rows: Sequence[Row]) -> Table:
    """Of the rows with calibrated runs."""
    title = "Calibration on the held-out fold, before and after temperatures that were fitted without it; classes do not change."
    columns = (NAME, *settings_column(rows), CALIBRATED, TEMPERATURE, ECE_BEFORE, ECE_AFTER, NLL_BEFORE, NLL_AFTER)
    return Table.build(title, columns, [row for row in rows if row.calibration])


def settings_column(rows: Sequence[Row]) -> list[Column]:
    """The settings, where rows of one name have several: an experiment's, of calls with other settings."""
    return [SETTINGS] if len({row.name for row in rows}) < len(rows) else []


def comparison_table(rows: Sequence[Row], other: str = "") -> Table:
    """Differences to the baseline, or to what ``other`` names; the columns of p only where some row has folds enough for one."""
    compared = [row for row in rows if row.comparison or row.with_stopped is not None]
    tests = [row.comparison for row in compared if row.comparison]
    few, enough = any(one.no_claim for one in tests), any(not one.no_claim for one in tests)
    difference = replace(DIFFERENCE, name=f"Difference\nto {other}") if other else DIFFERENCE
    columns = [
        NAME,
        *settings_column(rows),
        difference,
        INTERVAL,
        *([RECORDINGS] if few else []),
        FOLDS,
        PAIRS,
        SD_UNITS,
        SD_PAIRS,
    ]
    columns += [P, P_HOLM, P_WILCOXON] if enough else []
    columns.append(Column("", lambda row: joined(comparison_remarks(row)), "Notes", prose=True))
    several = any(row.several for row in rows)
    baseline = other or f"the baseline {LossMix.parse(OF_SEVERAL if several else BASELINE)}"
    shown, tried = len(tests), max((row.compared_mixes for row in rows), default=0)
    count = f"{many(tried, 'mix')} compared to it in all" + (f", {shown} shown" if shown < tried else "")
    return Table.build(f"Paired difference to {baseline}, percentage points; {count}.", columns, compared)
