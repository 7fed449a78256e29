"""The paired statistics against loops written from the papers, scipy, and simulated experiments."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.figures import statistics


def compared(*arguments) -> Any:
    return statistics.comparison(*arguments)


def t_test(*arguments) -> Any:
    return statistics.corrected_t_test(*arguments)


def cells(table):
    """{(fold, seed): value} of a matrix (folds, seeds); folds count from 1."""
    return {(k + 1, s): float(v) for k, row in enumerate(table) for s, v in enumerate(row)}


def test_spread_by_hand():
    found = statistics.spread(cells([[50, 52], [60, 62], [40, 48]]))
    assert found.mean == pytest.approx((51 + 61 + 44) / 3)
    assert found.sd_folds == pytest.approx(math.sqrt(((51 - 52) ** 2 + (61 - 52) ** 2 + (44 - 52) ** 2) / 2))
    assert found.sd_seeds == pytest.approx(math.sqrt((50 - 52) ** 2 + (54 - 52) ** 2))
    assert (found.n, found.folds, found.seeds) == (6, (1, 2, 3), (0, 1))


def test_one_run_has_no_spread():
    found = statistics.spread({(4, 7): 50.0})
    assert (found.mean, found.sd_folds, found.sd_seeds, found.n) == (50.0, None, None, 1)
    with pytest.raises(ValueError, match="no runs"):
        statistics.spread({})


def test_uneven_seeds_do_not_weigh_folds_nor_bring_their_spread():
    values = {(1, 0): 10.0, (1, 1): 10.0, (1, 2): 10.0, (2, 0): 90.0, (2, 1): 92.0}
    found = statistics.spread(values)
    assert found.mean == pytest.approx((10 + 91) / 2)
    # Seed 2 has fold 1 only: its mean of 10 is the fold's, not the seed's.
    assert found.sd_seeds == pytest.approx(np.std([50, 51], ddof=1))
    assert found.n == 5


def literal_corrected_t(differences, folds, repeats):
    """Bouckaert & Frank 2004, section 2.2, corrected repeated k-fold cv test, term by term."""
    total = 0.0
    for i in range(folds):
        for j in range(repeats):
            total += differences[i][j]
    mean = total / (folds * repeats)
    squares = 0.0
    for i in range(folds):
        for j in range(repeats):
            squares += (differences[i][j] - mean) ** 2
    variance = squares / (folds * repeats - 1)
    test, train = 1, folds - 1  # in units of one fold
    t = mean / math.sqrt((1 / (folds * repeats) + test / train) * variance)
    return t, 2 * (1 - stats.t.cdf(abs(t), folds * repeats - 1))


@pytest.mark.parametrize(("folds", "seeds"), [(10, 1), (3, 3), (10, 5)])
def test_corrected_t_is_the_papers_formula(folds, seeds):
    differences = np.random.default_rng(folds).normal(0.7, 2, (folds, seeds))
    base = np.random.default_rng(0).normal(60, 4, (folds, seeds))
    t, p = literal_corrected_t(differences, folds, seeds)
    found = compared(cells(base + differences), cells(base), 1 / (folds - 1))
    assert found.p == pytest.approx(p, rel=1e-9)
    assert found.difference == pytest.approx(differences.mean())
    test = t_test(list(differences.ravel()), 1 / (folds - 1))
    assert test.t == pytest.approx(t) and test.df == folds * seeds - 1
    _, p_folds = literal_corrected_t(differences.mean(axis=1, keepdims=True), folds, 1)
    assert found.p_folds == pytest.approx(p_folds, rel=1e-9)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(differences.ravel()).pvalue)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-50, 50).map(lambda v: round(v, 3)), min_size=2, max_size=30))
def test_without_correction_it_is_scipys_t_test(values):
    if np.std(values) < 1e-9:
        return
    found, scipy = t_test(values, 0.0), stats.ttest_1samp(values, 0)
    assert found.t == pytest.approx(scipy.statistic) and found.p == pytest.approx(scipy.pvalue)
    interval = scipy.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=20), st.floats(0, 1), st.floats(0.01, 1))
def test_a_larger_ratio_is_never_more_certain(values, ratio, more):
    less, strict = (t_test(values, r) for r in (ratio, ratio + more))
    if less.p is None:
        assert strict.p is None
    else:
        assert strict.p >= less.p and strict.high - strict.low >= less.high - less.low


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5).map(lambda v: round(v, 2)), min_size=3, max_size=12), st.floats(0, 0.5))
def test_interval_excludes_zero_where_p_is_below_five_percent(values, ratio):
    found = t_test(values, ratio)
    if found.p is not None and abs(found.p - 0.05) > 1e-6:
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_type_one_error_under_overlapping_training_sets():
    """Differences with the correlation that the correction assumes, ρ = n_test / (n_test + n_train), mean 0."""
    folds, trials, rng = 10, 4000, np.random.default_rng(1)
    rho = 1 / folds
    shared = rng.normal(size=(trials, 1)) * math.sqrt(rho)
    differences = shared + rng.normal(size=(trials, folds)) * math.sqrt(1 - rho)
    corrected = np.mean([t_test(d, 1 / (folds - 1)).p < 0.05 for d in differences])
    ordinary = np.mean([t_test(d, 0.0).p < 0.05 for d in differences])
    assert corrected == pytest.approx(0.05, abs=0.012)  # 3.5 standard errors
    assert ordinary > 0.10


def test_type_one_error_of_the_fold_means_does_not_grow_with_seeds():
    """Folds that differ more than seeds do: what p_folds is for."""
    folds, seeds, trials, rng = 3, 10, 1500, np.random.default_rng(2)
    false_alarms = {"p": 0, "p_folds": 0}
    for _ in range(trials):
        table = rng.normal(size=(folds, 1)) + 0.2 * rng.normal(size=(folds, seeds))
        found = compared(cells(table), cells(np.zeros_like(table)), 1 / (folds - 1))
        for name in false_alarms:
            false_alarms[name] += getattr(found, name) < 0.05
    assert false_alarms["p_folds"] / trials < 0.05
    assert false_alarms["p"] > 2 * false_alarms["p_folds"]


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5], [0.1 + 0.2, 0.3, 0.3]])
def test_without_spread_there_is_no_p_value(values):
    found = t_test(values, 0.5)
    assert (found.p, found.low, found.high) == (None, None, None)
    assert found.mean == pytest.approx(values[0])


def test_equal_runs_differ_by_nothing():
    same = cells([[50, 51], [60, 61]])
    found = compared(same, same, 1.0)
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert (found.p, found.p_folds, found.p_wilcoxon) == (1, 1, 1)


def test_pairs_are_the_cells_that_both_have():
    found = compared({(1, 0): 52, (2, 0): 63, (3, 0): 99}, {(1, 0): 50, (2, 0): 60, (1, 1): 0}, 0.5)
    assert found.n == 2 and found.difference == pytest.approx(2.5)
    assert compared({(1, 0): 1.0}, {(1, 1): 1.0}, 0.5) is None


def test_wilcoxon_small_n_and_ties_by_rounding():
    assert statistics.wilcoxon([1, 2, 3, 4, 5]) == pytest.approx(2 / 2**5)
    assert statistics.wilcoxon([1.0]) is None
    noisy, exact = [0.3, 0.1 + 0.2, -0.3, 0.6, 0.9, 1.2], [0.3, 0.3, -0.3, 0.6, 0.9, 1.2]
    assert statistics.wilcoxon(noisy) == statistics.wilcoxon(exact)


def test_holm_by_hand():
    # Sorted: .01·4 = .04, .02·3 = .06, .03·2 = .06, .2·1 = .2 (never below the one before).
    assert statistics.holm([0.03, 0.01, None, 0.2, 0.02]) == pytest.approx([0.06, 0.04, None, 0.2, 0.06])
    assert statistics.holm([0.6, 0.7]) == [1.0, 1.0]
    assert statistics.holm([]) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_lies_between_none_and_bonferroni_and_keeps_order(p):
    adjusted = statistics.holm(p)
    for raw, value in zip(p, adjusted, strict=True):
        assert raw <= value <= min(1.0, len(p) * raw)
    order = np.argsort(p, kind="stable")
    assert all(a <= b for a, b in zip(np.array(adjusted)[order], np.array(adjusted)[order][1:], strict=False))
