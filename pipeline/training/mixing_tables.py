"""With which clips of its batch each is mixed in an epoch, and by how much: whole inputs (``mixup``), or how loud each bin is (``mixstyle``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.config import TrainSettings
from pipeline.training.randomness import generator, seed_of

if TYPE_CHECKING:
    from pipeline.training.sampling import EpochTables
    from pipeline.training.task import Run

#: Added to a variance before its root, as the authors' code does.
EPSILON = 1e-6


def how_mixed(
    runs: Sequence[Run], counts: Sequence[int], settings: TrainSettings, epoch: int, device: torch.device
) -> tuple[Tensor | None, ...]:
    """``mixing_tables`` and ``style_tables`` on a device."""
    tables = (*mixing_tables(runs, counts, settings, epoch), *style_tables(runs, counts, settings, epoch))
    return tuple(None if table is None else table.to(device) for table in tables)


def mixing_tables(
    runs: Sequence[Run], counts: Sequence[int], settings: TrainSettings, epoch: int
) -> tuple[Tensor | None, Tensor | None]:
    """Partners (steps, R, B) int64, a permutation of each batch, and shares (steps, R, B) float32, from ½ to 1; None without ``mixup``.

    A share is max(b, 1 − b), b from Beta(mixup, mixup): a clip's own label is that of the larger part. Of each run from
    (seed, fold, epoch) alone; steps beyond its own ``counts`` mix nothing.
    """
    if not settings.mixup:
        return None, None
    partners, shares = drawn("mixup", settings.mixup, runs, counts, settings.batch, epoch)
    return partners, shares.maximum(1 - shares).float()


def style_tables(
    runs: Sequence[Run], counts: Sequence[int], settings: TrainSettings, epoch: int
) -> tuple[Tensor | None, Tensor | None]:
    """The same of ``mixstyle``: a share is b from Beta(mixstyle_alpha, mixstyle_alpha) in the steps that mix, each with the chance
    ``mixstyle``; 1 in all others."""
    if not settings.mixstyle:
        return None, None
    partners, shares = drawn("mixstyle", settings.mixstyle_alpha, runs, counts, settings.batch, epoch)
    for r, (run, count) in enumerate(zip(runs, counts)):
        unmixed = torch.rand(count, generator=generator("mixstyle batches", run, epoch)) >= settings.mixstyle
        shares[:count, r][unmixed] = 1.0
    return partners, shares.float()


def drawn(
    purpose: str, alpha: float, runs: Sequence[Run], counts: Sequence[int], batch: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """Permutations of each batch, and float64 shares from Beta(alpha, alpha); 1 beyond a run's own ``counts``."""
    partners = torch.arange(batch).repeat(max(counts), len(runs), 1)
    shares = torch.ones(max(counts), len(runs), batch, dtype=torch.float64)
    for r, (run, count) in enumerate(zip(runs, counts)):
        partners[:count, r] = torch.rand(count, batch, generator=generator(purpose, run, epoch)).argsort(1)
        random = np.random.Generator(np.random.PCG64(seed_of(f"{purpose} shares", run, epoch)))
        shares[:count, r] = torch.from_numpy(random.beta(alpha, alpha, (count, batch)))
    return partners, shares


def restyled(x: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Samples (B, R, C, H, W) of which each feature and bin is given the mean and deviation over time of m · own + (1 − m) · partner's.

    ``partners`` (B, R): of each clip the place of its partner in the batch; ``shares`` (B, R): m; with m = 1 a clip is as it was, bit for bit.
    x' = (x − μ) / σ · σ' + μ', σ = √(var + 10⁻⁶): MixStyle (Zhou et al. 2021) over frequencies, as Schmid et al. have it (DCASE 2023), there
    over channels too: here channels are features of other units.
    """
    values = x.float()
    mean, variance = values.mean(-1, keepdim=True), values.var(-1, keepdim=True, correction=0)
    deviation = (variance + EPSILON).sqrt()
    ones = [1] * (x.ndim - 2)
    index, share = partners.reshape(*partners.shape, *ones), shares.reshape(*shares.shape, *ones)
    mixed = [share * own + (1 - share) * own.gather(0, index.expand_as(own)) for own in (mean, deviation)]
    changed = (values - mean) / deviation * mixed[1] + mixed[0]
    return torch.where(share == 1, x, changed.to(x.dtype))


def with_styles(tables: EpochTables, step: Tensor, x: Tensor, runs: slice) -> Tensor:
    """Samples (B, R', C, H, W) of some runs with their bins as loud as in mixtures of two clips, in steps (1,) that mix them so."""
    if tables.style_partners is None or tables.style_shares is None:
        return x
    both = (tables.style_partners, tables.style_shares)
    partners, shares = (table.index_select(0, step)[0][runs].t() for table in both)
    return restyled(x, partners, shares)
