"""The terms of embeddings in training: with draws, batches by class, constants of the teacher and an adapter, in packs as alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pipeline.config import InputError
from tests.trainings import QUICK, assert_equal, data, fit, run_of

__all__ = ["data"]

BY_CLASS = dataclasses.replace(QUICK, sampler="classes:4")
COSINES = dataclasses.replace(QUICK, model="cnn2_cosine")


def trained_alike(data: Any, mixes: list[str], settings: Any) -> None:
    """A pack of runs of other folds and seeds, each beside the others and alone: bit for bit, and the losses fall."""
    runs = [run_of(mix, fold=1 + number % 2, seed=number) for number, mix in enumerate(mixes)]
    for run, mine in zip(runs, fit(data, runs, settings)):
        (alone,) = fit(data, [run], settings)
        assert mine.failure is None
        assert_equal(mine, alone)
        assert mine.history[-1]["loss"] < mine.history[0]["loss"]


def test_triplets_in_batches_by_class(data: Any) -> None:
    trained_alike(
        data, ["triplet:1,soft:0", "triplet:1,soft", "ce,triplet@negative=semihard", "triplet:1,ce"], BY_CLASS
    )


def test_ranks_of_neighbours(data: Any) -> None:
    trained_alike(data, ["darkrank", "darkrank@rank=soft", "ce:1,darkrank:2,triplet:1"], QUICK)


def test_margins_of_cosines(data: Any) -> None:
    trained_alike(data, ["margin:1,soft:0", "margin", "soft"], COSINES)


def test_margins_to_the_teachers_centres(data: Any) -> None:
    trained_alike(data, ["margin@centres=teacher,ce", "margin:2@centres=teacher,ce"], QUICK)
    (trained,) = fit(data, [run_of("margin@centres=teacher,ce")])
    assert not any("adapt" in name for name in trained.state) and trained.adapters


@pytest.mark.parametrize(("mix", "settings"), [("triplet,ce", BY_CLASS), ("darkrank", QUICK), ("margin", COSINES)])
def test_layouts_give_the_same(data: Any, mix: str, settings: Any) -> None:
    runs = [run_of(mix), run_of(mix, seed=1)]
    samples, labels, taught = data
    double = (samples.double(), labels, type(taught)({k: v.double() for k, v in taught.outputs.items()}))
    short = dataclasses.replace(settings, epochs=1)
    for one, other in zip(fit(double, runs, short, layout="loop"), fit(double, runs, short, layout="vmap")):
        np.testing.assert_allclose(one.logits, other.logits, rtol=1e-7, atol=1e-9)


def test_other_draws_are_another_training(data: Any) -> None:
    once, twice = (fit(data, [run_of("triplet:1,soft:0", seed=seed)], BY_CLASS)[0] for seed in (0, 1))
    assert once.history[0]["loss"] != twice.history[0]["loss"]


def test_margin_needs_a_network_with_cosines(data: Any) -> None:
    with pytest.raises(InputError, match=r"margin reads cosines of the student, and cnn2 has") as caught:
        fit(data, [run_of("margin")])
    assert "\n" not in str(caught.value) and str(caught.value).endswith("for example cnn2_cosine")
