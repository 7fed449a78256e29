"""What experiments measure of their networks: few-shot accuracies with their intervals, accuracies by overlap of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.report.plots.folds import draw_mean, rows_of_names
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


def interval_points(name: str, rows: Sequence[tuple[str, float, float | None]], look: Look) -> Picture:
    """Rows of (name, accuracy, half width), percent: None, no interval."""
    caption = (
        "Accuracy on classes that were never trained on, by the nearest mean of a few examples. Line: ±1.96 · sd / √episodes of "
        "one run, mean over runs, as in the table: it says nothing of other seeds, folds or classes."
    )
    return Picture(name, "Few-shot accuracy", caption, draw_interval_points, (tuple(rows), look))


def draw_interval_points(rows: Sequence[tuple[str, float, float | None]], look: Look) -> Drawing:
    figure, axes = rows_of_names("Few-shot accuracy", [row for row, _, _ in rows], "accuracy, %", look)
    for place, (_, accuracy, half) in enumerate(rows):
        if half is not None:
            ends = [accuracy - half, accuracy + half]
            axes.plot(ends, [place, place], color=LIGHT["ink"], linewidth=1.6)
        draw_mean(axes, place, accuracy)
    return Drawing(figure, ("row", "accuracy_percent", "half_width_percent"), rows)


def overlap_lines(name: str, accuracies: Mapping[str, Mapping[float, float]], look: Look) -> Picture:
    """Percent by method and overlap."""
    caption = (
        "Accuracy on the student's own classes, mean over runs, by the share of them that its teacher knows. Each overlap has other "
        "classes: a line compares methods at one overlap, not overlaps."
    )
    return Picture(name, "Accuracy by overlap of classes", caption, draw_overlap_lines, (accuracies, look))


def draw_overlap_lines(accuracies: Mapping[str, Mapping[float, float]], look: Look) -> Drawing:
    height = 3.1 + 0.2 * len(accuracies)
    axes_names = ("classes that the teacher knows, %", "accuracy, %")
    figure, axes = figure_with_axes("Accuracy by overlap of classes", look, *axes_names, height=height)
    for index, (method, by_overlap) in enumerate(accuracies.items()):
        points = sorted(by_overlap.items())
        x, y = zip(*points)
        axes.plot(x, y, color=colour(index), marker=marker(index), markersize=5, linewidth=1.2, label=words(method))
    legend_below(figure, 1)
    rows = [(method, *point) for method, by_overlap in accuracies.items() for point in sorted(by_overlap.items())]
    return Drawing(figure, ("method", "overlap_percent", "accuracy_percent"), rows)
