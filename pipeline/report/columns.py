"""Rows → the cells of ``table.csv``."""

from __future__ import annotations

from pipeline.report.aggregation import STAMP, Row
from pipeline.report.wording import comparison_remarks, remarks

COLUMNS = (
    "corpus", "synthetic", "preset", "settings", "data", "role", "model", "mix", "baseline",
    "mean_percent", "sd_folds", "sd_seeds", "n", "folds", "seeds", "best_epoch_percent_optimistic", "parameters",
    "difference_to_baseline", "ci95_low", "ci95_high", "folds_compared", "pairs", "sd_difference_folds",
    "sd_difference_pairs", "p", "p_holm", "mixes_compared", "p_wilcoxon", "recordings_ci95_low", "recordings_ci95_high",
    "no_claim", "difference_with_stopped_at_chance", "test_train_ratio", "published_percent", "difference_to_published",
    "partial", "finished_runs", "at_chance", "stopped", "mean_percent_with_stopped_at_chance", "skipped_clips", "macro_f1_percent", "ece_percent",
    "agreement_percent", "notes",
)  # fmt: skip


def csv_row(row: Row) -> tuple[object, ...]:
    """The cells of ``COLUMNS``; numbers unrounded but for the last digits of binary fractions."""
    spread, own = row.spread, row.comparison
    beside = own.recordings if own else None
    values = (
        row.corpus, STAMP if row.synthetic else "", row.key.preset, row.key.digest, row.key.data, row.role, row.model,
        row.mix, "baseline" if row.baseline else "",
        spread and spread.mean, spread and spread.sd_folds, spread and spread.sd_seeds, spread.n if spread else 0,
        " ".join(map(str, spread.folds)) if spread else "", " ".join(map(str, spread.seeds)) if spread else "",
        row.best, row.parameters,
        own and own.difference, own and own.low, own and own.high, own and own.units, own and own.n, own and own.sd_units,
        own and own.sd_pairs, own and own.p, row.p_holm, own and row.compared_mixes, own and own.p_wilcoxon,
        beside and beside.low, beside and beside.high, own and own.no_claim, row.with_stopped, own and own.ratio,
        row.published, row.difference_to_published, row.partial, row.runs, len(row.at_chance), len(row.failures),
        row.all_runs, row.skipped, row.macro_f1, row.ece, row.agreement,
        "; ".join([*remarks(row), *comparison_remarks(row)]),
    )  # fmt: skip
    return tuple(float(f"{value:.10g}") if isinstance(value, float) else value for value in values)
