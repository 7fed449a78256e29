"""``compare``: what differs between two runs, or two groups of runs, and by how much.

Conventions. Differences are B less A, in percentage points, over the runs that finished, also those no better than
chance. Two groups are paired by (fold, seed) and judged over folds by ``pipeline.figures.statistics``, as in the report. Two single runs of one fold are paired clip by
clip: McNemar's exact test takes clips for independent, which clips of one recording are not, so the interval beside
it is by recordings, see ``by_recording``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline import runs
from pipeline.config import InputError
from pipeline.figures import evaluation, statistics
from pipeline.figures.statistics import Cell
from pipeline.label_sets import measure
from pipeline.losses import LossMix
from pipeline.plurals import many, plural
from pipeline.report import recordings
from pipeline.report.aggregation import (
    STAMP,
    at_chance,
    cell,
    chances,
    counted,
    key_of,
    percents,
    ratio,
    stopped,
)
from pipeline.report.listing import corpora
from pipeline.report.table import interval, number, p_value, signed
from pipeline.report.told import Told, of_lines
from pipeline.report.wording import listed, trusted_teachers
from pipeline.runs import TEACHER, Record
from pipeline.runs.differences import differences


@dataclass(frozen=True)
class Side:
    """What stands on one side: one run, or runs of one mix and one set of settings."""

    name: str
    records: tuple[Record, ...]


def side(text: str, root: Path, corpus: str | None) -> Side:
    """A run folder, a folder of runs, a mix, or "teacher"; the latter two among the runs of ``corpus``.

    Raises ``InputError`` where nothing is meant, or more than one mix or set of settings.
    """
    if not text.strip():
        raise InputError(
            f"{text!r} names nothing; expected a run, a folder of runs, a mix such as angle,area, or teacher"
        )
    path = Path(text)
    if path.is_dir():
        records = runs.find(path)
        if not records:
            raise InputError(
                f"{path}: no finished run in it; expected a run folder, or a folder of runs such as "
                "runs/CORPUS/student-…/angle40+area20+soft1"
            )
    else:
        records = named(text, root, corpus)
    mixes = sorted({(r.role, r.row_mix, r.generation) for r in records})
    if len(mixes) > 1:
        names = listed([mix or role for role, mix, _ in mixes])
        raise InputError(f"{text!r} holds several kinds of runs ({names}); expected one: name the folder of one mix")
    keys = sorted({str(key_of(r)) for r in records})
    if len(keys) > 1:
        folders = listed(sorted({str(r.folder.parent) for r in records}))
        raise InputError(f"{text!r} has runs of {len(keys)} settings or states of the data; name one folder: {folders}")
    seen: dict[Cell, Record] = {}
    for record in records:
        if other := seen.get(cell(record)):
            raise InputError(
                f"{text!r}: {other.folder} and {record.folder} are of one fold and seed; expected one run of each"
            )
        seen[cell(record)] = record
    return Side(text, tuple(records))


def named(text: str, root: Path, corpus: str | None) -> list[Record]:
    """The finished runs of a mix, or the teachers."""
    if "/" in text or "\\" in text:
        raise InputError(
            f"{text}: no such folder; expected a run, a folder of runs, a mix such as angle,area, or teacher"
        )
    there = corpora(root)
    if corpus is None and len(there) > 1:
        raise InputError(f"{text!r} may be of {listed(there)}; say which: --dataset {there[0]}")
    try:
        mix = "" if text == TEACHER else str(LossMix.parse(text))
    except InputError as error:
        kind = "a file" if Path(text).exists() else "no folder"
        raise InputError(
            f"{text} is {kind}, and as a mix: {error}; expected a run, a folder of runs, a mix such as "
            "angle,area, or teacher"
        ) from None
    records = [r for r in runs.find(root, corpus) if (r.is_student or r.is_teacher) and r.row_mix == mix]
    if not records:
        others = dict.fromkeys(
            r.folder.parent for r in runs.find(root, corpus) if mix and r.is_distilled and r.row_mix == mix
        )
        if others:
            raise InputError(
                f"{text}: its runs had other teachers than the fold's own one; expected a folder of runs: {listed(list(map(str, others)))}"
            )
        raise InputError(
            f"no finished run of {mix or text} in {root / (corpus or '')}; 'audio-rkd runs' lists what is there"
        )
    return records


def compare(a: Side, b: Side) -> str:
    """What differs between two sides, and the paired difference B less A with its interval; text to print."""
    first, second = a.records[0], b.records[0]
    if first.corpus != second.corpus:
        raise InputError(
            f"{a.name} is of {first.corpus}, {b.name} of {second.corpus}: other clips, so nothing "
            "can be paired; expected runs of one corpus"
        )
    stamp = [f"{STAMP}: figures of the built-in corpus say nothing about real sounds."] if first.synthetic else []
    stamp += trusted_teachers([*a.records, *b.records])
    lines = [*stamp, *(f"{letter}: {one.name} ({count(one)})" for letter, one in (("A", a), ("B", b))), ""]
    different = differences(a.records, b.records)
    lines += ["What differs:", *(f"  {key:<28} {old}  →  {new}" for key, old, new in different)]
    lines += [] if different else ["  nothing that is recorded but fold, seed and time"]
    if len(a.records) == len(b.records) == 1 and cell(a.records[0])[0] == cell(b.records[0])[0]:
        return told(a, b, different, None, [*lines, "", *clip_lines(a.records[0], b.records[0])])
    return told(a, b, different, paired(a, b), [*lines, "", *paired_lines(a, b)])


def told(
    a: Side,
    b: Side,
    different: Sequence[tuple[str, str, str]],
    comparison: statistics.Comparison | None,
    lines: Sequence[str],
) -> Told:
    """The lines, and the same as data: both sides, what differs, the paired difference where there is one."""
    sides = {
        letter: {"name": one.name, "runs": [str(record.folder) for record in one.records]}
        for letter, one in (("a", a), ("b", b))
    }
    rows = [{"key": key, "a": old, "b": new} for key, old, new in different]
    difference = None if comparison is None else {**asdict(comparison), "no_claim": comparison.no_claim}
    return of_lines("\n".join(lines), **sides, differs=rows, comparison=difference)


def paired(a: Side, b: Side) -> statistics.Comparison | None:
    """B less A over the cells that both have; None without one."""
    left, right = (percents(counted(one.records), "score") for one in (a, b))
    voters = [{cell(r): [r.folder] for r in counted(one.records)} for one in (b, a)]
    first = a.records[0]
    # Images have one test set: the trainings are the units, as in the report.
    test = (0.0, "training") if first.is_of_images else (ratio(first), "fold")
    return recordings.beside(statistics.comparison(right, left, *test), *voters)


def count(one: Side) -> str:
    cells = [cell(r) for r in one.records]
    chance_runs, gone = sum(map(at_chance, counted(one.records))), sum(map(stopped, one.records))
    silent = len(one.records) - len(counted(one.records)) - gone
    parts = [
        (chance_runs, "no better than chance (counted)"),
        (gone, "stopped (not counted)"),
        (silent, "without a term on the outputs (not counted)"),
    ]
    folds, seeds = ({place[i] for place in cells} for i in (0, 1))
    text = f"{many(len(cells), 'run')}, {plural(len(folds), 'fold')} {spaced(folds)}, {plural(len(seeds), 'seed')} {spaced(seeds)}"
    return "; ".join([text, *(f"{n} {words}" for n, words in parts if n)])


def spaced(numbers: Iterable[int]) -> str:
    return " ".join(map(str, sorted(set(numbers))))


def paired_lines(a: Side, b: Side) -> list[str]:
    """Means of both, and the difference over the cells that both have."""
    left, right = (percents(counted(one.records), "score") for one in (a, b))
    first, comparison = a.records[0], paired(a, b)
    gone, gone_left = ({cell(r) for r in one.records if stopped(r)} for one in (b, a))
    filled = statistics.with_stopped(right, left, gone, gone_left, chances([*a.records, *b.records]))
    lines = [
        f"{letter}: {measure(first.several_labels)} {number(s.mean)} % (sd over folds {number(s.sd_folds)}, over seeds {number(s.sd_seeds)}, n {s.n})"
        for letter, s in (("A", left and statistics.spread(left)), ("B", right and statistics.spread(right)))
        if s
    ]
    lines += (
        [f"No fold and seed in which both have {measure(first.several_labels)} figures, so no difference."]
        if comparison is None
        else judged(comparison)
    )
    if filled is not None:
        lines.append(f"With the runs that stopped at chance: B less A {signed(filled)} points")
    return lines


def judged(comparison: statistics.Comparison) -> list[str]:
    """The difference of the folds' means, its interval, and p or why there is none."""
    lines = [
        f"B less A: {signed(comparison.difference)} points, 95 % interval {interval((comparison.low, comparison.high))} over "
        f"{comparison.unit}s to come; {many(comparison.units, comparison.unit)}, {many(comparison.n, 'pair')} of fold and seed "
        f"(sd over {comparison.unit}s {number(comparison.sd_units)}, over pairs {number(comparison.sd_pairs)})"
    ]
    if comparison.low is None:
        lines.append(
            f"No interval over {comparison.unit}s: it needs two at least, and differences that are not all the same."
        )
    like = "recordings" if comparison.unit == "fold" else "images"
    if beside := comparison.recordings:
        lines.append(
            f"No interval over {like}: {beside.reason}"
            if beside.reason
            else f"{interval((beside.low, beside.high))} over {like} like these, on these folds and with these trainings "
            f"(bootstrap over {beside.recordings} {like}, seeds averaged first)"
        )
    if comparison.no_claim:
        return [*lines, f"{comparison.no_claim}; fewer than {statistics.FEWEST} have no p"]
    by = "folds' means, corrected for overlapping training sets" if comparison.unit == "fold" else "over trainings"
    return [
        *lines,
        f"p {p_value(comparison.p)} ({by}), "
        f"{p_value(comparison.p_wilcoxon)} (Wilcoxon on them, uncorrected). This comparison alone: one chosen among several "
        "mixes takes p (Holm) of the report",
    ]


