"""Spread of a mix over folds and seeds, and its paired comparison with the baseline.

Conventions. A *cell* is one (fold, seed); ``values`` maps cells to one number per run, in any unit, and the
results are in that unit. Standard deviations divide by n − 1 and are None where n < 2. A test that the
data cannot answer (fewer than two differences, or differences that are all the same but not zero) has
p = None, never 0.

What is tested. The differences of one fold, averaged over its seeds, are one number, so k folds are n = k: seeds of
a fold share their clips and are no further evidence of what other folds would say. Fold × seed (the repeated
cross-validation of Bouckaert and Frank 2004, who draw new folds for each repetition) counts too many degrees of
freedom where folds differ more than seeds, and multiplies the seeds' noise by the folds' correction where seeds
differ more: ``bench.false_finds`` has its false finds and its power. It stands beside as a spread, ``sd_pairs``.

Why corrected. The training sets of two folds overlap, so the folds' differences are not independent and
the ordinary paired t-test finds effects that are not there. Nadeau and Bengio (2003) replace the variance
of the mean, σ²/n, by (1/n + n_test/n_train)·σ². For k folds n_test/n_train = 1/(k − 1).

Where there is one test set for all runs (images), there are no folds to average over: the trainings (seeds) are the
units, and the ratio is 0.

Few folds. Below ``FEWEST`` units there is no p: Wilcoxon's test could not fall below 0.05 whatever was measured (of
five differences the smallest p is 0.0625), and one of two degrees of freedom hangs on a variance of three numbers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.figures.bootstrap import Interval
from pipeline.plurals import many

Cell = tuple[int, int]
"""(fold, seed)."""

CONFIDENCE = 0.95

#: Folds (or trainings, where they are the units) from which on a p is given.
FEWEST = 6

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
    """A mix less the baseline: paired by (fold, seed), averaged over the seeds of a fold, tested over the folds."""

    difference: float
    """Of the folds' means."""
    low: float | None
    """Ends of the 95 % interval, by the same test as ``p``."""
    high: float | None
    p: float | None
    """Corrected t-test over the folds' means; None below ``FEWEST`` of them."""
    p_wilcoxon: float | None
    """Signed ranks of the folds' means, not corrected for overlap; None below ``FEWEST`` of them."""
    sd_units: float | None
    """Of the folds' mean differences."""
    sd_pairs: float | None
    """Of the differences fold × seed."""
    units: int
    """Folds (or trainings) with a difference: the n of the test."""
    unit: str
    """ "fold", or "training" where there is one test set."""
    n: int
    """Pairs of fold and seed."""
    ratio: float
    """n_test / n_train of the correction."""
    recordings: Interval | None = None
    """Beside the other interval where folds are few: of these folds, over recordings like these."""

    @property
    def no_claim(self) -> str:
        """ "no claim: n = 3 folds" where units are too few for a p; "" otherwise."""
        if self.units >= FEWEST:
            return ""
        return f"no claim: n = {many(self.units, self.unit)}"


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
        return TTest(mean, mean, mean, 0.0, n - 1, 1.0) if mean == 0 else TTest(mean, None, None, None, n - 1, None)
    from scipy import special  # slow to import: where nothing is compared, no p-value is computed

    error = math.sqrt((1 / n + ratio) * sigma**2)
    t = mean / error
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * error
    return TTest(mean, mean - half, mean + half, t, n - 1, float(2 * special.stdtr(n - 1, -abs(t))))


