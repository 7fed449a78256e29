"""Terms of mixed inputs: x = m x_i + (1 − m) x_j, each clip i of a batch with a partner j.

L = Σ_i [m_i l(z_i, t_i) + (1 − m_i) l(z_i, t_j)] / Σ_i 1

z_i is what the student says of the mixture, t the label or what a teacher said of the clip by itself, l the cost of one clip. Zhang et
al. 2018 (mixup); with stored outputs of teachers Schmid, Koutini and Widmer 2023 (EfficientAT). Cross-entropies are linear in the
target, so that this is the cost against the mixture of the targets; the divergence of ``hinton`` differs from that by a number
without gradient. A mixture of logits would be another thing. A teacher that hears the mixture itself needs none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.losses.probabilities import mean_of_clips
from pipeline.losses.rows import Single


class Mixing(NamedTuple):
    """How the inputs of a step are mixed. R runs, batches of B."""

    partners: Tensor
    """(R, B) int64: of each clip the place of its partner in the batch."""
    shares: Tensor
    """(R, B) float32: of each clip its own part m."""
    live: bool
    """Whether teachers hear the mixtures."""

    def of(self, runs: Tensor | None) -> Mixing:
        """Those of some runs; None: all."""
        if runs is None:
            return self
        return Mixing(self.partners.index_select(0, runs), self.shares.index_select(0, runs), self.live)


class Twice:
    """Outputs (R, B, ...) and behind them, on the axis of clips, the same once more: in the order of ``partners`` where given."""

    def __init__(self, outputs: Any, partners: Tensor | None = None) -> None:
        self._outputs, self._partners = outputs, partners

    def __getattr__(self, name: str) -> Tensor:
        value = getattr(self._outputs, name)
        if self._partners is None:  # one gradient for both, whatever lies between: runs in packs keep their bits
            return value.repeat(1, 2, *[1] * (value.ndim - 2))
        return torch.cat([value, of_partners(value, self._partners)], 1)


def of_partners(values: Tensor, partners: Tensor) -> Tensor:
    """Values (R, B, ...) of each clip's partner (R, B)."""
    index = partners.reshape(*partners.shape, *[1] * (values.ndim - 2))
    return values.gather(1, index.expand(-1, -1, *values.shape[2:]))


def mixed_inputs(x: Tensor, mixing: Mixing | None, runs: slice) -> Tensor:
    """Samples (B, R', ...) of some runs, each mixed with its partner's; as they are without ``mixing``."""
    if mixing is None:
        return x
    partners, shares = (one[runs].t() for one in mixing[:2])
    ones = [1] * (x.ndim - 2)
    others = x.gather(0, partners.reshape(*partners.shape, *ones).expand_as(x))
    share = shares.reshape(*shares.shape, *ones)
    return (share * x + (1 - share) * others).to(x.dtype)


def mixed_term(
    function: Callable[..., Tensor], rows: str, masked: bool, student: Any, teacher: Any, labels: Tensor, mixing: Mixing
) -> Tensor:
    """A term (R,) whose targets are mixed: of clip and partner with the shares as weights.

    ``rows``: "labelled" and "unlabelled" count the pairs of which both have a label, or neither. Without a teacher a pair counts
    where both have a label; what does not count is in neither sum. ``masked``: the loss takes the weights itself, as ``rows``.
    """
    both = torch.cat([labels, of_partners(labels, mixing.partners)], 1)
    known = (labels >= 0).float() + (of_partners(labels, mixing.partners) >= 0).float()
    counted = torch.ones_like(mixing.shares)
    if rows == "labelled" or teacher is None:
        counted = (known == 2).to(counted)
    elif rows == "unlabelled":
        counted = (known == 0).to(counted)
    weights = torch.cat([counted * mixing.shares, counted * (1 - mixing.shares)], 1)
    students, teachers = Twice(student), None if teacher is None else Twice(teacher, mixing.partners)
    if masked:
        return function(students, teachers, both, rows=weights)
    values = function(Single(students), None if teachers is None else Single(teachers), both[..., None])
    return mean_of_clips(values, weights)
