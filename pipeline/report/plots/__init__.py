"""Figures of finished runs → pictures: PNG, SVG, and the CSV of the numbers that are drawn.

One function per picture: plain numbers in, a ``Picture`` out; ``save`` draws it and writes its three files, ``kept``
finds them again. Conventions: accuracies are in percent; a run is known by its cell, (fold, seed); nothing is drawn
that is not in the CSV. The same numbers give the same bytes. Needs matplotlib, the extra ``plots``; nothing global of
it is changed.
"""

from __future__ import annotations

from pipeline.report.plots.classes import class_pairs, confusion_matrix
from pipeline.report.plots.curves import accuracy_curves, term_curves
from pipeline.report.plots.embeddings import projection, scatter
from pipeline.report.plots.folds import difference_points, fold_points
from pipeline.report.plots.measured import interval_points, overlap_lines
from pipeline.report.plots.picture import (
    Look,
    Picture,
    inline,
    kept,
    require_matplotlib,
    save,
)

__all__ = [
    "Look",
    "Picture",
    "accuracy_curves",
    "class_pairs",
    "confusion_matrix",
    "difference_points",
    "fold_points",
    "inline",
    "interval_points",
    "kept",
    "overlap_lines",
    "projection",
    "require_matplotlib",
    "save",
    "scatter",
    "term_curves",
]
