"""Accuracy of every mix, fold by fold, so that one sees pairs; and the differences to the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.figures import statistics
from pipeline.figures.statistics import Cell, Comparison
from pipeline.report.plots.picture import (
    LIGHT,
    Drawing,
    Look,
    Picture,
    colour,
    figure_with_axes,
    legend_below,
    marker,
    words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = Mapping[str, Mapping[Cell, float]]
"""Mix → cell → its figure."""

ROW_INCHES = 0.46


def rows_of_names(title: str, names: Sequence[str], unit: str, look: Look) -> tuple[Figure, Axes]:
    """A panel with a row for each name, the first on top, the name above its row."""
    figure, axes = figure_with_axes(title, look, unit, height=1.5 + ROW_INCHES * len(names))
    axes.set_ylim(len(names) - 0.45, -0.75)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for place, name in enumerate(names):
        axes.axhline(place, color=LIGHT["grid"], linewidth=0.6, zorder=0)
        # On a plate of its own, so that the lines between folds do not strike it out.
        axes.text(
            0.005,
            place - 0.3,
            words(name),
            transform=axes.get_yaxis_transform(),
            fontsize=8,
            color=LIGHT["ink"],
            va="bottom",
            bbox={"facecolor": LIGHT["paper"], "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
        )
    return figure, axes


def draw_folds(axes: Axes, values: Values, *, joined: bool) -> int:
    """A point for each fold's mean over seeds, ``joined`` from row to row; how many folds there are."""
    means = [statistics.by_fold(by_cell) for by_cell in values.values()]
    folds = sorted({fold for by_cell in means for fold in by_cell})
    for index, fold in enumerate(folds):
        x, y = [by_cell.get(fold, np.nan) for by_cell in means], range(len(means))
        if joined:
            axes.plot(x, y, color=colour(index), linewidth=0.8, alpha=0.55)
        axes.plot(
            x,
            y,
            color=colour(index),
            linestyle="none",
            marker=marker(index),
            markersize=5,
            alpha=1 if joined else 0.85,
            label=f"fold {fold}",
        )
    return len(folds)


def draw_mean(axes: Axes, place: int, mean: float) -> None:
    axes.plot([mean], [place], marker="|", markersize=15, markeredgewidth=2.4, color=LIGHT["ink"])


def listed(values: Values) -> list[tuple[object, ...]]:
    """(mix, fold, seed, value), sorted by cell."""
    return [(mix, *cell, float(value)) for mix, by_cell in values.items() for cell, value in sorted(by_cell.items())]


def fold_points(name: str, accuracies: Values, look: Look, measure: str = "accuracy") -> Picture:
    """Percent by mix and cell. Points: a fold's mean over seeds, joined from mix to mix; bar: mean over folds."""
    caption = (
        f"Last epoch's {measure} on the held-out fold's clean clips. A point is a fold (mean over seeds), a line joins "
        "the same fold: the same clips. Bar: mean over the folds."
    )
    words_of = () if measure == "accuracy" else (measure,)
    title = f"{measure[0].upper()}{measure[1:]} by fold"
    return Picture(name, title, caption, draw_fold_points, (accuracies, look, *words_of))


def draw_fold_points(accuracies: Values, look: Look, measure: str = "accuracy") -> Drawing:
    title = f"{measure[0].upper()}{measure[1:]} by fold"
    figure, axes = rows_of_names(title, list(accuracies), f"{measure}, %", look)
    folds = draw_folds(axes, accuracies, joined=True)
    for place, by_cell in enumerate(accuracies.values()):
        if by_cell:
            draw_mean(axes, place, float(np.mean(list(statistics.by_fold(by_cell).values()))))
    legend_below(figure, min(5, folds))
    return Drawing(figure, ("mix", "fold", "seed", f"{measure.replace(' ', '_')}_percent"), listed(accuracies))


def difference_points(
    name: str, differences: Values, comparisons: Mapping[str, Comparison], baseline: str, look: Look
) -> Picture:
    """Percentage points to the baseline by mix and cell, with the comparison's mean and 95 % interval."""
    caption = (
        "Difference to the baseline of the same fold and seed. A point is a fold (mean over seeds); bar and line: mean "
        "and 95 % interval as in the table."
    )
    inputs = (differences, comparisons, baseline, look)
    return Picture(name, "Difference to the baseline", caption, draw_difference_points, inputs)


def draw_difference_points(
    differences: Values, comparisons: Mapping[str, Comparison], baseline: str, look: Look
) -> Drawing:
    title = f"Difference to {words(baseline)}"
    figure, axes = rows_of_names(title, list(differences), "percentage points", look)
    axes.axvline(0, color=LIGHT["muted"], linewidth=1)
    folds = draw_folds(axes, differences, joined=False)
    for place, comparison in enumerate(comparisons[mix] for mix in differences):
        if comparison.low is not None and comparison.high is not None:
            axes.plot([comparison.low, comparison.high], [place, place], color=LIGHT["ink"], linewidth=1.6)
        draw_mean(axes, place, comparison.difference)
    legend_below(figure, min(5, folds))
    rows = [(*row, None, None) for row in listed(differences)]
    rows += [
        (mix, "mean", "", comparison.difference, comparison.low, comparison.high)
        for mix, comparison in comparisons.items()
    ]
    return Drawing(figure, ("mix", "fold", "seed", "difference_points", "ci95_low", "ci95_high"), rows)
