"""Recall@K: what a space of embeddings is worth by itself, without the layer that names the classes.

Conventions. Every clip is a query once; its gallery is all other clips that were cut from other recordings. A query
counts as answered at K if one of its K nearest clips has its class (Jégou et al. 2011; so measured in Park et al.
2019, section 4.1). A query whose class has no clip in its gallery cannot be answered by any embedding: it is left
out, and ``answerable`` says how many are not. Equally distant clips come in no order: a tie gives the expected value
over all of its orders, so a space that collapsed to one point scores as chance does, and not as its clips are sorted.
All sums run in float64. The metrics:

- ``euclidean``: |a − b| of the embeddings as they are, which is what the relational terms shape;
- ``cosine``: 1 − cos(a, b), the same order as the Euclidean distance of L2-normalised embeddings. A zero row is
  orthogonal to every other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

KS = (1, 2, 4, 8)
METRICS = ("euclidean", "cosine")

#: Squared distances that differ by less than this share of the largest one are ties: it is what rounding leaves.
ROUNDING = 1e-12


def distances(embeddings: np.ndarray, metric: str) -> np.ndarray:
    """(n, D) → (n, n) float64: squared Euclidean distances, of L2-normalised rows for ``cosine``; same order."""
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}: expected one of {', '.join(METRICS)}")
    values = np.asarray(embeddings, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"embeddings of shape {values.shape}: expected (clips, D)")
    if metric == "cosine":
        length = np.linalg.norm(values, axis=1, keepdims=True)
        values = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
        return 1 - values @ values.T
    # Centred first: |a|² + |b|² − 2ab loses the digits that a shared offset takes.
    values = values - values.mean(axis=0, keepdims=True)
    squares = (values**2).sum(axis=1)
    return np.maximum(squares[:, None] + squares[None] - 2 * values @ values.T, 0)


def galleries(labels: np.ndarray, sources: Sequence[str] | np.ndarray) -> np.ndarray:
    """(n, n) boolean: clip j is in the gallery of query i, being of another recording (and so another clip)."""
    names = np.asarray(sources, dtype=np.str_)
    if names.shape != np.shape(labels):
        raise ValueError(f"{len(names)} sources for {np.shape(labels)} labels; expected one each")
    other = names[:, None] != names[None]
    np.fill_diagonal(other, False)
    return other


def answerable(labels: np.ndarray, sources: Sequence[str] | np.ndarray) -> np.ndarray:
    """(n,) boolean: the queries whose gallery has a clip of their class."""
    labels = np.asarray(labels)
    return (galleries(labels, sources) & (labels[:, None] == labels[None])).any(axis=1)


def recall(
    embeddings: np.ndarray,
    labels: np.ndarray,
    sources: Sequence[str] | np.ndarray,
    *,
    metric: str = "euclidean",
    ks: Sequence[int] = KS,
) -> dict[int, float]:
    """Recall@K in [0, 1] for each K, over the answerable queries; NaN where there is none.

    embeddings (n, D); labels (n,); sources (n,): the recording each clip was cut from. Not finite embeddings are NaN.
    """
    by_query = answers(embeddings, labels, sources, metric=metric, ks=ks)
    if not len(by_query) or np.isnan(by_query).any():
        return dict.fromkeys(ks, math.nan)
    return dict(zip(ks, by_query.mean(axis=0).tolist(), strict=True))


def answers(
    embeddings: np.ndarray,
    labels: np.ndarray,
    sources: Sequence[str] | np.ndarray,
    *,
    metric: str = "euclidean",
    ks: Sequence[int] = KS,
) -> np.ndarray:
    """(queries, K) float64 in [0, 1]: how surely each answerable query, in order, is answered at each K.

    0 or 1 but for ties; NaN where an embedding is not finite. Arguments as of ``recall``.
    """
    labels = np.asarray(labels)
    gallery, wanted = galleries(labels, sources), labels[:, None] == labels[None]
    queries = np.flatnonzero(answerable(labels, sources))
    if not np.isfinite(embeddings).all():
        return np.full((len(queries), len(ks)), np.nan)
    far = distances(embeddings, metric)
    tie = ROUNDING * float(far.max(initial=0.0))
    shares = [hits(far[q, gallery[q]], wanted[q, gallery[q]], ks, tie) for q in queries]
    return np.array(shares, dtype=np.float64).reshape(len(queries), len(ks))


def hits(far: np.ndarray, wanted: np.ndarray, ks: Sequence[int], tie: float = 0.0) -> list[float]:
    """For each K the probability that one of the K nearest of a gallery is wanted; 0 or 1 where there is no tie.

    far (m,), wanted (m,) boolean. At the K-th distance, with s places left for t equally distant clips of which p
    are wanted, 1 − C(t − p, s) / C(t, s).
    """
    order = np.argsort(far, kind="stable")
    ranked = far[order]
    first = int(np.argmax(wanted[order]))  # rank of the nearest wanted clip; it exists
    start = int(np.searchsorted(ranked, ranked[first] - tie, "left"))
    tied = slice(start, int(np.searchsorted(ranked, ranked[first] + tie, "right")))
    total, good = tied.stop - tied.start, int(wanted[order][tied].sum())
    return [answered(k - start, total, good) for k in ks]


def answered(places: int, total: int, good: int) -> float:
    """P(one of ``good`` among ``total`` in random order is in the first ``places``)."""
    if places <= 0:
        return 0.0
    if places >= total:
        return 1.0
    return 1 - math.comb(total - good, places) / math.comb(total, places)
