"""Uncertainty: the worked values, densities that were sampled, and the area under the curve by pairs."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.figures import uncertainty


def near(value: float) -> object:
    return pytest.approx(value, abs=5e-10)


def test_the_worked_values() -> None:
    z = np.array([[1.0, 0, -1]])
    unsure = uncertainty.of_dirichlet(z)
    assert (unsure.total[0], unsure.data[0], unsure.knowledge[0]) == (
        near(0.8323955818),
        near(0.6498810357),
        near(0.1825145462),
    )
    assert uncertainty.pairwise(z)[0] == near(0.4894569421)


def test_the_worked_values_of_an_ensemble() -> None:
    members = np.array([[[2.0, 0, 0]], [[0, 1, 0]]])
    unsure = uncertainty.of_members(members)
    assert (unsure.total[0], unsure.data[0], unsure.knowledge[0]) == (
        near(1.0061992779),
        near(0.8204502555),
        near(0.1857490223),
    )


def test_a_density_is_as_unsure_as_the_answers_drawn_from_it() -> None:
    z = np.array([0.5, 1.5, -0.5, 1.0])
    draws = np.random.default_rng(0).dirichlet(np.exp(z), 200_000)
    unsure, drawn = (
        uncertainty.of_dirichlet(z[None]),
        uncertainty.of_members(np.log(np.maximum(draws, 1e-300))[:, None]),
    )
    assert unsure.total[0] == pytest.approx(drawn.total[0], abs=0.01)
    assert unsure.data[0] == pytest.approx(drawn.data[0], abs=0.01)
    one, other = draws[:100_000], draws[100_000:]
    each = (one * np.log(np.maximum(one, 1e-300) / np.maximum(other, 1e-300))).sum(-1)
    assert uncertainty.pairwise(z[None])[0] == pytest.approx(each.mean(), rel=0.05)


def test_far_outputs_stay_finite_and_members_that_agree_leave_no_doubt() -> None:
    for scale in (0, 1e-8, 1e8):
        unsure = uncertainty.of_dirichlet(scale * np.array([[1.0, -1, 0.5], [0, 0, 0]]))
        assert np.isfinite([unsure.total, unsure.data, unsure.knowledge]).all() and (unsure.knowledge >= 0).all()
    same = np.repeat(np.random.default_rng(0).normal(size=(1, 5, 4)), 3, axis=0)
    assert uncertainty.of_members(same).knowledge == pytest.approx(np.zeros(5), abs=1e-12)


def test_the_area_under_the_curve_is_the_share_of_pairs() -> None:
    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 6, 40).astype(float), random.random(40) < 0.3
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    assert uncertainty.auroc(scores, positive) == pytest.approx(np.mean(pairs))
    assert uncertainty.auroc(np.array([1.0, 2]), np.array([False, True])) == 1
    assert np.isnan(uncertainty.auroc(scores, np.ones(40, dtype=bool)))
