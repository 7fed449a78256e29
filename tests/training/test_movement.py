"""Runs that keep epochs record how far their weights moved: what the kept weights themselves say, alone, in a pack and resumed."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from pipeline import models
from pipeline.training import loop
from pipeline.training.movement import FIRST, MOVED
from tests.trainings import CLASSES, QUICK, SHAPE, assert_equal, every_checkpoint, fit, made_up, run_of


def test_what_is_recorded_is_what_the_kept_weights_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, keeping = made_up(), dataclasses.replace(QUICK, keep="1,2")
    runs = [run_of("hint@layer=hidden,ce", seed=3), run_of("hint@layer=hidden,soft", seed=4, count=30)]
    contents, together = every_checkpoint(tmp_path / "pack.pt", data, runs, keeping)
    for run, whole in zip(runs, together):
        first = dict(models.network("cnn2", SHAPE, CLASSES, seed=run.seed, fold=run.fold).body.named_parameters())
        states = [{name: tensor.detach()[None] for name, tensor in first.items()}, *whole.kept.values()]
        assert (
            list(whole.history[0][FIRST]) == list(first) and FIRST not in whole.history[1]
        )  # no adapter, no statistic
        for epoch, (before, after) in enumerate(itertools.pairwise(states)):
            told = whole.history[epoch][MOVED]
            for name in first:
                assert told[name] == pytest.approx(float((after[name] - before[name]).double().norm()), rel=1e-5)
        for name, tensor in first.items():
            assert whole.history[0][FIRST][name] == pytest.approx(float(tensor.detach().double().norm()), rel=1e-6)
    assert_equal(together[1], fit(data, runs[1:], keeping)[0])
    (tmp_path / "pack.pt").write_bytes(contents[len(contents) // 2])
    for one, other in zip(together, fit(data, runs, keeping, checkpoint=tmp_path / "pack.pt")):
        assert_equal(one, other)
    (plain,) = fit(data, runs[:1])
    assert not any(MOVED in record or FIRST in record for record in plain.history)
    # a checkpoint of before it was recorded goes on, without it
    monkeypatch.setattr(loop, "Movement", lambda learner: None)
    old, _ = every_checkpoint(tmp_path / "old.pt", data, runs, keeping)
    monkeypatch.undo()
    (tmp_path / "old.pt").write_bytes(old[len(old) // 2])
    resumed = fit(data, runs, keeping, checkpoint=tmp_path / "old.pt")
    assert not any(MOVED in record for one in resumed for record in one.history)
    assert all(
        (one.state[name] == other.state[name]).all() for one, other in zip(together, resumed) for name in one.state
    )
