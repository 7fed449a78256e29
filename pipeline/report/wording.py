"""Rows → the text of tables, footnotes and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import losses, runs
from pipeline.figures.statistics import Spread
from pipeline.report.aggregation import BASELINE, STAMP, Row
from pipeline.report.tables import (
    NONE,
    Document,
    Grid,
    Section,
)
from pipeline.runs import Record


def number(value: float | None, form: str = ".2f") -> str:
    return NONE if value is None else format(value, form).replace("-", "−")


def p_value(value: float | None) -> str:
    return NONE if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def runs_counted(spread: Spread | None) -> str:
    """ "9 (3 × 3)": runs, folds times seeds; "8 (3 folds, uneven)" where seeds differ between folds."""
    if spread is None:
        return "0"
    n, folds, seeds = spread.n, len(spread.folds), len(spread.seeds)
    return f"{n} ({folds} × {seeds})" if n == folds * seeds else f"{n} ({folds} folds, uneven)"


def listed(names: Sequence[str], between: str = ", ", most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def remarks(row: Row) -> list[str]:
    """What keeps a row from being the whole truth: missing folds, runs that did not train, skipped clips."""
    found = [row.partial] if row.partial else []
    if row.did_not_train:
        names = listed([f"fold{fold}-seed{seed}" for fold, seed in row.did_not_train])
        found.append(
            f"{len(row.did_not_train)} of {row.runs} runs did not train ({names}); "
            f"mean with them {number(row.all_runs)}"
        )
    if row.outputs_untrained:
        found.append(
            f"no term on the outputs, which name classes by chance ({number(row.all_runs)}, {row.outputs_untrained} of "
            f"{row.runs} runs); retrieval measures the embedding"
        )
    if row.failures:
        found.append(
            f"{len(row.failures)} of {row.runs} runs failed ({listed(row.failures, '; ')}); mean with them at chance "
            f"{number(row.all_runs)}"
        )
    if row.best_teacher:
        found.append("teacher's best epoch: optimistic, the held-out fold chose it")
    if row.skipped:
        found.append(f"{row.skipped} {'clip' if row.skipped == 1 else 'clips'} skipped")
    return found


def accuracy_grid(found: Sequence[Row]) -> Grid:
    header = ("Model / mix", "Mean\n%", "SD over\nfolds", "SD over\nseeds", "n (folds ×\nseeds)",
              "Best epoch %\n(optimistic)", "Parameters", "Published\n%", "Difference\nto published", "Notes")  # fmt: skip
    lines = tuple(
        (
            row.name,
            number(row.spread.mean if row.spread else None),
            number(row.spread.sd_folds if row.spread else None),
            number(row.spread.sd_seeds if row.spread else None),
            runs_counted(row.spread),
            number(row.best),
            f"{row.parameters:,}",
            number(row.published),
            number(row.difference_to_published, "+.2f"),
            "; ".join(remarks(row)),
        )
        for row in found
    )
    return Grid("Accuracy on the held-out fold's clean clips, last epoch.", header, lines, wide=True)


def comparison_grid(found: Sequence[Row]) -> Grid:
    header = ("Model / mix", "Difference\nto baseline", "95 %\ninterval", "pairs", "p", "p\n(Holm)",
              "p (folds'\nmeans)", "p\n(Wilcoxon)")  # fmt: skip
    lines = []
    for row in found:
        if (own := row.comparison) is not None:
            ends = NONE if own.low is None else f"[{number(own.low, '+.2f')}, {number(own.high, '+.2f')}]"
            probabilities = (own.p, row.p_holm, own.p_folds, own.p_wilcoxon)
            lines.append(
                (row.name, number(own.difference, "+.2f"), ends, str(own.n), *map(p_value, probabilities))
            )
    name = str(losses.LossMix.parse(BASELINE))
    return Grid(f"Paired difference to the baseline {name}, percentage points.", header, tuple(lines))


def section(found: Sequence[Row]) -> Section:
    key, synthetic = found[0].key, any(row.synthetic for row in found)
    models = ", ".join(
        f"{role} {model}" for role, model in dict.fromkeys((row.role, row.model) for row in found)
    )
    title = f"preset {key.preset}, settings {key.digest}, data {key.data}: {models}"
    grids = [accuracy_grid(found)]
    if any(row.comparison for row in found):
        grids.append(comparison_grid(found))
    return Section(f"{STAMP} {title}" if synthetic else title, tuple(grids))


def footnotes(found: Sequence[Row]) -> list[str]:
    """The plain words for what the columns are; only those that the tables at hand need."""
    notes = [
        "Mean: of the folds' means over seeds, of runs that trained. SD over folds: of the folds' means. SD over "
        "seeds: of the seeds' means over folds. n: runs, each one fold held out and one seed.",
        "The result is the last epoch. Best epoch is optimistic: the held-out fold itself chose the epoch.",
    ]
    ratios = sorted({row.comparison.ratio for row in found if row.comparison})
    if ratios:
        notes += [
            "Differences are paired over fold × seed. Interval and p: t-test with the variance (1/n + n_test/n_train) "
            "× the sample variance of the differences, n − 1 degrees of freedom, because training sets overlap "
            "(Nadeau and Bengio 2003; repeated folds as in Bouckaert and Frank 2004); n_test/n_train = "
            + ", ".join(f"{ratio:.3g}" for ratio in ratios)
            + ". Two-sided.",
            "Seeds of a fold share its one teacher: the figures hold for these teachers, and no spread or p has the chance "
            "of a teacher's own training in it.",
            "p (Holm): p adjusted for the number of mixes in the table. p (folds' means): the same test with one "
            "difference a fold; seeds of one fold share their clips, so to claim an effect take the larger of the two. "
            "p (Wilcoxon): signed ranks over fold × seed, not corrected for overlap.",
        ]
    elif any(row.role == "student" and not row.baseline for row in found):
        notes.append(f"No comparison: no fold and seed has a trained run of the baseline, {BASELINE}.")
    if any(row.partial for row in found):
        notes.append(
            "Partial: not every fold of the published corpus has a trained run, so the mean is over other clips "
            "than the published figure's."
        )
    if any(row.did_not_train for row in found):
        notes.append(
            "Did not train: the last epoch's accuracy is not above chance (the commonest class' share, at least "
            "1/classes) by a one-sided binomial test. Such runs are listed, and are in neither mean nor tests."
        )
    if any(row.published is not None for row in found):
        notes.append("Published: Cho et al. 2023, Table 3, UrbanSound8K, ten folds.")
    if any(row.synthetic for row in found):
        notes.append(
            f"{STAMP}: made-up sounds of the built-in corpus; these figures say nothing about real sounds."
        )
    return notes


def provenance(records: Sequence[Record]) -> list[str]:
    """Which versions made the runs, and when."""
    versions = set()
    for record in records:
        found = runs.read_environment(record.folder)
        packages = {"python": found["python"], **found["packages"]}
        names = ("python", "torch", "numpy", "librosa")
        commit = (
            [f"commit {found['commit'][:10]}{' (changed)' if found.get('changed') else ''}"]
            if found.get("commit")
            else []
        )
        versions.add(", ".join([f"{name} {packages[name]}" for name in names if name in packages] + commit))
    times = sorted(str(record.result["finished"]) for record in records if record.result.get("finished"))
    made = f"; finished {times[0]} to {times[-1]}" if times else ""
    return [
        f"Made by {len(records)} finished runs{made}.",
        *(f"Versions: {text}." for text in sorted(versions)),
        *taught_by_others(records),
    ]


def taught_by_others(records: Sequence[Record]) -> list[str]:
    """A line where a run's teacher was trained again since, and came out with other weights."""
    names = ["/".join(r.folder.parts[-2:]) for r in records if runs.retrained_teachers(r.config)]
    if not names:
        return []
    return [f"Their teachers were trained again since, with other weights: {len(names)} of {len(records)} runs "
            f"({listed(names)}); remove these and train again."]  # fmt: skip


