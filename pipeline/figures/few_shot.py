"""Few-shot accuracy: classes that a network never trained on, told by the nearest mean of a few examples each (Snell et al. 2017).

Conventions. An episode shows ``shot`` clips of each of ``way`` classes and asks for ``query`` others of each, of other recordings. A
query is given the class whose mean is nearest (squared Euclidean distance); of equally near ones the first. The interval is the papers':
mean ± 1.96 · sd / √episodes, over the episodes of one network; it says nothing of other networks, seeds or classes.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.samplers import Episode

#: Of a normal distribution, either side: 95 %.
DEVIATIONS = 1.96


def accuracies(embeddings: np.ndarray, episodes: np.ndarray, shot: int) -> np.ndarray:
    """(episodes,) float64 shares of queries that are given their own class.

    embeddings (clips, D); episodes (episodes, way, shot + query) places of clips. NaN where an embedding is not finite.
    """
    values = np.asarray(embeddings, np.float64)
    values = values - values.mean(0)  # |a|² + |b|² − 2ab loses the digits of a shared offset
    shares = np.empty(len(episodes))
    for number, clips in enumerate(episodes):
        support, queries = values[clips[:, :shot]], values[clips[:, shot:]]
        prototypes = support.mean(1)
        asked = queries.reshape(-1, values.shape[1])
        squares = (prototypes**2).sum(1)[None] - 2 * asked @ prototypes.T
        right = squares.argmin(1) == np.repeat(np.arange(len(clips)), queries.shape[1])
        shares[number] = right.mean() if np.isfinite(squares).all() else math.nan
    return shares


def half_width(shares: np.ndarray) -> float:
    """1.96 · sd / √episodes of episodes' accuracies (episodes,), sd with n − 1; NaN of fewer than two."""
    return float(DEVIATIONS * shares.std(ddof=1) / math.sqrt(len(shares))) if len(shares) > 1 else math.nan


def named(episode: Episode) -> str:
    return f"{episode.way}-way {episode.shot}-shot"
