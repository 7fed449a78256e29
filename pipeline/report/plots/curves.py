"""Learning curves of the runs of one mix: mean and band over the runs, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.figures.statistics import Cell
from pipeline.plurals import many
from pipeline.report.plots.picture import (
    DASHES,
    LIGHT,
    Drawing,
    Look,
    Picture,
    colour,
    figure_with_axes,
    legend_below,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Histories = Mapping[Cell, Sequence[Mapping[str, Any]]]
"""Cell → the lines of its ``metrics.jsonl``."""
Value = Callable[[Mapping[str, Any]], float | None]

TOTAL = "total"

BAND = "Line: mean over {runs}; band: lowest to highest run."


class Curve(NamedTuple):
    """One quantity over the epochs; arrays (epochs,) of float64 but for the last."""

    epochs: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    """With n − 1; NaN where one run has the epoch."""
    low: np.ndarray
    high: np.ndarray
    runs: np.ndarray
    """How many runs have the epoch, int64."""


def curve(histories: Histories, value: Value) -> Curve:
    """``value`` of each epoch's record, over the runs that have that epoch and a finite number there."""
    by_epoch: dict[int, list[float]] = {}
    for records in histories.values():
        for record in records:
            figure = value(record)
            if figure is not None and np.isfinite(figure):
                by_epoch.setdefault(int(record["epoch"]), []).append(float(figure))
    epochs = sorted(by_epoch)
    groups = [np.array(by_epoch[epoch]) for epoch in epochs]
    figures = [[g.mean(), g.std(ddof=1) if len(g) > 1 else np.nan, g.min(), g.max()] for g in groups]
    mean, sd, low, high = np.array(figures, dtype=np.float64).reshape(-1, 4).T
    return Curve(np.array(epochs), mean, sd, low, high, np.array([len(g) for g in groups], dtype=np.int64))


def draw(axes: Axes, curve: Curve, name: str, index: int, ink: str | None = None) -> None:
    tint = ink or colour(index)
    # One epoch is no line: a point shows it.
    dots = "o" if len(curve.epochs) == 1 else None
    axes.plot(
        curve.epochs,
        curve.mean,
        color=tint,
        linestyle=DASHES[index % len(DASHES)],
        linewidth=1.8,
        label=name,
        marker=dots,
    )
    axes.fill_between(curve.epochs, curve.low, curve.high, color=tint, alpha=0.16, linewidth=0)


def epoch_axis(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def counted(histories: Histories) -> str:
    return many(len(histories), "run")


def wide_range(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether a logarithmic scale shows more: all values positive, the largest several times the smallest."""
    return len(low) > 0 and bool(low.min() > 0) and bool(high.max() > 4 * low.min())


def logarithmic_axis(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


PRECISION = "Mean average precision"

COLUMNS = ("mean", "sd", "low", "high", "runs")


def table(curve: Curve, *names: str) -> list[tuple[object, ...]]:
    return [
        (int(epoch), *names, float(mean), float(sd), float(low), float(high), int(runs))
        for epoch, mean, sd, low, high, runs in zip(*curve)
    ]


def percent_of(key: str) -> Value:
    """100 × an epoch's figure; None where its record has none."""
    return lambda record: None if record.get(key) is None else 100 * record[key]


def term_value(term: str, kind: str) -> Value:
    """An epoch's ``raw`` or ``weighted`` term; None where its record has none."""
    return lambda record: record.get("terms", {}).get(term, {}).get(kind)


def accuracy_curves(name: str, histories: Histories, look: Look) -> Picture:
    """Percent of the held-out fold's clean clips and of the training rows, over the epochs.

    The training figure is that of the epoch's own steps (batch norm and weights as they were), both views.
    """
    if any("map" in record for records in histories.values() for record in records):
        return precision_curves(name, histories, look)
    series = {"held-out": "accuracy", "training": "train_accuracy"}
    curves = {words: curve(histories, percent_of(key)) for words, key in series.items()}
    caption = (
        "Accuracy on the held-out fold's clean clips and on the training clips (both views, during the epoch). "
        + BAND.format(runs=counted(histories))
    )
    return Picture(f"{name}-accuracy", "Accuracy", caption, draw_accuracies, (curves, look))


def precision_curves(name: str, histories: Histories, look: Look) -> Picture:
    """``accuracy_curves`` of clips with several labels: the mean average precision of the held-out ones."""
    curves = {"held-out": curve(histories, percent_of("map"))}
    caption = f"Mean average precision on the held-out fold's clean clips. {BAND.format(runs=counted(histories))}"
    return Picture(f"{name}-map", PRECISION, caption, draw_accuracies, (curves, look, PRECISION))


def draw_accuracies(curves: Mapping[str, Curve], look: Look, title: str = "Accuracy") -> Drawing:
    figure, axes = figure_with_axes(title, look, "epoch", f"{title.lower()}, %")
    for index, (words, of_rows) in enumerate(curves.items()):
        draw(axes, of_rows, words, index)
    epoch_axis(axes)
    axes.set_ylim(bottom=0)
    legend_below(figure, 2)
    rows = [row for words, of_rows in curves.items() for row in table(of_rows, words)]
    return Drawing(figure, ("epoch", "of", *COLUMNS), rows)


def term_curves(name: str, histories: Histories, look: Look) -> Picture:
    """The training loss and its terms, each times its weight; the CSV has the terms without it too (``raw``)."""
    terms = sorted({term for records in histories.values() for record in records for term in record.get("terms", {})})
    curves = {(TOTAL, "weighted"): curve(histories, lambda record: record.get("loss"))}
    for term in terms:
        for kind in ("weighted", "raw"):
            curves[term, kind] = curve(histories, term_value(term, kind))
    # Of one term the total is the same line.
    drawn = {term: curves[term, "weighted"] for term in ([*terms, TOTAL] if len(terms) != 1 else terms)}
    logarithmic = wide_range(*(np.concatenate([getattr(c, end) for c in drawn.values()]) for end in ("low", "high")))
    caption = (
        f"Training loss: each term times its weight{', logarithmic scale' if logarithmic else ''}, mean over the "
        f"epoch's steps. The CSV also has the terms without their weights. {BAND.format(runs=counted(histories))}"
    )
    inputs = (drawn, curves, logarithmic, look)
    return Picture(f"{name}-terms", "Loss and its terms", caption, draw_terms, inputs)


def draw_terms(
    drawn: Mapping[str, Curve], curves: Mapping[tuple[str, str], Curve], logarithmic: bool, look: Look
) -> Drawing:
    figure, axes = figure_with_axes("Loss and its terms", look, "epoch", "weight × term")
    for index, (term, of_term) in enumerate(drawn.items()):
        total = term == TOTAL
        draw(axes, of_term, term, 0 if total else index, ink=LIGHT["ink"] if total else None)
    if logarithmic:
        logarithmic_axis(axes)
    epoch_axis(axes)
    legend_below(figure, 3)
    rows = [row for names, of_term in curves.items() for row in table(of_term, *names)]
    return Drawing(figure, ("epoch", "term", "kind", *COLUMNS), rows)
