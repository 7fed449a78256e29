"""Rows → remarks and footnotes in words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pipeline import runs
from pipeline.figures.bootstrap import Interval
from pipeline.figures.evaluation import ALPHA
from pipeline.figures.statistics import FEWEST, Comparison, Spread
from pipeline.plurals import many, plural
from pipeline.report.aggregation import BASELINE, OF_SEVERAL, STAMP, Row
from pipeline.report.table import number, signed
from pipeline.runs import Record
from pipeline.runs.damage import spared
from pipeline.runs.folder import lost_epochs
from pipeline.runs.record import IMAGES

#: Begins what is said of runs whose teacher a user vouched for.
TRUSTED = "Taught by a teacher that does not say which folds it was trained on (--trust-teacher)"
TOO_GOOD = "Whether it has seen the held-out clips is not known, and if it has, these figures are too good."

#: Of tables in which each window of a long recording counts by itself.
PER_WINDOW = "Clips are windows of long recordings here: {figures} per window, not per file."

#: Of settings that a preset says were chosen by folds which are held out here.
OPTIMISTIC = (
    "Optimistic: the settings were chosen by what they reach on folds that are held out here, so the figure is no guess of what other "
    "clips would give. The honest one is nested: for each held-out fold the settings chosen on the others."
)

BALANCED = "Balanced: the mean of the classes' recalls, so that each class counts the same, however many clips it has."

SEVERAL_LABELS = (
    "Mean average precision: of each class that a held-out clip has, the average precision of the clips in the order of its output "
    "(scikit-learn's), mean over these classes. Chance is the mean share of clips that have a class, not 1/classes; a run of no more is "
    "named as no better than chance, without a test, and counts."
)


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
    """What keeps a row from being the whole truth: missing folds, runs at chance or stopped, skipped clips."""
    texts = [row.partial] if row.partial else []
    if row.at_chance:
        names = listed([f"fold{fold}-seed{seed}" for fold, seed in row.at_chance])
        texts.append(f"{len(row.at_chance)} of {many(row.runs, 'run')} no better than chance ({names}): counted")
    if row.outputs_untrained:
        texts.append(
            f"no term on the outputs, which name classes by chance ({number(row.all_runs)}, {row.outputs_untrained} of "
            f"{many(row.runs, 'run')})" + ("" if row.several else "; retrieval measures the embedding")
        )
    if row.failures:
        texts.append(
            f"{len(row.failures)} of {many(row.runs, 'run')} stopped ({listed(row.failures, '; ')}): not counted; mean with them "
            f"at chance {number(row.all_runs)}"
        )
    if row.best_teacher:
        texts.append("teacher's best epoch: optimistic, the held-out fold chose it")
    if row.nested:
        but = ", but from a preset that was not" if row.optimistic else ""
        texts.append(f"nested: each fold's settings chosen without it{but}")
    if row.optimistic:
        texts.append(
            f"preset chosen on {'these folds' if row.optimistic == row.runs else 'some of these folds'}: optimistic"
        )
    if row.trusted:
        texts.append("its teacher does not say what it was trained on: trusted")
    if row.skipped:
        texts.append(f"{many(row.skipped, 'clip')} skipped")
    return texts


def ends(interval: Comparison | Interval | None) -> tuple[float | None, float | None] | None:
    return (interval.low, interval.high) if interval else None


def comparison_remarks(row: Row) -> list[str]:
    texts = [row.comparison.no_claim] if row.comparison and row.comparison.no_claim else []
    if row.with_stopped is not None:
        here, there = len(row.failures), row.baseline_stopped
        of = " and ".join(f"{n} of {name}" for n, name in ((here, "the mix"), (there, "the baseline")) if n)
        texts.append(f"without the runs that stopped ({of}); with them at chance {signed(row.with_stopped)}")
    if row.baseline_settings:
        texts.append(f"the baseline has other settings, {row.baseline_settings}")
    return texts


def footnotes(rows: Sequence[Row]) -> list[str]:
    """The plain words for what the columns are; only those that the tables at hand need."""
    notes = [
        "Mean: of the folds' means over seeds, of all runs that finished, also those no better than chance. SD over folds: "
        "of the folds' means. SD over seeds: of the seeds' means over folds. n: runs, each one fold held out and one seed.",
        "The result is the last epoch. Best epoch is optimistic: the held-out fold itself chose the epoch.",
    ]
    several = any(row.several for row in rows)
    if any(row.balanced is not None for row in rows):
        notes.append(BALANCED)
    tests = [row.comparison for row in rows if row.comparison]
    notes += tested(tests)
    if tests:
        notes.append(
            "Seeds of a fold share its one teacher: the figures hold for these teachers, and no spread or p has the chance "
            "of a teacher's own training in it."
        )
    elif any(row.is_student and not row.baseline for row in rows):
        notes.append(
            f"No comparison: no fold and seed has a run of the mix and of the baseline, {OF_SEVERAL if several else BASELINE}, that counts."
        )
    if any(row.partial for row in rows):
        notes.append(
            "Partial: not every fold of the published corpus has a run that counts, so the mean is over other clips "
            "than the published figure's."
        )
    if several:
        notes.append(SEVERAL_LABELS)
    if any(row.at_chance for row in rows if not row.several):
        notes.append(
            "No better than chance: the last epoch's accuracy is not above the commonest class' share (at least 1/classes) "
            f"by a one-sided binomial test at {ALPHA:g}. Such runs are named, and are in means and tests: leaving them out would "
            "leave out runs by their result. Few clips cannot tell a network that learned from chance."
        )
    if any(row.failures for row in rows):
        notes.append(
            "Stopped: the loss or the outputs were not finite. Such runs predict nothing and are in neither mean nor "
            f"tests; the figures with them at {'chance' if several else '1/classes'} stand beside."
        )
    if trusted := [row.label or row.mix for row in rows if row.trusted]:
        notes.append(f"{TRUSTED}: {listed(trusted, '; ')}. {TOO_GOOD}")
    if any(row.optimistic for row in rows):
        notes.append(OPTIMISTIC)
    if any(row.published is not None for row in rows):
        notes.append("Published: Cho et al. 2023, Table 3, UrbanSound8K, ten folds.")
    if any(row.synthetic for row in rows):
        images = all(row.corpus.startswith(IMAGES) for row in rows)
        of, kind = ("made-up images", "images") if images else ("made-up sounds of the built-in corpus", "sounds")
        notes.append(f"{STAMP}: {of}; these figures say nothing about real {kind}.")
    return notes


def tested(tests: Sequence[Comparison]) -> list[str]:
    """How differences are judged, in words; of p only where there is one, of few folds only where they are few."""
    if not tests:
        return []
    unit = tests[0].unit
    ratios = ", ".join(f"{ratio:.3g}" for ratio in sorted({test.ratio for test in tests}))
    by = {
        "fold": "one number a fold, the mean over its seeds. Interval: t with the variance (1/n + n_test/n_train) × the sample "
        f"variance, n folds, n − 1 degrees of freedom, because training sets overlap (Nadeau and Bengio 2003); "
        f"n_test/n_train = {ratios}. It covers folds to come",
        "training": "one number a training, for there is one test set. Interval: the ordinary t of n trainings. It covers "
        "trainings to come, tested on these images",
    }[unit]
    notes = [
        f"Differences are paired over fold × seed and judged over {unit}s: {by}. SD over pairs: of the differences fold × "
        "seed, a spread and no test."
    ]
    if any(not test.no_claim for test in tests):
        notes.append(
            "p: two-sided, by the same test as the interval. p (Holm): adjusted for every mix of the table that was compared to "
            f"the baseline, shown or not; claim an effect by this one. p (Wilcoxon): signed ranks over {unit}s, not corrected for "
            "overlap."
        )
    if any(test.no_claim for test in tests):
        like = "recordings" if unit == "fold" else "images"
        notes.append(
            f"No claim: with fewer than {FEWEST} {unit}s no p is given, whatever the interval. The interval over {like} is a bootstrap: "
            f"seeds averaged first, whole {like} drawn within their fold. It covers these folds, with these trainings, over {like} "
            f"like these, and says nothing of {unit}s to come."
        )
    reasons = dict.fromkeys(test.recordings.reason for test in tests if test.recordings and test.recordings.reason)
    notes += [f"No interval over recordings: {reason}." for reason in reasons]
    return notes


def provenance(records: Sequence[Record]) -> list[str]:
    """Which versions made the runs, and when."""
    versions = set()
    for record in records:
        environment = spared(partial(runs.read_environment, record.folder))
        if environment is None:
            versions.add(f"not known of {'/'.join(record.folder.parts[-2:])}, whose environment.json is damaged")
            continue
        packages = {"python": environment["python"], **environment["packages"]}
        names = ("python", "torch", "numpy", "librosa")
        commit = (
            [f"commit {environment['commit'][:10]}{' (changed)' if environment.get('changed') else ''}"]
            if environment.get("commit")
            else []
        )
        versions.add(", ".join([f"{name} {packages[name]}" for name in names if name in packages] + commit))
    times = sorted(str(record.result.finished) for record in records if record.result.finished)
    when = f"; finished {times[0]} to {times[-1]}" if times else ""
    return [
        f"Made by {many(len(records), 'finished run')}{when}.",
        *(f"Versions: {text}." for text in sorted(versions)),
        *of_some_classes(records),
        *taught_by_others(records),
        *lost_lines(records),
    ]


def of_some_classes(records: Sequence[Record]) -> list[str]:
    """A line for each part of the classes that runs tell apart: accuracies of others say nothing beside theirs."""
    counts: dict[tuple[str, int], int] = {}
    for record in records:
        if text := record.trained_by.classes:
            counts[text, len(record.classes)] = counts.get((text, len(record.classes)), 0) + 1
    return [
        f"Trained and tested on {classes} classes alone (classes = {text!r}): {count} of {many(len(records), 'run')}; chance is "
        f"{100 / max(1, classes):.1f} % there, and accuracies of other classes say nothing beside them."
        for (text, classes), count in sorted(counts.items())
    ]


def of_windows(records: Sequence[Record], figures: str = "these figures are") -> list[str]:
    """A line where clips are windows of long recordings, for figures that count each by itself."""
    return [PER_WINDOW.format(figures=figures)] if any(r.result.test_windows for r in records) else []


def trusted_teachers(records: Sequence[Record]) -> list[str]:
    """A line where a teacher does not say what it was trained on, and a user vouched for it."""
    names = ["/".join(record.folder.parts[-2:]) for record in records if record.trusted]
    if not names:
        return []
    return [f"{TRUSTED}: {len(names)} of {many(len(records), 'run')} ({listed(names)}). {TOO_GOOD}"]


def taught_by_others(records: Sequence[Record]) -> list[str]:
    """A line where a run's teacher was trained again since, and came out with other weights."""
    names = ["/".join(r.folder.parts[-2:]) for r in records if runs.outdated(r, teachers=True)]
    if not names:
        return []
    return [
        f"Their teachers were trained again since, with other weights, or are files that were changed: {len(names)} of {many(len(records), 'run')} "
        f"({listed(names)}); remove these and train again."
    ]


def lost_lines(records: Sequence[Record]) -> list[str]:
    """A line where epochs of finished runs are no longer in their ``metrics.jsonl``: results are whole, curves are not."""
    names = []
    for record in records:
        if not record.identity and not (record.folder / "metrics.jsonl").is_file():
            continue  # before there were identities nothing says that there was one
        lost = spared(partial(lost_epochs, record.folder, record.result.epochs))
        if lost is None:
            names.append(f"{'/'.join(record.folder.parts[-2:])}: damaged")
        elif lost:
            names.append(f"{'/'.join(record.folder.parts[-2:])}: {len(lost)} of {record.result.epochs}")
    if not names:
        return []
    return [
        f"Lost lines of metrics.jsonl: {len(names)} of {many(len(records), 'run')} {plural(len(names), 'lacks', 'lack')} epochs ({listed(names)}); their results are whole, "
        "their curves are not (audio-rkd check)."
    ]