def clip_lines(a: Record, b: Record) -> list[str]:
    """Two runs that were tested on the same clips, clip by clip."""
    left, right = runs.read_predictions(a.folder), runs.read_predictions(b.folder)
    if not (np.array_equal(left.clips, right.clips) and np.array_equal(left.labels, right.labels)):
        raise InputError(
            f"{a.folder} and {b.folder} were tested on other clips or labels; expected runs of one state of the data"
        )
    if not (left.logits.size and right.logits.size):
        return ["One of the runs failed and predicts nothing, so no difference."]
    if left.labels.ndim == 2:
        return score_lines(a, b)
    classes = [evaluation.predicted(one.logits) for one in (left, right)]
    hit_a, hit_b = (each == left.labels for each in classes)
    gained, lost = int(np.sum(hit_b & ~hit_a)), int(np.sum(hit_a & ~hit_b))
    difference, low, high = by_recording(hit_b.astype(float) - hit_a, left.sources)
    lines = [
        f"A: accuracy {number(100 * float(hit_a.mean()))} %, B: {number(100 * float(hit_b.mean()))} % of {many(len(hit_a), 'clip')}, "
        f"fold {a.fold}",
        f"B less A: {signed(100 * difference)} points, 95 % interval "
        f"{interval((low and 100 * low, high and 100 * high))}, by {many(len(set(left.sources)), 'recording')}",
        f"Right in B alone {gained}, in A alone {lost}, the same class said {many(int(np.sum(classes[0] == classes[1])), 'time')}; "
        f"McNemar's exact p {p_value(statistics.mcnemar(gained, lost))} (clips taken for independent: too small where recordings "
        "have several)",
        "One fold and one training each: this says nothing of other folds and seeds. Compare groups of runs for that.",
    ]
    return lines


