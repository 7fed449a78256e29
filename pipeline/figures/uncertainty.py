"""How unsure an answer is, and why: because the clip is ambiguous (data), or because it is unlike what was learned (knowledge).

total = data + knowledge, in nats, per clip. Of an ensemble, knowledge is how much its members disagree (their mutual
information, Depeweg et al. 2018); of a network that learned the term ``dirichlet``, α_c = exp(z_c) is the density of such
members' answers and the same figures follow from its outputs alone (Malinin, Mlodozeniec and Gales 2020).

Conventions: logits are (clips, classes), an ensemble's (members, clips, classes); all sums run in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import digamma, logsumexp, softmax, xlogy
from scipy.stats import rankdata

#: Outputs above this count as this, as in the term ``dirichlet``: α = 10⁴.
SUREST = 9.2


class Uncertainty(NamedTuple):
    """Each (clips,), in nats."""

    total: np.ndarray
    """Entropy of the class probabilities."""
    data: np.ndarray
    """Mean entropy of the members' answers."""

    @property
    def knowledge(self) -> np.ndarray:
        """How much the members disagree, at least 0."""
        return np.maximum(self.total - self.data, 0.0)


def of_dirichlet(logits: np.ndarray) -> Uncertainty:
    """Of a network that learned ``dirichlet``, at T = 1.

    data = −Σ_c (α_c / α_0) (ψ(α_c + 1) − ψ(α_0 + 1)), with total the entropy of α / α_0.
    """
    concentrations = np.exp(np.minimum(np.asarray(logits, dtype=np.float64), SUREST))
    total = concentrations.sum(-1, keepdims=True)
    p = concentrations / total
    return Uncertainty(entropy(p), -(p * (digamma(concentrations + 1) - digamma(total + 1))).sum(-1))


def of_members(logits: np.ndarray) -> Uncertainty:
    """Of an ensemble: entropy of the mean answer, and mean entropy of the answers."""
    answers = softmax(np.asarray(logits, dtype=np.float64), axis=-1)
    return Uncertainty(entropy(answers.mean(0)), entropy(answers).mean(0))


def pairwise(logits: np.ndarray) -> np.ndarray:
    """Expected KL divergence between two answers of the density, (C − 1) / α_0: (clips, classes) → (clips,), in nats."""
    scores = np.minimum(np.asarray(logits, dtype=np.float64), SUREST)
    return (scores.shape[-1] - 1) * np.exp(-logsumexp(scores, axis=-1))  # type: ignore[no-any-return]


def entropy(p: np.ndarray) -> np.ndarray:
    """−Σ_c p_c log p_c over the last axis, in nats; 0 · log 0 is 0."""
    return -xlogy(p, p).sum(-1)  # type: ignore[no-any-return]


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive clip scores above another one, ties counted half.

    scores (clips,) float, positive (clips,) bool; 0.5 is chance, NaN where all clips are of one kind.
    """
    above = int(np.count_nonzero(positive))
    below = len(positive) - above
    if not above or not below:
        return float("nan")
    ranks = float(rankdata(scores)[np.asarray(positive, dtype=bool)].sum())
    return (ranks - above * (above + 1) / 2) / (above * below)
