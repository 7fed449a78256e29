"""Accuracy of every mix, fold by fold, so that one sees pairs; and the differences to the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import statistics
from pipeline.plots.picture import (
    LIGHT,
    Look,
    Picture,
    colour,
    figure_with_axes,
    label_axes,
    legend_below,
    marker,
    words,
)
from pipeline.statistics import Cell, Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_INCHES = 0.46


def rows_of_names(title: str, names: Sequence[str], look: Look) -> tuple[Any, Axes]:
    """A panel with a row for each name, the first on top, the name above its row."""
    figure, axes = figure_with_axes(title, look, height=1.5 + ROW_INCHES * len(names))
    axes.set_ylim(len(names) - 0.45, -0.75)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for place, name in enumerate(names):
        axes.axhline(place, color=LIGHT["grid"], linewidth=0.6, zorder=0)
        # On a plate of its own, so that the lines between folds do not strike it out.
        axes.text(0.005, place - 0.3, words(name), transform=axes.get_yaxis_transform(), fontsize=8, color=LIGHT["ink"], va="bottom",
                  bbox={"facecolor": LIGHT["paper"], "edgecolor": "none", "alpha": 0.85, "pad": 0.8})  # fmt: skip
    return figure, axes


def fold_points(name: str, accuracies: Mapping[str, Mapping[Cell, float]], look: Look) -> Picture:
    """Percent by mix and cell. Points: a fold's mean over seeds, joined from mix to mix; bar: mean over folds."""
    figure, axes = rows_of_names("Accuracy by fold", list(accuracies), look)
    means = {mix: statistics.by_fold(values) for mix, values in accuracies.items()}
    folds = sorted({fold for own in means.values() for fold in own})
    for index, fold in enumerate(folds):
        points = [(own.get(fold, np.nan), place) for place, own in enumerate(means.values())]
        x, y = zip(*points)
        axes.plot(x, y, color=colour(index), linewidth=0.8, alpha=0.55)
        axes.plot(
            x,
            y,
            color=colour(index),
            linestyle="none",
            marker=marker(index),
            markersize=5,
            label=f"fold {fold}",
        )
    for place, own in enumerate(means.values()):
        if own:
            axes.plot(
                [np.mean(list(own.values()))],
                [place],
                marker="|",
                markersize=15,
                markeredgewidth=2.4,
                color=LIGHT["ink"],
            )
    label_axes(axes, "accuracy, %")
    legend_below(figure, min(5, len(folds)))
    rows = [
        (mix, fold, seed, float(value))
        for mix, values in accuracies.items()
        for (fold, seed), value in sorted(values.items())
    ]
    caption = ("Last epoch's accuracy on the held-out fold's clean clips. A point is a fold (mean over seeds), a line joins "
               "the same fold: the same clips. Bar: mean over the folds.")  # fmt: skip
    return Picture(
        name, "Accuracy by fold", caption, figure, ("mix", "fold", "seed", "accuracy_percent"), rows
    )


def difference_points(
    name: str,
    differences: Mapping[str, Mapping[Cell, float]],
    comparisons: Mapping[str, Comparison],
    baseline: str,
    look: Look,
) -> Picture:
    """Percentage points to the baseline by mix and cell, with the comparison's mean and 95 % interval."""
    figure, axes = rows_of_names(f"Difference to {words(baseline)}", list(differences), look)
    axes.axvline(0, color=LIGHT["muted"], linewidth=1)
    folds = sorted({fold for values in differences.values() for fold, _ in values})
    for place, (mix, values) in enumerate(differences.items()):
        own = comparisons[mix]
        for fold, value in statistics.by_fold(values).items():
            index = folds.index(fold)
            axes.plot([value], [place], color=colour(index), marker=marker(index), markersize=5, alpha=0.85, linestyle="none",
                      label=f"fold {fold}" if place == first_with(differences, fold) else None)  # fmt: skip
        if own.low is not None and own.high is not None:
            axes.plot([own.low, own.high], [place, place], color=LIGHT["ink"], linewidth=1.6)
        axes.plot(
            [own.difference], [place], marker="|", markersize=15, markeredgewidth=2.4, color=LIGHT["ink"]
        )
    label_axes(axes, "percentage points")
    legend_below(figure, min(5, len(folds)))
    rows: list[tuple[object, ...]] = [
        (mix, fold, seed, float(value), None, None)
        for mix, values in differences.items()
        for (fold, seed), value in sorted(values.items())
    ]
    rows += [(mix, "mean", "", own.difference, own.low, own.high) for mix, own in comparisons.items()]
    caption = ("Difference to the baseline of the same fold and seed. A point is a fold (mean over seeds); bar and line: mean "
               "and 95 % interval as in the table.")  # fmt: skip
    header = ("mix", "fold", "seed", "difference_points", "ci95_low", "ci95_high")
    return Picture(name, "Difference to the baseline", caption, figure, header, rows)


def first_with(differences: Mapping[str, Mapping[Cell, float]], fold: int) -> int:
    """The first row that has the fold: the legend names it once."""
    return next(
        place for place, values in enumerate(differences.values()) if any(k == fold for k, _ in values)
    )