def score_lines(a: Record, b: Record) -> list[str]:
    """Two runs on clips with several labels: a mean average precision is no mean over clips, so that nothing pairs these."""
    first, second = (record.result.percent for record in (a, b))
    difference = None if first is None or second is None else second - first
    return [
        f"A: {measure(True)} {number(first)} %, B: {number(second)} % of {many(a.result.test_clips, 'clip')}, fold {a.fold}",
        f"B less A: {signed(difference)} points; no interval and no test of one fold: it is no mean over clips",
        "One fold and one training each: this says nothing of other folds and seeds. Compare groups of runs for that.",
    ]


def by_recording(differences: np.ndarray, sources: np.ndarray) -> tuple[float, float | None, float | None]:
    """Mean of per-clip differences (n,), and its 95 % interval with the recordings as the units.

    With d̄ the mean over n clips and e_g the sum of d − d̄ over the clips of recording g of G:
    var(d̄) = G/(G − 1) · Σ e_g² / n² (Liang and Zeger 1986), t with G − 1 degrees of freedom. Where every clip is a
    recording of its own, that is the ordinary paired t interval. None for fewer than two recordings.
    """
    mean = float(np.mean(differences))
    names, group = np.unique(sources, return_inverse=True)
    if len(names) < 2:
        return mean, None, None
    sums = np.bincount(group, weights=differences - mean)
    error = math.sqrt(len(names) / (len(names) - 1) * float((sums**2).sum())) / len(differences)
    from scipy import stats  # slow to import: only where an interval is computed

    half = float(stats.t.ppf((1 + statistics.CONFIDENCE) / 2, len(names) - 1)) * error
    return mean, mean - half, mean + half
