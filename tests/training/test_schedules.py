"""Weights and numbers that change from epoch to epoch, through the training loop."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline import training
from pipeline.config import InputError
from tests.trainings import QUICK, assert_equal, fit, made_up, run_of

SETTINGS = dataclasses.replace(QUICK, epochs=4)


@pytest.fixture(scope="module")
def data() -> Any:
    return made_up()


def weights(trained: training.Trained, term: str) -> list[float]:
    """The weight of each epoch, from its record."""
    each = [record["terms"][term] for record in trained.history]
    return [values["weighted"] / values["raw"] for values in each]


def test_every_epoch_has_its_weight(data: Any) -> None:
    mixes = ("hinton:4..1,ce", "hinton:3@from=1@until=3,ce", "hinton@T=10..1,ce:0..1")
    trained = fit(data, [run_of(mix) for mix in mixes], SETTINGS)
    assert weights(trained[0], "hinton") == pytest.approx([4, 3, 2, 1])
    assert weights(trained[1], "hinton@from=1@until=3") == pytest.approx([0, 3, 3, 0])
    assert weights(trained[2], "ce") == pytest.approx([0, 1 / 3, 2 / 3, 1])
    for one in trained:
        for record in one.history:
            assert record["loss"] == pytest.approx(sum(values["weighted"] for values in record["terms"].values()))


def test_an_epoch_of_weight_0_is_one_without_the_term(data: Any) -> None:
    """Until it begins, and where its weight is 0 throughout an epoch, the network moves as without it."""
    late, without, ended = fit(
        data, [run_of("ce,hinton:50@from=2"), run_of("ce"), run_of("ce,hinton:50@until=2")], SETTINGS
    )
    for epoch in range(2):
        assert late.history[epoch]["accuracy"] == without.history[epoch]["accuracy"]
        assert late.history[epoch]["test_loss"] == without.history[epoch]["test_loss"]
        assert late.history[epoch]["loss"] == without.history[epoch]["loss"]
    assert late.history[2]["test_loss"] != without.history[2]["test_loss"]
    full = fit(data, [run_of("ce,hinton:50")], SETTINGS)[0]
    assert [record["loss"] for record in ended.history[:2]] == [record["loss"] for record in full.history[:2]]
    assert ended.history[3]["test_loss"] != full.history[3]["test_loss"]


def test_a_number_that_changes_is_that_of_its_epoch(data: Any) -> None:
    """The first epoch is that of the first number; a ramp that hardly moves ends as the constant does."""
    ramp, first, still, constant = fit(
        data,
        [run_of(f"ce,hinton@T={T}") for T in ("6..2", "6", "6..6.0000000001", "6")],
        SETTINGS,
    )
    assert ramp.history[0]["loss"] == pytest.approx(first.history[0]["loss"], rel=1e-6)
    assert ramp.history[1]["loss"] != pytest.approx(first.history[1]["loss"], rel=1e-3)
    assert still.history[-1]["test_loss"] == pytest.approx(constant.history[-1]["test_loss"], rel=1e-4)


@pytest.mark.parametrize("layout", ["loop", "vmap"])
def test_a_ramp_in_a_pack_is_the_ramp_alone(data: Any, layout: str) -> None:
    runs = [
        run_of("ce,hinton:4..1@T=10..1@until=3"),
        run_of("soft", fold=2, seed=1, count=25, teacher=1),
        run_of("hinton:4,ce:0..1,angle:40..0@delta=2..1", seed=2),
    ]
    packed = fit(data, runs, SETTINGS, layout=layout)
    for run, together in zip(runs, packed):
        (alone,) = fit(data, [run], SETTINGS, layout=layout)
        if layout == "loop":
            assert_equal(alone, together)
        for one, other in zip(alone.history, together.history, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
            assert {term: values["weighted"] for term, values in one["terms"].items()} == pytest.approx(
                {term: values["weighted"] for term, values in other["terms"].items()}, rel=1e-4, abs=1e-6
            )


def test_a_stop_in_the_middle_of_a_ramp_changes_no_bit(data: Any, tmp_path: Path) -> None:
    runs = [run_of("ce,hinton:4..1@T=10..1@until=3"), run_of("hinton:0..2,ce@from=1", fold=2, seed=1, count=25)]
    expected = fit(data, runs, SETTINGS)

    def press(r: int, record: dict[str, Any]) -> None:
        if record["epoch"] == 2 and r == 1:
            os.kill(os.getpid(), signal.SIGINT)

    path = tmp_path / "pack.pt"
    with pytest.raises(training.Interrupted, match=r"2 runs at epoch 3 of 4, step 1, kept in"):
        fit(data, runs, SETTINGS, checkpoint=path, on_epoch=press)
    for one, other in zip(expected, fit(data, runs, SETTINGS, checkpoint=path)):
        assert_equal(one, other)


def test_what_cannot_be_trained_is_one_line(data: Any) -> None:
    for mix, words in (
        (
            "ce,hinton@until=5",
            r"epochs = 4: until=5 of hinton in mix .* is beyond the last epoch; expected until=4 or less",
        ),
        ("ce,hinton@from=4", r"epochs = 4: from=4 of hinton .* expected from=3 or less"),
        ("ce,hinton@rows=unlabelled", r"fold 1, mix .*: rows=unlabelled, and every clip has a label"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            fit(data, [run_of(mix)], SETTINGS)
        assert "\n" not in str(caught.value)


def test_rows_that_all_clips_are(data: Any) -> None:
    """Where every clip has a label, ``labelled`` is all of them."""
    for text in ("ce,hinton", "angle:40,soft:1"):
        both = [
            run_of(text),
            run_of(text.replace("hinton", "hinton@rows=labelled").replace("soft:1", "soft:1@rows=labelled")),
        ]
        plain, rows = fit(data, both, SETTINGS)
        assert [r["loss"] for r in rows.history] == pytest.approx([r["loss"] for r in plain.history], rel=1e-4)