def wilcoxon(differences: Sequence[float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test, zeros left out; 1 if all are zero, None below two differences.

    Exact for small n, as scipy decides: up to 13 differences, and up to 50 without ties and zeros. Of five differences or
    fewer the smallest possible p is 2/2ⁿ ≥ 0.0625.
    """
    # Accuracies are counts over clips: differences that are equal but for rounding must tie.
    values = np.round(np.asarray(differences, dtype=np.float64), 9)
    if len(values) < 2:
        return None
    if not values.any():
        return 1.0
    distinct = len(np.unique(np.abs(values))) == len(values) and bool(values.all())
    if len(values) <= 13 or (len(values) <= 50 and distinct):
        return signed_ranks(values[values != 0])
    from scipy import stats  # a second to import, and no finished report of ten folds waits for it

    return float(stats.wilcoxon(values, zero_method="wilcox").pvalue)


def signed_ranks(values: np.ndarray) -> float:
    """Exact two-sided p of the sum of the positive values' ranks, when each of the 2ⁿ signs is as likely; ties share a rank."""
    _, place, counts = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    ranks = (2 * counts.cumsum() - counts + 1)[place]  # twice the mean rank: whole numbers
    ways = np.zeros(ranks.sum() + 1)
    ways[0] = 1.0
    for rank in ranks:
        ways[rank:] += ways[: len(ways) - rank].copy()
    total = ranks[values > 0].sum()
    tail = min(ways[: total + 1].sum(), ways[total:].sum())
    return min(1.0, 2 * float(tail) / 2.0 ** len(values))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p of McNemar's test: each discordant clip falls to either side with probability ½."""
    if not gained + lost:
        return 1.0
    from scipy import stats  # slow to import: few reports need it

    return float(stats.binomtest(gained, gained + lost).pvalue)


def holm(p: Sequence[float | None], tests: int = 0) -> list[float | None]:
    """Holm's step-down adjustment of the p-values that are there; None stays None.

    With m tests in order of p: adjusted p_(i) = max over j ≤ i of min(1, (m − j + 1)·p_(j)). m is the number of
    p-values, or ``tests`` where more were made than are given: the others' p are then taken as 1, which is never less
    strict than the adjustment with them.
    """
    there = sorted((value, place) for place, value in enumerate(p) if value is not None)
    m = max(tests, len(there))
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, place) in enumerate(there):
        largest = max(largest, min(1.0, (m - rank) * value))
        adjusted[place] = largest
    return adjusted


def with_stopped(
    values: Mapping[Cell, float],
    baseline: Mapping[Cell, float],
    stopped: Collection[Cell],
    baseline_stopped: Collection[Cell],
    chance: float | Mapping[Cell, float],
) -> float | None:
    """The difference of the folds' means with runs that stopped counted at ``chance``, of all or of each; None where no pair has one.

    ``stopped`` and ``baseline_stopped``: the cells whose run has no value because it stopped.
    """
    each = chance if isinstance(chance, Mapping) else dict.fromkeys({*stopped, *baseline_stopped}, chance)
    ours = {**values, **{cell: each[cell] for cell in stopped}}
    theirs = {**baseline, **{cell: each[cell] for cell in baseline_stopped}}
    differences = paired(ours, theirs)
    if not differences.keys() & {*stopped, *baseline_stopped}:
        return None
    return float(np.mean(list(by_fold(differences).values())))


def comparison(
    values: Mapping[Cell, float], baseline: Mapping[Cell, float], ratio: float, unit: str = "fold"
) -> Comparison | None:
    """The paired comparison over the cells that both have; None without such a cell.

    ``ratio`` is n_test / n_train, see ``corrected_t_test``. ``unit``: "fold" averages the seeds of each fold;
    "training" takes each cell as a unit, for one test set and ratio 0.
    """
    differences = paired(values, baseline)
    if not differences:
        return None
    flat = list(differences.values())
    means = list(by_fold(differences).values()) if unit == "fold" else flat
    test = corrected_t_test(means, ratio)
    enough = len(means) >= FEWEST
    return Comparison(
        difference=test.mean,
        low=test.low,
        high=test.high,
        p=test.p if enough else None,
        p_wilcoxon=wilcoxon(means) if enough else None,
        sd_units=sd(means),
        sd_pairs=sd(flat),
        units=len(means),
        unit=unit,
        n=len(flat),
        ratio=ratio,
    )
