"""Class by class: what is taken for what, and what teacher and student find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.report.plots.picture import (
    LIGHT,
    WIDTH,
    Drawing,
    Look,
    Picture,
    colour,
    figure_with_axes,
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
    many = len(classes) > COUNTED_CLASSES
    numbers = "Shade" if many else "Number: clips; shade"
    caption = f"{numbers}: share of the label's clips; blue where right, orange where wrong. {over}"
    inputs = (counts, tuple(classes), look)
    return Picture(name, "Confusion matrix", caption, draw_confusion_matrix, inputs, wide=many)


def draw_confusion_matrix(counts: np.ndarray, classes: Sequence[str], look: Look) -> Drawing:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    many = len(classes) > COUNTED_CLASSES
    side = 0.17 * len(classes) + 2 if many else WIDTH
    figure, axes = figure_with_axes("Confusion matrix", look, "predicted", "label", width=side, height=side)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    filled = np.argwhere(shares > 0)  # row, column
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    shades = [to_rgba(colour(0 if row == column else 1), DARKEST * shares[row, column]) for row, column in filled]
    axes.grid(False)
    axes.add_collection(PolyCollection(filled[:, None, ::-1] + corners, facecolors=shades, linewidths=0))
    if not many:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=LIGHT["ink"])
    axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5), aspect="equal")
    size = 7 if many else 8
    axes.set_xticks(range(len(classes)), list(map(words, classes)), rotation=90, fontsize=size)
    axes.set_yticks(range(len(classes)), list(map(words, classes)), fontsize=size)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(True)
    rows = [
        (label, predicted, int(counts[i, j]), float(shares[i, j]))
        for i, label in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    return Drawing(figure, ("label", "predicted", "clips", "share_of_label"), rows)


#: What the two marks of a class are → the caption.
PAIRS = {
    "recall": "Share of each class' held-out clips that are found",
    "average precision": "Average precision of each class on the held-out clips",
}


def class_pairs(
    name: str,
    teacher: np.ndarray,
    student: np.ndarray,
    clips: np.ndarray,
    classes: Sequence[str],
    over: str,
    look: Look,
    figure_of: str = "recall",
) -> Picture:
    """One of ``PAIRS`` of each class, (classes,) in [0, 1] or NaN; ``clips``: how many there are. ``over``: of which runs."""
    caption = f"{PAIRS[figure_of]}, teacher against student. {over}"
    inputs = (teacher, student, clips, tuple(classes), look, *([] if figure_of == "recall" else [figure_of]))
    return Picture(name, titled(figure_of), caption, draw_class_pairs, inputs)


def titled(figure_of: str) -> str:
    return f"{figure_of.capitalize()} by class"


def draw_class_pairs(
    teacher: np.ndarray,
    student: np.ndarray,
    clips: np.ndarray,
    classes: Sequence[str],
    look: Look,
    figure_of: str = "recall",
) -> Drawing:
    figure, axes = figure_with_axes(titled(figure_of), look, f"{figure_of}, %", height=1.3 + 0.24 * len(classes))
    places = np.arange(len(classes))
    low, high = 100 * np.fmin(teacher, student), 100 * np.fmax(teacher, student)
    axes.hlines(places, low, high, color=LIGHT["muted"], linewidth=1.4)
    for label, recalls, index, shape in (("teacher", teacher, 1, "s"), ("student", student, 0, "o")):
        axes.plot(
            100 * recalls,
            places,
            linestyle="none",
            marker=shape,
            markersize=5.5,
            color=colour(index),
            label=label,
        )
    axes.set_yticks(places, list(map(words, classes)), fontsize=8)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_xlim(-3, 103)
    legend_below(figure, 2)
    rows = [(name, int(n), float(t), float(s)) for name, n, t, s in zip(classes, clips, teacher, student)]
    return Drawing(
        figure, ("class", "clips", *(f"{side}_{figure_of.replace(' ', '_')}" for side in ("teacher", "student"))), rows
    )
