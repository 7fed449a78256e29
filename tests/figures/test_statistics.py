"""The paired statistics against loops written from the papers, scipy, and simulated experiments."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.figures import bootstrap, statistics


def compared(*arguments) -> Any:
    return statistics.comparison(*arguments)


def t_test(*arguments) -> Any:
    return statistics.corrected_t_test(*arguments)


def cells(table):
    """{(fold, seed): value} of a matrix (folds, seeds); folds count from 1."""
    return {(k + 1, s): float(v) for k, row in enumerate(table) for s, v in enumerate(row)}


def test_spread_by_hand():
    spread = statistics.spread(cells([[50, 52], [60, 62], [40, 48]]))
    assert spread.mean == pytest.approx((51 + 61 + 44) / 3)
    assert spread.sd_folds == pytest.approx(math.sqrt(((51 - 52) ** 2 + (61 - 52) ** 2 + (44 - 52) ** 2) / 2))
    assert spread.sd_seeds == pytest.approx(math.sqrt((50 - 52) ** 2 + (54 - 52) ** 2))
    assert (spread.n, spread.folds, spread.seeds) == (6, (1, 2, 3), (0, 1))


def test_one_run_has_no_spread():
    spread = statistics.spread({(4, 7): 50.0})
    assert (spread.mean, spread.sd_folds, spread.sd_seeds, spread.n) == (50.0, None, None, 1)
    with pytest.raises(ValueError, match="no runs"):
        statistics.spread({})


def test_uneven_seeds_do_not_weigh_folds_nor_bring_their_spread():
    values = {(1, 0): 10.0, (1, 1): 10.0, (1, 2): 10.0, (2, 0): 90.0, (2, 1): 92.0}
    spread = statistics.spread(values)
    assert spread.mean == pytest.approx((10 + 91) / 2)
    # Seed 2 has fold 1 only: its mean of 10 is the fold's, not the seed's.
    assert spread.sd_seeds == pytest.approx(np.std([50, 51], ddof=1))
    assert spread.n == 5


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
    test = t_test(list(differences.ravel()), 1 / (folds - 1))
    assert test.t == pytest.approx(t) and test.df == folds * seeds - 1 and test.p == pytest.approx(p, rel=1e-9)
    # Of a table, one number per fold is what is tested.
    difference = compared(cells(base + differences), cells(base), 1 / (folds - 1))
    means = differences.mean(axis=1)
    assert difference.difference == pytest.approx(means.mean()) and (difference.units, difference.n) == (
        folds,
        folds * seeds,
    )
    assert difference.sd_units == pytest.approx(means.std(ddof=1)) and difference.sd_pairs == pytest.approx(
        differences.std(ddof=1)
    )
    half = stats.t.ppf(0.975, folds - 1) * math.sqrt((1 / folds + 1 / (folds - 1)) * means.var(ddof=1))
    assert (difference.low, difference.high) == pytest.approx((means.mean() - half, means.mean() + half))
    if folds < 6:
        assert (difference.p, difference.p_wilcoxon, difference.no_claim) == (None, None, "no claim: n = 3 folds")
        return
    _, p_folds = literal_corrected_t(means[:, None], folds, 1)
    assert difference.p == pytest.approx(p_folds, rel=1e-9) and difference.no_claim == ""
    assert difference.p_wilcoxon == pytest.approx(stats.wilcoxon(means).pvalue)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-50, 50).map(lambda v: round(v, 3)), min_size=2, max_size=30))
def test_without_correction_it_is_scipys_t_test(values):
    if np.std(values) < 1e-9:
        return
    test, scipy = t_test(values, 0.0), stats.ttest_1samp(values, 0)
    assert test.t == pytest.approx(scipy.statistic) and test.p == pytest.approx(scipy.pvalue)
    interval = scipy.confidence_interval(0.95)
    assert (test.low, test.high) == pytest.approx((interval.low, interval.high))


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
    test = t_test(values, ratio)
    if test.p is not None and abs(test.p - 0.05) > 1e-6:
        assert (test.p < 0.05) == (test.low > 0 or test.high < 0)


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
    """Folds that differ more than seeds do: why one number per fold is tested."""
    folds, seeds, trials, rng = 6, 10, 1000, np.random.default_rng(2)
    false_alarms = {"folds": 0, "pairs": 0}
    for _ in range(trials):
        table = rng.normal(size=(folds, 1)) + 0.2 * rng.normal(size=(folds, seeds))
        difference = compared(cells(table), cells(np.zeros_like(table)), 1 / (folds - 1))
        false_alarms["folds"] += difference.p < 0.05
        false_alarms["pairs"] += t_test(list(table.ravel()), 1 / (folds - 1)).p < 0.05
    assert false_alarms["folds"] / trials < 0.05
    assert false_alarms["pairs"] > 2 * false_alarms["folds"]


def test_uneven_seeds_do_not_weigh_a_folds_difference():
    values = {(1, 0): 1.0, (1, 1): 1.0, (1, 2): 1.0, **{(fold, 0): 0.0 for fold in range(2, 8)}}
    difference = compared(values, dict.fromkeys(values, 0.0), 1 / 6)
    assert difference.difference == pytest.approx(1 / 7) and (difference.units, difference.n) == (7, 9)


def test_below_six_folds_there_is_no_p_however_large_the_difference():
    for folds in range(1, 8):
        values = {(k, s): 30.0 + k + 0.1 * s for k in range(folds) for s in range(5)}
        difference = compared(values, dict.fromkeys(values, 0.0), 1 / 6)
        assert (difference.p is None) == (difference.p_wilcoxon is None) == (folds < 6)
        assert difference.no_claim == (f"no claim: n = {folds} fold{'s' * (folds > 1)}" if folds < 6 else "")


def test_of_one_test_set_the_trainings_are_the_units():
    values = {(0, s): float(v) for s, v in enumerate([1, 3, 2, 4, 2, 5, 1])}
    difference = compared(values, dict.fromkeys(values, 0.0), 0.0, "training")
    assert difference.units == 7 and difference.p == pytest.approx(stats.ttest_1samp(list(values.values()), 0).pvalue)
    assert compared(values, dict.fromkeys(values, 0.0), 0.0).units == 1


def test_runs_that_stopped_stand_at_chance_beside():
    ours, theirs = {(1, 0): 80.0, (2, 0): 70.0}, {(1, 0): 60.0, (2, 0): 60.0, (2, 1): 50.0}
    assert statistics.with_stopped(ours, theirs, {(2, 1)}, set(), 10.0) == pytest.approx((20 + (10 - 40) / 2) / 2)
    each = {(1, 1): 99.0, (2, 1): 30.0}  # of clips with several labels it is each fold's own
    assert statistics.with_stopped(ours, theirs, {(2, 1)}, set(), each) == pytest.approx((20 + (10 - 20) / 2) / 2)
    assert statistics.with_stopped(ours, theirs, set(), set(), 10.0) is None
    assert statistics.with_stopped(ours, theirs, {(9, 9)}, set(), 10.0) is None  # the baseline has no such run


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5], [0.1 + 0.2, 0.3, 0.3]])
def test_without_spread_there_is_no_p_value(values):
    test = t_test(values, 0.5)
    assert (test.p, test.low, test.high) == (None, None, None)
    assert test.mean == pytest.approx(values[0])


def test_equal_runs_differ_by_nothing():
    same = cells([[50, 51], [60, 61]])
    difference = compared(same, same, 1.0)
    assert (difference.difference, difference.low, difference.high) == (0, 0, 0)
    assert (difference.p, difference.no_claim) == (None, "no claim: n = 2 folds")
    many = cells([[50, 51]] * 6)
    difference = compared(many, many, 0.2)
    assert (difference.difference, difference.p, difference.p_wilcoxon) == (0, 1, 1)


def test_pairs_are_the_cells_that_both_have():
    difference = compared({(1, 0): 52, (2, 0): 63, (3, 0): 99}, {(1, 0): 50, (2, 0): 60, (1, 1): 0}, 0.5)
    assert difference.n == 2 and difference.difference == pytest.approx(2.5)
    assert compared({(1, 0): 1.0}, {(1, 1): 1.0}, 0.5) is None


def test_wilcoxon_small_n_and_ties_by_rounding():
    assert statistics.wilcoxon([1, 2, 3, 4, 5]) == pytest.approx(2 / 2**5)
    assert statistics.wilcoxon([1.0]) is None
    noisy, exact = [0.3, 0.1 + 0.2, -0.3, 0.6, 0.9, 1.2], [0.3, 0.3, -0.3, 0.6, 0.9, 1.2]
    assert statistics.wilcoxon(noisy) == statistics.wilcoxon(exact)


@pytest.mark.slow
def test_wilcoxon_is_scipys_with_ties_and_zeros():
    """Also against all 2ⁿ signs, one by one."""
    random = np.random.default_rng(0)
    for digits, n in itertools.product((0, 1, 3), (2, 3, 6, 9, 13, 14, 20, 50, 51)):
        values = np.round(random.normal(0.3, 1, n), digits)
        if values.any():
            expected = stats.wilcoxon(values, zero_method="wilcox").pvalue
            assert statistics.wilcoxon(values) == pytest.approx(expected, rel=1e-9), (n, digits)
    values = np.array([1.0, 2.0, 2.0, -0.5, -2.0, 3.0])
    ranks = stats.rankdata(np.abs(values))
    sums = [sum(r for r, s in zip(ranks, signs) if s) for signs in itertools.product((0, 1), repeat=6)]
    positive = ranks[values > 0].sum()
    tail = min(sum(s >= positive for s in sums), sum(s <= positive for s in sums))
    assert statistics.wilcoxon(values) == pytest.approx(2 * tail / 64)


def test_holm_by_hand():
    # Sorted: .01·4 = .04, .02·3 = .06, .03·2 = .06, .2·1 = .2 (never below the one before).
    assert statistics.holm([0.03, 0.01, None, 0.2, 0.02]) == pytest.approx([0.06, 0.04, None, 0.2, 0.06])
    assert statistics.holm([0.6, 0.7]) == [1.0, 1.0]
    assert statistics.holm([]) == []
    # Two of five tests given: the largest multipliers count.
    assert statistics.holm([0.01, 0.02], 5) == pytest.approx([0.05, 0.08])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_lies_between_none_and_bonferroni_and_keeps_order(p):
    adjusted = statistics.holm(p)
    for raw, value in zip(p, adjusted, strict=True):
        assert raw <= value <= min(1.0, len(p) * raw)
    order = np.argsort(p, kind="stable")
    assert all(a <= b for a, b in zip(np.array(adjusted)[order], np.array(adjusted)[order][1:], strict=False))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.data())
def test_holm_of_some_of_the_tests_is_never_less_strict_than_of_all(p, data):
    kept = data.draw(st.lists(st.sampled_from(range(len(p))), unique=True, min_size=1))
    whole = statistics.holm(p)
    for place, value in zip(kept, statistics.holm([p[i] for i in kept], len(p)), strict=True):
        assert value >= whole[place] - 1e-12


def literal_bootstrap(differences, sources, resamples, rng):
    """Recordings drawn with replacement within their fold, in plain loops: the percentiles of the mean over folds."""
    figures = []
    for _ in range(resamples):
        means = []
        for fold, values in differences.items():
            names = sorted(set(sources[fold]))
            total = count = 0.0
            for name in rng.choice(names, len(names)):
                for value, source in zip(values, sources[fold], strict=True):
                    if source == name:
                        total, count = total + value, count + 1
            means.append(total / count)
        figures.append(sum(means) / len(means))
    return np.quantile(figures, [0.025, 0.975])


def test_the_bootstrap_is_the_plain_loops():
    rng = np.random.default_rng(0)
    sources = {k: np.array([f"{k}-{g}" for g in range(12) for _ in range(1 + g % 4)]) for k in (1, 2)}
    differences = {k: rng.integers(-1, 2, len(names)) * 50.0 + 10 * k for k, names in sources.items()}
    low, high = literal_bootstrap(differences, sources, 1500, rng)
    interval = bootstrap.by_recording(differences, sources)
    width = high - low
    assert interval.recordings == 24 and interval.reason == ""
    assert interval.low == pytest.approx(low, abs=0.08 * width) and interval.high == pytest.approx(
        high, abs=0.08 * width
    )
    assert bootstrap.by_recording(differences, sources) == interval


def test_copies_of_clips_in_a_recording_add_no_certainty():
    rng = np.random.default_rng(1)
    values, names = {1: rng.normal(size=30)}, {1: np.arange(30).astype(str)}
    once = bootstrap.by_recording(values, names)
    copied = bootstrap.by_recording({1: np.repeat(values[1], 4)}, {1: np.repeat(names[1], 4)})
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_a_recording_in_two_folds_is_drawn_in_both_at_once():
    """Fold 2 is fold 1 again: drawn apart the noise of the two would average out, drawn together it does not."""
    rng = np.random.default_rng(2)
    values, names = rng.normal(size=40), np.arange(40).astype(str)
    alone = bootstrap.by_recording({1: values}, {1: names})
    together = bootstrap.by_recording({1: values, 2: values}, {1: names, 2: names})
    apart = bootstrap.by_recording({1: values, 2: values}, {1: names, 2: np.char.add("x", names)})
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert apart.high - apart.low < 0.8 * (alone.high - alone.low)


def test_one_recording_a_fold_has_no_interval():
    interval = bootstrap.by_recording(
        {1: np.ones(4), 2: np.arange(4.0)}, {1: np.full(4, "a"), 2: np.arange(4).astype(str)}
    )
    assert (interval.low, interval.high) == (None, None) and interval.reason.startswith("fold 1: no second recording")
