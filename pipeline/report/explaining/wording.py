"""A comparison in tables and plain words: what the figures mean here, and what they cannot say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.figures import statistics
from pipeline.figures.explained.foreground import BLOCK, LEAST, MARGIN, MARGINS
from pipeline.plurals import many
from pipeline.report.aggregation import STAMP
from pipeline.report.explaining.listeners import DISTILLED, KINDS
from pipeline.report.explaining.results import FIGURES, Explained, Heard, values
from pipeline.report.table import Column, Document, Section, Table, interval, number, p_value
from pipeline.report.table import text as document_text

#: Figure → its name in tables, its unit, and what it is in words.
NAMES = {
    "n_fg": ("N_fg", "blocks per clip", "concepts in the sound"),
    "n_bg": ("N_bg", "blocks per clip", "concepts in the background"),
    "share": ("λ", "", "share of a clip's concepts that lie in the sound"),
    "d_mean": ("D_mean", "‖w_0‖", "how far the weights had moved when a clip had most concepts in the sound"),
    "d_var": ("D_var", "", "how unlike the clips are in that"),
    "stable": ("ρ", "", "share of all concepts in the sound that ever were which are there at the end"),
}

#: Signs of a figure's differences at the margins → how it is said; any others are ``UNSURE``.
WAYS = {frozenset({1.0}): "higher", frozenset({-1.0}): "lower", frozenset({0.0}): "the same"}
UNSURE = "not the same way at each margin"

MEANING = (
    "A block (one mel band by eight frames) is a concept of a network where it lets the clip be changed less than in the background on average: "
    "noise is spread so that it disturbs the network's output least, the same total of noise for every network, and H says in nats how much "
    "of it a block bears.",
    "N_fg and N_bg: concepts per clip in the sound and in the background. λ: share of them in the sound; a network that listens anywhere has the "
    "λ in the table's title. D_mean: how far the weights had travelled, in lengths of the first weights, when a clip had most concepts in the "
    "sound; D_var: how unlike the clips are in that; ρ: how many of all concepts in the sound that ever were are there at the end. "
    "The last three need kept epochs (the experiment explain keeps them).",
    "Foreground of a sound is our own definition: a cell at least so many dB above the noise floor of its band (10th percentile over the clip) and "
    "within 40 dB of the clip's loudest. So each figure stands here for 6, 10 and 15 dB: what holds for one of them only is not held.",
)

LIMITS = (
    "What they cannot say: that a network is right for the right reason, or that a block made it decide; noise changes blocks one by "
    "one, not sounds. A stationary sound (an engine, an air conditioner) has next to no foreground and is left out: the method speaks of events.",
    "Only mel bands are disturbed, not the other features that a network reads. Published (Cheng et al. 2020, on images, shallow networks "
    "excepted): N_fg, λ and ρ higher and N_bg, D_mean and D_var lower of a distilled network than of one on labels. cnn2 is shallower "
    "than those, so this is a question, not a promise. One fold and one seed rank nothing.",
)


def tables(explained: Explained) -> list[Table]:
    """One for each margin, a row per network; and the differences to the network on labels."""
    rows = ordered_rows(explained.heard)
    each = [margin_table(explained, rows, f"{margin:g}") for margin in MARGINS]
    return [*each, difference_table(explained)] if explained.differences else each


def ordered_rows(heard: Sequence[Heard]) -> list[str]:
    """The networks' rows: teachers, students, labels; each in the order of their runs."""
    return list(dict.fromkeys(one.row for kind in KINDS for one in heard if one.kind == kind))


def margin_table(explained: Explained, rows: Sequence[str], margin: str) -> Table:
    caption = (
        f"Foreground from {margin} dB above the floor{' (the usual one)' if float(margin) == MARGIN else ''}; of concepts that lie anywhere "
        f"λ would be {explained.chance[margin]:.2f}."
    )
    members = {row: [one for one in explained.heard if one.row == row] for row in rows}

    def mean(figure: str) -> Callable[[str], float | None]:
        def value(row: str) -> float | None:
            known = values(members[row], margin, figure)
            return statistics.spread(known).mean if known else None

        return value

    columns = [
        Column("network", lambda row: row, "network"),
        Column("foreground_db", lambda row: float(margin)),
        Column("runs", lambda row: len(members[row]), "runs"),
        Column("clips", lambda row: sum(int(one.figures[margin]["clips"] or 0) for one in members[row]), "clips"),
    ]
    for figure in FIGURES:
        name, unit, _ = NAMES[figure]
        form = (
            (lambda value: number(value, ".1f")) if unit.startswith("blocks") else (lambda value: number(value, ".3f"))
        )
        columns.append(Column(figure, mean(figure), name, format=form))
    return Table.build(caption, columns, rows)


