"""One view of a clip in an epoch: which one follows from seed, fold, epoch and the clip's place alone."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import cache, config, models, training
from pipeline.config import InputError, TrainSettings
from pipeline.engine import packs, tasks
from pipeline.losses import LossMix
from pipeline.training import Live, Run, Sampling, Stored, Task
from pipeline.training.sampling import epoch_tables, steps_of
from tests.trainings import CLASSES, QUICK, ROWS, SHAPE, assert_alone_and_resumed_are_equal, assert_equal, data, fit

__all__ = ["data"]

VIEWS = 4
RANDOM = dataclasses.replace(QUICK, views="random", batch=4, epochs=3)
LABELS = torch.arange(ROWS) // VIEWS % CLASSES


def run(mix: str = "ce", fold: int = 1, seed: int = 0, unlabelled: int = 0, teacher: int = 0) -> Run:
    """Twelve clips of four views to train on, some without a label; the last three clips are tested on."""
    clips = np.random.default_rng(fold).permutation(12)[:, None] * VIEWS + np.arange(VIEWS)
    pool = clips[:unlabelled] if unlabelled else None
    task = Task(clips[unlabelled:].reshape(-1), np.arange(48, ROWS, VIEWS), unlabelled=pool, views=VIEWS)
    return Run(fold, seed, LossMix.parse(mix), task, teacher)


def test_an_epoch_has_one_view_of_each_clip_by_its_own_number() -> None:
    one = run()
    for epoch in range(3):
        text = f"views/0/1/{epoch}".encode()
        random = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1)
        chosen = torch.randint(VIEWS, (12,), generator=random).tolist()
        expected = [int(one.task.train[clip * VIEWS + view]) for clip, view in enumerate(chosen)]
        batches = Sampling().batches(one, LABELS, 4, epoch)
        assert batches.shape == (3, 4) == (steps_of(one, 4), 4)
        assert sorted(batches.flatten().tolist()) == sorted(expected)


def test_over_the_epochs_all_views_come_equally_often() -> None:
    drawn = np.concatenate([Sampling().batches(run(), LABELS, 4, epoch).flatten() for epoch in range(200)])
    clips, views = drawn // VIEWS, drawn % VIEWS
    assert set(np.bincount(clips, minlength=12)) == {200}
    counts = np.bincount(views)
    assert counts.min() > 0.9 * counts.mean() and len(counts) == VIEWS
    of_first = np.bincount(views[clips == 0])
    assert of_first.min() > 30


@pytest.mark.parametrize("sampler", ["classes:2", "unlabelled:1", "shuffle"])
def test_every_sampler_takes_one_view_of_each_clip(sampler: str) -> None:
    one = run("ce,soft" if sampler != "classes:2" else "ce", unlabelled=0 if sampler == "classes:2" else 6)
    for epoch in range(4):
        batches = Sampling(sampler).batches(one, LABELS, 4, epoch)
        for rows in batches:
            assert len(set((rows // VIEWS).tolist())) == 4 or sampler == "unlabelled:1"
        by_clip: dict[int, set[int]] = {}
        for row in batches.flatten().tolist():
            by_clip.setdefault(row // VIEWS, set()).add(row)
        assert all(len(rows) == 1 for rows in by_clip.values())
        assert len(batches) == {"classes:2": 3, "unlabelled:1": 3, "shuffle": 3}[sampler]


def test_packs_resume_and_other_runs_beside_change_no_bit(data: Any, tmp_path: Path) -> None:
    runs = [run("ce"), run("hinton,ce", seed=1, teacher=1), run("ce,angle", fold=2)]
    assert_alone_and_resumed_are_equal(
        tmp_path / "pack.pt", data, runs, RANDOM, (1, 4)
    )  # in the first epoch and the second
    others = dataclasses.replace(runs[0], task=dataclasses.replace(runs[0].task, views=1))
    assert others.identity() != runs[0].identity()


def test_stored_teachers_speak_of_the_view_and_live_ones_hear_it(data: Any) -> None:
    """A network in evaluation mode says of a row what it said of it before: both ways are one."""
    samples, labels, _ = data
    network = models.network("cnn2", SHAPE, CLASSES, seed=5)
    network.mean.fill_(10.0)
    network.eval()
    with torch.no_grad():
        outputs = network(samples)
    stored = Stored({"embedding": outputs.embedding[None], "logits": outputs.logits[None]})
    one = run("hinton@T=2,angle,soft:0")
    (by_arrays,) = fit((samples, labels, stored), [one], RANDOM)
    (by_network,) = fit((samples, labels, Live([[network]])), [one], RANDOM)
    for name, values in by_arrays.state.items():
        torch.testing.assert_close(values, by_network.state[name], rtol=1e-4, atol=1e-5)


def test_a_task_and_settings_that_do_not_fit_are_one_line(data: Any) -> None:
    for settings, one in ((QUICK, run()), (RANDOM, dataclasses.replace(run(), task=Task(*two_arrays())))):
        with pytest.raises(InputError, match=r"views = '(all|random)' and a task of (1 view|4 views) .*expected"):
            fit(data, [one], settings)
    with pytest.raises(InputError, match="10 training rows and 4 views of each clip; expected whole clips"):
        Task(np.arange(10), np.arange(2), views=4)
    with pytest.raises(InputError, match=r"views = 'some': expected one of all, random"):
        TrainSettings(views="some")


def two_arrays() -> tuple[np.ndarray, np.ndarray]:
    return np.arange(48), np.arange(48, ROWS)


def corpus(views: int) -> cache.Data:
    """Features of three folds with changed copies."""
    rng = np.random.default_rng(0)
    spec = config.FeatureSpec(seconds=0.5, bins=8, bins_per_octave=24, views=views - 2)
    labels, folds = np.tile(np.arange(2), 12).astype(np.int64), np.repeat((1, 2, 3), 8).astype(np.int64)
    features = rng.normal(size=(24, views, *spec.shape)).astype(np.float32) + labels[:, None, None, None, None]
    names = tuple(f"{i}.wav" for i in range(24))
    digests = {fold: str(fold) for fold in (1, 2, 3)}
    return cache.Data(features, labels, folds, names, names, ("low", "high"), "made-up", True, spec, {}, digests)


@pytest.mark.parametrize("views", ["all", "random"])
def test_no_view_of_the_held_out_fold_but_the_clean_one_is_read(views: str) -> None:
    whole = corpus(5)
    poisoned = dataclasses.replace(whole, features=whole.features.copy())
    poisoned.features[whole.folds == 3, 1:] = np.nan
    settings = TrainSettings(model="cnn2", epochs=2, lr=0.01, views=views)
    results = []
    for each in (whole, poisoned):
        values, labels = packs.samples(each, torch.device("cpu"))
        task = tasks.task(each, 3, 0, settings)
        expected = [5 * clip + view for clip in range(16) for view in range(5)]
        assert task.train.tolist() == expected and task.test.tolist() == [5 * clip for clip in range(16, 24)]
        assert task.views == (5 if views == "random" else 1)
        one = Run(3, 0, LossMix.parse("ce"), task)
        tables = epoch_tables([one], labels, settings, 0, [False], torch.device("cpu"))
        assert len(tables.rows) == (2 if views == "random" else 10)
        results += training.fit(values, labels, [one], settings, classes=2)
    assert_equal(*results)
