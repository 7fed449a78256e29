"""Spread of a mix over folds and seeds, and its paired comparison with the baseline.

Conventions. A *cell* is one (fold, seed); ``values`` maps cells to one number a run, in any unit, and the
results are in that unit. Standard deviations divide by n − 1 and are None where n < 2. A test that the
data cannot answer (fewer than two differences, or differences that are all the same but not zero) has
p = None, never 0.

Why corrected. The training sets of two folds overlap, so the folds' differences are not independent and
the ordinary paired t-test finds effects that are not there. Nadeau and Bengio (2003) replace the variance
of the mean, σ²/n, by (1/n + n_test/n_train)·σ². For k folds n_test/n_train = 1/(k − 1). With r seeds a fold
the n = k·r differences enter together, as for repeated cross-validation in Bouckaert and Frank (2004):
t = mean / √((1/(k·r) + n_test/n_train)·σ²), k·r − 1 degrees of freedom.

What that leaves open. Bouckaert and Frank draw new folds for each repetition; here the seeds of one fold
share their clips. Where folds differ more than seeds, k·r − 1 counts too many degrees of freedom and p is
too small; where seeds differ more, the correction multiplies their noise too and p is too large. The same
test on the k means over seeds (k − 1 degrees of freedom) does neither, and stands beside it as ``p_folds``;
to claim an effect, take the larger of the two. Wilcoxon's signed-rank test has no correction at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

Cell = tuple[int, int]
"""(fold, seed)."""

CONFIDENCE = 0.95

#: Differences whose standard deviation is below this share of their size differ by rounding only.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Spread:
    """Mean and spread of one mix."""

    mean: float
    """Of the folds' means, so that a fold with more seeds weighs no more."""
    sd_folds: float | None
    """Over the folds' means (over seeds)."""
    sd_seeds: float | None
    """Over the seeds' means (over folds), of the seeds that have every fold."""
    n: int
    """Runs."""
    folds: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class TTest:
    mean: float
    low: float | None
    high: float | None
    t: float | None
    df: int
    p: float | None
    """Two-sided."""


@dataclass(frozen=True)
class Comparison:
    """A mix less the baseline, paired by (fold, seed)."""

    difference: float
    low: float | None
    """Ends of the 95 % interval, by the same test as ``p``."""
    high: float | None
    p: float | None
    """Corrected resampled t-test over fold × seed."""
    p_folds: float | None
    """The same over the folds' means; see the module's top."""
    p_wilcoxon: float | None
    """Signed ranks over fold × seed, uncorrected."""
    n: int
    """Pairs."""
    ratio: float
    """n_test / n_train of the correction."""


def by_fold(values: Mapping[Cell, float]) -> dict[int, float]:
    """Each fold's mean over its seeds."""
    folds = sorted({fold for fold, _ in values})
    return {k: float(np.mean([value for (fold, _), value in values.items() if fold == k])) for k in folds}


def by_seed(values: Mapping[Cell, float]) -> dict[int, float]:
    """Each seed's mean over the folds, of the seeds that have every fold: others would bring the folds' spread."""
    folds = {fold for fold, _ in values}
    seeds = sorted({seed for _, seed in values})
    whole = [s for s in seeds if all((fold, s) in values for fold in folds)]
    return {s: float(np.mean([values[fold, s] for fold in sorted(folds)])) for s in whole}


def sd(values: Sequence[float]) -> float | None:
    """Standard deviation with n − 1, None for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def spread(values: Mapping[Cell, float]) -> Spread:
    """Mean, sd over folds and over seeds, and n; ``ValueError`` without values."""
    if not values:
        raise ValueError("spread of no runs")
    fold_means = by_fold(values)
    return Spread(
        mean=float(np.mean(list(fold_means.values()))),
        sd_folds=sd(list(fold_means.values())),
        sd_seeds=sd(list(by_seed(values).values())),
        n=len(values),
        folds=tuple(fold_means),
        seeds=tuple(sorted({seed for _, seed in values})),
    )


def paired(values: Mapping[Cell, float], baseline: Mapping[Cell, float]) -> dict[Cell, float]:
    """value − baseline for each cell that both have."""
    return {cell: values[cell] - baseline[cell] for cell in sorted(values) if cell in baseline}


def corrected_t_test(differences: Sequence[float], ratio: float, confidence: float = CONFIDENCE) -> TTest:
    """The corrected resampled t-test of mean 0 (Nadeau & Bengio 2003; Bouckaert & Frank 2004).

    With n differences of mean m and sample variance σ² (n − 1):
    t = m / √((1/n + ratio)·σ²), n − 1 degrees of freedom; ``ratio`` = n_test/n_train, 0 for the ordinary
    paired t-test. The interval is m ± t_{n−1, (1+confidence)/2} · √((1/n + ratio)·σ²).
    """
    if ratio < 0:
        raise ValueError(f"ratio {ratio}: expected n_test / n_train, at least 0")
    if not len(differences):
        raise ValueError("t-test of no differences")
    values = np.asarray(differences, dtype=np.float64)
    n, mean = len(values), float(values.mean())
    if n < 2:
        return TTest(mean, None, None, None, n - 1, None)
    sigma = float(values.std(ddof=1))
    if sigma <= ROUNDING * float(np.abs(values).max()):
        # No spread to judge the mean by; without any difference there is nothing to judge.
        return (
            TTest(mean, mean, mean, 0.0, n - 1, 1.0)
            if mean == 0
            else TTest(mean, None, None, None, n - 1, None)
        )
    error = math.sqrt((1 / n + ratio) * sigma**2)
    t = mean / error
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    return TTest(mean, mean - half, mean + half, t, n - 1, float(2 * stats.t.sf(abs(t), n - 1)))


def wilcoxon(differences: Sequence[float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test, zeros left out; 1 if all are zero, None below two differences.

    Exact for small n without ties, as scipy decides. Of five differences or fewer the smallest possible p
    is 2/2ⁿ ≥ 0.0625.
    """
    # Accuracies are counts over clips: differences that are equal but for rounding must tie.
    values = np.round(np.asarray(differences, dtype=np.float64), 9)
    if len(values) < 2:
        return None
    if not values.any():
        return 1.0
    return float(stats.wilcoxon(values, zero_method="wilcox").pvalue)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment of the p-values that are there; None stays None and counts as no test.

    With m tests in order of p: adjusted p_(i) = max over j ≤ i of min(1, (m − j + 1)·p_(j)).
    """
    there = sorted((value, place) for place, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, place) in enumerate(there):
        largest = max(largest, min(1.0, (len(there) - rank) * value))
        adjusted[place] = largest
    return adjusted


def comparison(
    values: Mapping[Cell, float], baseline: Mapping[Cell, float], ratio: float
) -> Comparison | None:
    """The paired comparison over the cells that both have; None without such a cell.

    The difference is the mean over those cells. ``ratio`` is n_test / n_train, see ``corrected_t_test``.
    """
    differences = paired(values, baseline)
    if not differences:
        return None
    flat = list(differences.values())
    test = corrected_t_test(flat, ratio)
    return Comparison(
        difference=test.mean,
        low=test.low,
        high=test.high,
        p=test.p,
        p_folds=corrected_t_test(list(by_fold(differences).values()), ratio).p,
        p_wilcoxon=wilcoxon(flat),
        n=len(flat),
        ratio=ratio,
    )
