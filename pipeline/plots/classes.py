"""Class by class: what is taken for what, and what teacher and student find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.plots.picture import (
    LIGHT,
    WIDTH,
    Look,
    Picture,
    colour,
    figure_with_axes,
    label_axes,
    legend_below,
    words,
)

#: With more classes than this the counts do not fit into the cells; they are in the CSV.
COUNTED_CLASSES = 15

#: Of the fullest cell: the count must be readable on it, on white and on black.
DARKEST = 0.62


def confusion_matrix(name: str, counts: np.ndarray, classes: Sequence[str], over: str, look: Look) -> Picture:
    """``counts`` (classes, classes) int64: row the label, column the predicted class; shade: share of the row.

    ``over`` says of which runs the counts are.
    """
    from matplotlib.patches import Rectangle

    many = len(classes) > COUNTED_CLASSES
    side = 0.17 * len(classes) + 2 if many else WIDTH
    figure, axes = figure_with_axes("Confusion matrix", look, width=side, height=side)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    axes.grid(False)
    for (row, column), share in np.ndenumerate(shares):
        if share > 0:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour(0 if row == column else 1),
                                     alpha=DARKEST * share, linewidth=0))  # fmt: skip
        if not many and counts[row, column]:
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=7,
                color=LIGHT["ink"],
            )
    axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5), aspect="equal")
    size = 7 if many else 8
    axes.set_xticks(range(len(classes)), list(map(words, classes)), rotation=90, fontsize=size)
    axes.set_yticks(range(len(classes)), list(map(words, classes)), fontsize=size)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(True)
    label_axes(axes, "predicted", "label")
    rows = [
        (label, predicted, int(counts[i, j]), float(shares[i, j]))
        for i, label in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    numbers = "Shade" if many else "Number: clips; shade"
    caption = f"{numbers}: share of the label's clips; blue where right, orange where wrong. {over}"
    header = ("label", "predicted", "clips", "share_of_label")
    return Picture(name, "Confusion matrix", caption, figure, header, rows, wide=many)


def recall_pairs(
    name: str,
    teacher: np.ndarray,
    student: np.ndarray,
    clips: np.ndarray,
    classes: Sequence[str],
    over: str,
    look: Look,
) -> Picture:
    """Share of each class' clips that are found, (classes,) in [0, 1] or NaN; ``clips``: how many there are."""
    figure, axes = figure_with_axes("Recall by class", look, height=1.3 + 0.24 * len(classes))
    places = np.arange(len(classes))
    axes.hlines(
        places,
        100 * np.fmin(teacher, student),
        100 * np.fmax(teacher, student),
        color=LIGHT["muted"],
        linewidth=1.4,
    )
    axes.plot(
        100 * teacher, places, linestyle="none", marker="s", markersize=5.5, color=colour(1), label="teacher"
    )
    axes.plot(
        100 * student, places, linestyle="none", marker="o", markersize=5.5, color=colour(0), label="student"
    )
    axes.set_yticks(places, list(map(words, classes)), fontsize=8)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_xlim(-3, 103)
    label_axes(axes, "recall, %")
    legend_below(figure, 2)
    rows = [(name, int(n), float(t), float(s)) for name, n, t, s in zip(classes, clips, teacher, student)]
    caption = f"Share of each class' held-out clips that are found, teacher against student. {over}"
    header = ("class", "clips", "teacher_recall", "student_recall")
    return Picture(name, "Recall by class", caption, figure, header, rows)