def document(
    found: Sequence[Row],
    records: Sequence[Record],
    unfinished: Sequence[Path],
    missing: Sequence[str] = (),
    born: int = 0,
) -> Document:
    """The rows as sections, one a table, with footnotes; ``missing``: mixes asked for that have no run; ``born``: how
    many born-again runs there are, which have a table of their own."""
    keys = list(dict.fromkeys(row.key for row in found))
    sections = tuple(section([row for row in found if row.key == key]) for key in keys)
    notes = [*footnotes(found)]
    if len(keys) > 1:
        notes.append(
            "The tables differ in settings or in data: figures of one do not compare with another's."
        )
    if unfinished:
        names = listed(["/".join(folder.parts[-2:]) for folder in unfinished])
        count = f"{len(unfinished)} {'run' if len(unfinished) == 1 else 'runs'}"
        notes.append(f"Unfinished, not in the table: {count} ({names}).")
    if born:
        notes.append(
            f"Not in these tables: {born} born-again {'run' if born == 1 else 'runs'}. Their own table is ban.md beside "
            "this one (Table 4: table4.md), made by make ban (make table4) with the options of their training; what is "
            "finished is not trained again."
        )
    if missing:
        notes.append(f"Asked for, without a finished run: {'; '.join(missing)}.")
    stamp = f"{STAMP}: " if any(row.synthetic for row in found) else ""
    return Document(
        f"{stamp}{found[0].corpus}: teacher and students", sections, (*notes, *provenance(records))
    )


# --------------------------------------------------------------------------------------------------- CSV

COLUMNS = (
    "corpus", "synthetic", "preset", "settings", "data", "role", "model", "mix", "baseline",
    "mean_percent", "sd_folds", "sd_seeds", "n", "folds", "seeds", "best_epoch_percent_optimistic", "parameters",
    "difference_to_baseline", "ci95_low", "ci95_high", "pairs", "p", "p_holm", "p_folds_means", "p_wilcoxon",
    "test_train_ratio", "published_percent", "difference_to_published", "partial", "finished_runs", "did_not_train",
    "failed", "mean_percent_with_untrained", "skipped_clips", "macro_f1_percent", "ece_percent",
    "agreement_percent", "notes",
)  # fmt: skip


def csv_row(row: Row) -> tuple[object, ...]:
    """The cells of ``COLUMNS``; numbers unrounded but for the last digits of binary fractions."""
    spread, own = row.spread, row.comparison
    values = (
        row.corpus, STAMP if row.synthetic else "", row.key.preset, row.key.digest, row.key.data, row.role, row.model,
        row.mix, "baseline" if row.baseline else "",
        spread and spread.mean, spread and spread.sd_folds, spread and spread.sd_seeds, spread.n if spread else 0,
        " ".join(map(str, spread.folds)) if spread else "", " ".join(map(str, spread.seeds)) if spread else "",
        row.best, row.parameters,
        own and own.difference, own and own.low, own and own.high, own and own.n, own and own.p, row.p_holm,
        own and own.p_folds, own and own.p_wilcoxon, own and own.ratio,
        row.published, row.difference_to_published, row.partial, row.runs, len(row.did_not_train), len(row.failures),
        row.all_runs, row.skipped, row.macro_f1, row.ece, row.agreement, "; ".join(remarks(row)),
    )  # fmt: skip
    return tuple(float(f"{value:.10g}") if isinstance(value, float) else value for value in values)