def difference_table(explained: Explained) -> Table:
    """Distilled less labels: a row per student, margin and figure."""
    items = [
        (row, margin, figure, told)
        for row, by_margin in explained.differences.items()
        for margin, by_figure in by_margin.items()
        for figure, told in by_figure.items()
    ]

    def of(key: str) -> Callable[[Any], Any]:
        return lambda item: item[3][key]

    columns = (
        Column("network", lambda item: item[0], "distilled less labels alone"),
        Column("foreground_db", lambda item: item[1], "dB"),
        Column("figure", lambda item: NAMES[item[2]][0], "figure"),
        Column("difference", of("difference"), "difference", format=lambda value: number(value, "+.3f")),
        Column("interval", lambda item: (item[3]["low"], item[3]["high"]), "95 % interval", format=interval),
        Column("p", of("p"), "p", format=p_value),
        Column("folds", of("folds"), "folds"),
    )
    return Table.build("Paired by fold and seed; p by the corrected t-test over folds, from six on.", columns, items)


def findings(explained: Explained) -> list[str]:
    """What came out, in a sentence for each distilled student: which figures point the same way at all three margins."""
    lines = []
    for row in dict.fromkeys(one.row for one in explained.heard if one.kind == DISTILLED):
        by_margin = explained.differences.get(row)
        if not by_margin:
            continue
        ways: dict[str, list[str]] = {how: [] for how in (*WAYS.values(), UNSURE)}
        for figure in FIGURES:
            signs = [float(np.sign(told[figure]["difference"])) for told in by_margin.values() if figure in told]
            if signs:
                how = WAYS.get(frozenset(signs), UNSURE) if len(signs) == len(MARGINS) else UNSURE
                ways[how].append(f"{NAMES[figure][0]} ({NAMES[figure][2]})")
        folds = max(told["folds"] for by_figure in by_margin.values() for told in by_figure.values())
        claim = "" if folds >= statistics.FEWEST else f" No claim: n = {many(folds, 'fold')}."
        summary = "; ".join(f"{how}: {', '.join(names)}" for how, names in ways.items() if names)
        lines.append(f"{row} beside the same network on labels alone: {summary}.{claim}")
    return lines


def notes(explained: Explained) -> list[str]:
    """All that stands below the tables."""
    heard = [f"fold {fold}: {len(clips)}" for fold, clips in explained.clips.items()]
    about = (
        f"Held-out clips that were heard: {', '.join(heard)}. Output: {explained.layer}, behind its ReLU; {explained.search['steps']:g} steps of "
        f"{explained.search['copies']:g} noisy copies; blocks of 1 band by {BLOCK} frames."
    )
    return [*findings(explained), *MEANING, *LIMITS, about, *left_out(explained), *explained.notes]


def left_out(explained: Explained) -> list[str]:
    """How many clips have no event, class by class."""
    lines = []
    for fold, classes in explained.left_out.items():
        counts = ", ".join(f"{name} {gone} of {every}" for name, (gone, every) in classes.items())
        if counts:
            lines.append(
                f"Fold {fold}: without an event (less than {LEAST:.0%} foreground at {MARGIN:g} dB): {counts}."
            )
    return lines


def title(explained: Explained) -> str:
    stamp = f"{STAMP} " if explained.synthetic else ""
    return f"{stamp}{explained.corpus}: what the networks listen to"


def text(explained: Explained) -> str:
    """For a terminal."""
    section = Section(f"output {explained.layer}", tuple(tables(explained)))
    return document_text(Document(title(explained), (section,), tuple(notes(explained))))
