"""Held-out clips where a network puts them: t-SNE of the embeddings (van der Maaten and Hinton 2008)."""

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
    marker,
    words,
)

SEED = 0
PERPLEXITY = 30.0
STEPS = 500

#: t-SNE of fewer says nothing.
FEWEST = 8


def perplexity(clips: int) -> float:
    """30, less for few clips: each point needs three times as many neighbours."""
    return min(PERPLEXITY, (clips - 1) / 3)


def checked(embeddings: np.ndarray) -> np.ndarray:
    """The embeddings as float64; ``ValueError`` for fewer than 8 clips or values that are not finite."""
    values = np.asarray(embeddings, dtype=np.float64)
    if values.ndim != 2 or len(values) < FEWEST or not np.isfinite(values).all():
        raise ValueError(f"embeddings {values.shape}: expected at least {FEWEST} clips, all values finite")
    return values


def projection(embeddings: np.ndarray) -> np.ndarray:
    """(clips, 2) float64 of (clips, D) with fixed seed, begun from the principal components.

    Raises ``ValueError`` for fewer than 8 clips or values that are not finite.
    """
    from sklearn.manifold import TSNE

    values = checked(embeddings)
    # The scale of a network's embedding is its own; t-SNE's start and its tolerance are not free of it.
    scale = values.std()
    values = (values - values.mean(0)) / (scale if scale > 0 else 1.0)
    init = "pca" if values.shape[1] >= 2 else "random"
    method = TSNE(n_components=2, perplexity=perplexity(len(values)), init=init, random_state=SEED, max_iter=STEPS)
    return np.asarray(method.fit_transform(values), dtype=np.float64)


def scatter(
    name: str,
    title: str,
    embeddings: np.ndarray,
    labels: np.ndarray,
    clips: Sequence[str],
    classes: Sequence[str],
    over: str,
    look: Look,
) -> Picture:
    """The t-SNE of ``embeddings`` (clips, D) by class; ``over`` says of which run they are. The axes have no unit.

    Raises ``ValueError`` as ``projection``.
    """
    checked(embeddings)
    caption = (
        f"t-SNE of the embeddings (perplexity {perplexity(len(embeddings)):.3g}, seed {SEED}). {over} Near points are "
        "alike to the network; distances between groups mean little."
    )
    inputs = (title, embeddings, labels, tuple(clips), tuple(classes), look)
    return Picture(name, title, caption, draw_scatter, inputs)


def draw_scatter(
    title: str,
    embeddings: np.ndarray,
    labels: np.ndarray,
    clips: Sequence[str],
    classes: Sequence[str],
    look: Look,
) -> Drawing:
    points = projection(embeddings)
    longest = max(map(len, classes))
    columns = 3 if longest < 18 else 2 if longest < 30 else 1
    lines = -(-len(classes) // columns)
    figure, axes = figure_with_axes(title, look, width=WIDTH, height=WIDTH - 0.6 + 0.18 * lines)
    for index, label in enumerate(classes):
        of_class = points[labels == index]
        axes.plot(
            of_class[:, 0],
            of_class[:, 1],
            linestyle="none",
            marker=marker(index),
            markersize=3.6,
            alpha=0.8,
            color=colour(index),
            markeredgewidth=0,
            label=words(label),
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(LIGHT["grid"])
    legend_below(figure, columns, length=0.8)
    rows = [
        (clip, classes[int(label)], float(x), float(y))
        for clip, label, (x, y) in zip(clips, labels, points, strict=True)
    ]
    return Drawing(figure, ("clip", "class", "x", "y"), rows)
