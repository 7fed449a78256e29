"""The tables of ``bench.students`` beside that of the presets: one ingredient less, Table 3, terms on top, shares, features, searches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bench import sound_to_class, student_nested, student_table
from bench.student_nested import GOALS, NESTED, PRESET
from bench.student_rows import PAIRS, PARTS, SHARED, Part, of_features, of_share, subsets
from bench.student_table import (
    FIGURES,
    INTERVALS,
    PAIRED,
    asked_for,
    difference,
    figures,
    joined,
    lacking,
    markdown,
    minutes,
)
from bench.student_world import World
from pipeline.config import FeatureSpec
from pipeline.corpus.published import URBANSOUND8K
from pipeline.figures import statistics
from pipeline.report import paper
from pipeline.report.aggregation import counted, percents
from pipeline.report.table import NONE, number
from pipeline.runs import Record

OPTIMISTIC = "The preset was chosen on these folds or from the study: optimistic."
FROM_PRESET = """*Nested*: each held-out fold by the settings that `audio-rkd search {space}` found on the other folds alone, {trials} trials each with
halving; what the space does not vary is preset `{space}`'s, which a study chose with these folds. *Preset*: one set of settings by a search over all
folds, chosen on the folds that test it: optimistic. One teacher a fold."""
GUESS = """A guess, no measurement: the straight line through the means at a quarter, a half and all of the clips, over the logarithm of their number, read at
{ten:,} clips, which nine of ten whole folds hold; it takes each doubling to bring as much as those seen, for other folds than these. ±: the standard deviation of the same guess fold by fold.
Clips of other recordings lose their labels (`unlabelled`) and are in no batch; each seed draws its own recordings, and its teacher learned from the same ones. Mean and deviation of the features are of all training clips."""


def against(head: str, meaning: str) -> Callable[[Part, World, bool], str]:
    """A table of rows that are compared to the first. ``head``: what they are; ``meaning``: a sentence below."""

    def text(part: Part, world: World, costs: bool) -> str:
        base, *_ = each = [(row, world.records(row)) for row in part.rows]
        lines = []
        for row, records in each:
            compared = difference(records, base[1]) if row is not base[0] else (NONE,) * 4
            lines.append((row.name, *figures(records), *compared, minutes(records)))
        columns = (head, *FIGURES, "less the first row, points", *INTERVALS, "training, min a run")
        return joined(
            world, f"{part.title}. {OPTIMISTIC}", markdown(columns, lines), *lacking(world, part.rows), meaning
        )

    return text


def presets(part: Part, world: World, costs: bool) -> str:
    return student_table.text(world, part.rows, PAIRS, costs=costs)


def table3(part: Part, world: World, costs: bool) -> str:
    """Beside what was published, less ``soft``, with how far the order is the published one."""
    records = {row.name: world.records(row) for row in part.rows}
    teacher, soft, *_ = part.rows
    published = [one.percent for one in paper.TABLE3]
    lines = [
        (
            row.name,
            number(percent),
            *figures(there),
            *(difference(there, records[soft.name]) if row is not soft else (NONE,) * 4),
        )
        for (row, there), percent in zip(((row, records[row.name]) for row in part.rows), published, strict=True)
    ]
    head = ("row", "published, %", *FIGURES, "less soft, points", *INTERVALS)
    order = in_order({row.name: records[row.name] for row in part.rows if row is not teacher}, published[1:])
    return joined(
        world, f"{part.title}. {OPTIMISTIC}", markdown(head, lines), *lacking(world, part.rows), order, ONE_TEACHER
    )


def in_order(rows: Mapping[str, Sequence[Record]], published: Sequence[float | None]) -> str:
    """Kendall's τ of the students' means with the published figures, of all seeds and of each."""
    from scipy import stats

    values = [percents(counted(records), "accuracy") for records in rows.values()]
    if not all(values):
        return "Kendall's τ with the published order: –, for not every row has runs."
    means = [statistics.spread(each).mean for each in values]
    seeds = [statistics.by_seed(each) for each in values]
    both = sorted(set.intersection(*map(set, seeds)))
    taus = [known(stats.kendalltau([of[seed] for of in seeds], published).statistic, "+.2f") for seed in both]
    tau = stats.kendalltau(means, published)
    return (
        f"Kendall's τ of the {len(rows)} students' means with the published order: {known(tau.statistic, '+.2f')} "
        f"(p {known(tau.pvalue)} were all orders as likely); seed by seed {', '.join(taus) or NONE}. 1 is the paper's order, 0 none of it."
    )


def known(value: float, form: str = ".2f") -> str:
    """– where scipy has no number: of means that are all the same there is no order."""
    return number(None if math.isnan(value) else float(value), form)


def shares(part: Part, world: World, costs: bool) -> str:
    """Accuracy by share of the training clips, and the guess."""
    each_fold = sum(len(world.corpus.fold_clips(fold)) for fold in world.corpus.folds)
    there = [each_fold - len(world.corpus.fold_clips(fold)) for fold in world.folds]
    every = sum(URBANSOUND8K.folds.values())
    ten = round(every - every / len(URBANSOUND8K.folds))
    fractions = (0.25, 0.5, 1.0)
    lines = []
    for row in SHARED:
        values = [percents(counted(world.records(of_share(row, share))), "accuracy") for share in fractions]
        spreads = [statistics.spread(each) if each else None for each in values]
        cells = [f"{number(one.mean)} ± {number(one.sd_folds)} ({one.n})" if one else NONE for one in spreads]
        lines.append((row.name, *cells, guessed(values, [share * float(np.mean(there)) for share in fractions], ten)))
    counts = [
        f"{name}, about {round(share * float(np.mean(there))):,}"
        for name, share in zip(("a quarter", "a half", "all"), fractions)
    ]
    head = ("student", *(f"{name} clips: %, ± SD of folds (n)" for name in counts), "a guess of ten folds, %")
    about = GUESS.format(ten=ten)
    return joined(world, f"{part.title}. {OPTIMISTIC}", markdown(head, lines), *lacking(world, part.rows), about)


def guessed(values: Sequence[Mapping[statistics.Cell, float]], clips: Sequence[float], at: int) -> str:
    """ "58.2 ± 3.1": the line of accuracy over log clips, at ``at`` clips, of the means over folds and of each fold."""
    by_fold = [statistics.by_fold(each) for each in values]
    folds = sorted(set.intersection(*map(set, by_fold))) if all(by_fold) else []
    if not folds:
        return NONE
    guesses = [line_at([of[fold] for of in by_fold], clips, at) for fold in folds]
    return f"{number(float(np.mean(guesses)))} ± {number(statistics.sd(guesses))}"


def line_at(accuracies: Sequence[float], clips: Sequence[float], at: int) -> float:
    """The least-squares line of accuracies over the logarithm of the clips, at ``at`` clips."""
    slope, offset = np.polyfit(np.log2(clips), accuracies, 1)
    return float(slope * math.log2(at) + offset)


def features(part: Part, world: World, costs: bool) -> str:
    """Each choice: milliseconds, and accuracy of both students by labels alone."""
    times = feature_times(world) if costs else {}
    all_five = {preset: world.records(of_features("all", preset)) for preset in ("strong", "small")}
    lines = []
    for use in subsets():
        cells = []
        for preset, whole in all_five.items():
            records = world.records(of_features(use, preset))
            mean, sd, _, n = figures(records)
            cells += [
                mean,
                sd,
                n,
                difference(records, whole)[0] if use != "all" else NONE,
                number(times.get((use, preset))),
            ]
        lines.append((use.replace(",", ", "), *cells))
    columns = [
        f"{who}: {what}"
        for who in ("the paper's student", "`small`'s network")
        for what in ("%", "SD of folds", "n", "less all five", "ms CPU, sound to class")
    ]
    about = (
        "Labels alone, one seed, 20 rows of each feature, no changed copies, otherwise as presets strong and small have it. Time: features and "
        "network in Python, one thread, median of calls in turn. One seed: differences of two points are noise, and the best of so many, picked on these folds, is optimistic."
    )
    return joined(world, f"{part.title}.", markdown(("features", *columns), lines), *lacking(world, part.rows), about)


def feature_times(world: World) -> dict[tuple[str, str], float]:
    """(features, preset) → ms of CPU from sound to class in Python, of those with runs."""
    calls = {}
    for use in subsets():
        for preset in ("strong", "small"):
            row = of_features(use, preset)
            if world.records(row):
                settings = world.settings(row)
                spec: FeatureSpec = settings.features
                ways = sound_to_class.ways(settings.student.model, spec)
                calls[use, preset] = ways[sound_to_class.PYTHON]
    return {key: times.median for key, times in sound_to_class.measured(calls, 20).items()}


def searched(part: Part, world: World, costs: bool) -> str:
    """What the searches found, and their students: nested first, then the preset of all folds."""
    search = student_nested.search_of(part.space, world)
    ways = student_nested.records(part.space, search, world)
    rows: dict[str, Sequence[Record]] = {
        f"{part.space}, {NESTED}": ways[NESTED],
        f"{part.space}, {PRESET}, optimistic": ways[PRESET],
    }
    rows |= {row.name: world.records(row) for row in part.rows}
    first = [(name, *figures(records), minutes(records)) for name, records in rows.items()]
    judged = [
        (
            f"{part.space}, {way} − {other}",
            *difference(ways[way], rows[other]),
            asked_for(points) if way == NESTED else NONE,
        )
        for way in (NESTED, PRESET)
        for other, points in GOALS[part.space].items()
    ]
    found = [
        (str(one.held_out or "none"), str(one.trials), number(one.inner), one.values or NONE)
        for one in student_nested.chosen(search, world)
    ]
    chosen = markdown(("held out", "trials", "best on the inner folds, %", "its settings"), found)
    about = FROM_PRESET.format(space=part.space, trials=search.space.trials)
    tables = (markdown(("student", *FIGURES, "training, min a run"), first), markdown(PAIRED, judged), chosen)
    left = student_nested.unfinished_cells(part.space, search, world)
    lines = [f"Not all trained yet: {len(left)} of the search's students."] if left else []
    return joined(world, f"{part.title}.", *tables, *lines, *lacking(world, part.rows), about)


ONE_TEACHER = "All students of a fold learn from one of its teachers; the teachers' row is of all their seeds."
LESS = "Less the first row: by fold, seeds averaged first; intervals as in the presets' table; three seeds, and as many comparisons as rows: no claim of one of them."
SEEN = "That pcen may be the better choice was seen on these folds before."
ON_TOP = f"Does a term help when the teachers are good? Each with the weight of its file, {OPTIMISTIC.lower()} {LESS}"

#: Part → its text.
TEXTS: dict[str, Callable[[Part, World, bool], str]] = {
    "presets": presets,
    "nested-strong": searched,
    "nested-small": searched,
    "inputs": against("what small hears", f"{SEEN} {LESS}"),
    "without-strong": against("strong without", LESS),
    "table3": table3,
    "on-top": against("on top of labels and outputs", ON_TOP),
    "shares": shares,
    "without-small": against("small without", LESS),
    "features": features,
}
assert [*TEXTS] == [part.name for part in PARTS]


def text(part: Part, world: World, *, costs: bool) -> str:
    """A part's Markdown. ``costs``: whether times and int8 are measured now."""
    return TEXTS[part.name](part, world, costs)
