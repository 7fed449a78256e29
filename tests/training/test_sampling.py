"""The batches of an epoch: shuffled, or so many clips of so many classes; known before the first step."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import config, samplers, training
from pipeline.config import InputError, TrainSettings
from pipeline.losses import LossMix
from pipeline.training import Interrupted, Run, Sampling, Task
from pipeline.training.randomness import generator
from pipeline.training.sampling import dealt, epoch_tables, steps_of
from tests.trainings import CLASSES, QUICK, assert_equal, data, fit, run_of

__all__ = ["data"]

CPU = torch.device("cpu")
#: A class of 40 rows, one of 20, one of 3, one of 12; every other row of 150 is of no run.
LABELS = torch.full((150,), 2)
LABELS[::2] = torch.tensor([0] * 40 + [1] * 20 + [2] * 3 + [3] * 12)


def run(seed: int = 0, fold: int = 1) -> Run:
    rows = np.arange(0, 150, 2)
    return Run(fold, seed, LossMix.parse("ce"), Task(np.random.default_rng(5).permutation(rows), np.arange(1, 9, 2)))


@pytest.mark.parametrize(("batch", "each"), [(8, 4), (12, 3), (12, 4), (6, 6), (4, 1), (8, 2), (20, 5)])
def test_every_batch_holds_whole_classes_of_different_clips(batch: int, each: int) -> None:
    one_run = run()
    batches = Sampling(f"classes:{each}").batches(one_run, LABELS, batch, 3)
    assert batches.shape == (steps_of(one_run, batch), batch) and batches.dtype == np.int64
    assert set(batches.flatten().tolist()) <= set(one_run.task.train.tolist())
    for rows in batches:
        classes, counts = np.unique(LABELS[rows].numpy(), return_counts=True)
        assert len(classes) == batch // each and set(counts) == {each}
        for label in classes:
            of_class = rows[LABELS[rows].numpy() == label]
            there_are = int((LABELS[one_run.task.train] == int(label)).sum())
            assert len(set(of_class.tolist())) == min(each, there_are)
            _, times = np.unique(of_class, return_counts=True)
            assert times.max() - times.min() <= 1  # a smaller class repeats its own, each about as often


def test_over_the_epochs_classes_and_their_clips_come_about_equally_often() -> None:
    one_run = run()
    batches = np.concatenate([Sampling("classes:4").batches(one_run, LABELS, 8, epoch) for epoch in range(40)])
    drawn = np.bincount(LABELS[batches.flatten()].numpy())
    assert drawn.max() <= 1.1 * drawn.min()
    of_first = np.bincount(batches.flatten(), minlength=150)[one_run.task.train][
        (LABELS[one_run.task.train] == 0).numpy()
    ]
    assert of_first.min() >= 0.4 * of_first.mean() and of_first.max() <= 1.7 * of_first.mean()
    first_epoch = Sampling("classes:1").batches(
        one_run, LABELS, 4, 0
    )  # 18 steps, so 18 of the 40 rows of the largest class
    rows, counts = np.unique(first_epoch, return_counts=True)
    assert set(counts[LABELS[rows].numpy() != 2]) <= {1, 2}


def test_they_depend_on_seed_fold_and_epoch_alone() -> None:
    sampling = Sampling("classes:4")
    first = sampling.batches(run(), LABELS, 8, 2)
    assert np.array_equal(first, sampling.batches(run(), LABELS, 8, 2))
    for other, epoch in ((run(), 3), (run(seed=1), 2), (run(fold=2), 2)):
        assert not np.array_equal(first, sampling.batches(other, LABELS, 8, epoch))
    other_rows = LABELS.clone()
    other_rows[1::2] = 3  # labels of rows that the run does not train on
    assert np.array_equal(first, sampling.batches(run(), other_rows, 8, 2))


def test_clips_without_a_label_are_in_no_batch_of_classes() -> None:
    labels = LABELS.clone()
    labels[:40] = -1
    batches = Sampling("classes:4").batches(run(), labels, 8, 0)
    assert batches.shape == (9, 8) and (labels[batches.flatten()] >= 0).all()


def test_hands_of_cards() -> None:
    random = torch.Generator().manual_seed(1)
    hands = dealt(10, 3, 7, random)
    assert hands.shape == (7, 3) and all(len(set(hand)) == 3 for hand in hands.tolist())
    for pack in (hands[:3], hands[3:6]):  # of one pack: no card twice
        assert len(set(pack.flatten().tolist())) == 9
    few = dealt(2, 5, 4, random)
    assert few.shape == (4, 5) and all(sorted(np.bincount(hand).tolist()) == [2, 3] for hand in few)
    assert dealt(1, 3, 2, random).tolist() == [[0, 0, 0]] * 2 and dealt(4, 2, 0, random).shape == (0, 2)


def test_the_tables_of_a_pack_hold_each_runs_own_batches() -> None:
    settings = dataclasses.replace(QUICK, sampler="classes:4")
    runs = [run(), run(seed=1), dataclasses.replace(run(), sampling=Sampling("classes:2"))]
    tables = epoch_tables(runs, LABELS, settings, 1, [False] * 3, CPU)
    for r, each in enumerate((4, 4, 2)):
        assert np.array_equal(tables.rows[:, r].numpy(), Sampling(f"classes:{each}").batches(runs[r], LABELS, 8, 1))
    alone = epoch_tables(runs[1:2], LABELS, settings, 1, [False], CPU)
    assert torch.equal(alone.rows[:, 0], tables.rows[:, 1])


def test_shuffle_is_what_it_was() -> None:
    one_run = run()
    order = one_run.task.train[torch.randperm(75, generator=generator("order", one_run, 4)).numpy()]
    assert np.array_equal(Sampling().batches(one_run, LABELS, 8, 4), order[:72].reshape(9, 8))
    assert (
        one_run.identity()[-1]
        == "shuffle"
        != dataclasses.replace(one_run, sampling=Sampling("classes:4")).identity()[-1]
    )


@pytest.mark.parametrize(
    ("sampler", "batch", "words"),
    [
        (
            "balanced",
            8,
            "expected 'shuffle', or 'classes:m' for m clips of each class of a batch, for example 'classes:4'",
        ),
        *(
            (text, 8, "expected 'shuffle', or")
            for text in ("classes", "classes:", "classes:0", "classes:04", "classes:-1")
        ),
        *(
            (text, 8, "expected 'shuffle', or")
            for text in ("classes:2.0", "classes:²", "shuffle:4", "", "classes:123456789")
        ),
        (
            "classes:5",
            8,
            "a batch of 8 does not hold whole classes of 5 clips; expected 'classes:4', or a batch that 5 divides",
        ),
        ("classes:16", 8, "expected 'classes:8', or a batch that 16 divides, for example 32"),
        ("classes:2", 1, "expected 'classes:1', or a batch that 2 divides, for example 4"),
    ],
)
def test_a_sampler_that_cannot_be_is_one_line(sampler: str, batch: int, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        TrainSettings(sampler=sampler, batch=batch)
    assert "\n" not in str(caught.value) and repr(sampler) in str(caught.value)


def test_a_sampler_that_does_not_go_into_the_batch_is_named() -> None:
    with pytest.raises(InputError, match=re.escape("student.sampler=classes:3: sampler = 'classes:3': a batch of 8")):
        config.read("default", ["student.sampler=classes:3"])
    assert config.read("demo", ["student.sampler=classes:4"]).student.sampler == "classes:4"


@pytest.mark.parametrize(("batch", "each", "fitting", "most"), [(8, 1, 4, 3), (40, 5, 20, 15), (7, 1, 7, 3)])
def test_fewer_classes_than_a_batch_holds(data: Any, batch: int, each: int, fitting: int, most: int) -> None:
    settings = dataclasses.replace(QUICK, batch=batch, sampler=f"classes:{each}")
    words = f"there are {CLASSES}; expected 'classes:{fitting}', or a batch of at most {most}"
    with pytest.raises(InputError, match=words) as caught:
        fit(data, [run_of("ce")], settings)
    assert "\n" not in str(caught.value) and "training clips of fold 1: sampler" in str(caught.value)
    samplers.check_classes(f"classes:{fitting}", batch, CLASSES, "")  # what the message suggests is accepted
    TrainSettings(batch=batch, sampler=f"classes:{fitting}")
    samplers.check_classes(f"classes:{each}", most, CLASSES, "")


def test_a_training_by_classes_that_was_stopped_gives_the_same_bits(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(QUICK, batch=6, sampler="classes:3", epochs=3)
    runs = [run_of("ce"), run_of("ce", seed=1), run_of("ce", fold=2, count=25)]
    whole = fit(data, runs, settings)
    path = tmp_path / "pack.pt"

    kept = training.loop.Loop.save_or_stop

    def stop(loop: Any) -> None:
        if loop.progress.epoch == 1 and loop.progress.done == 2:
            loop.stop.set()
        kept(loop)

    monkeypatch.setattr(training.loop.Loop, "save_or_stop", stop)
    with pytest.raises(Interrupted):
        fit(data, runs, settings, checkpoint=path, checkpoint_seconds=0.0)
    monkeypatch.setattr(training.loop.Loop, "save_or_stop", kept)
    messages: list[str] = []
    for one, other in zip(whole, fit(data, runs, settings, checkpoint=path, say=messages.append)):
        assert_equal(one, other)
    assert "going on from" in messages[0]
    other_batches = fit(data, runs[:1], dataclasses.replace(settings, sampler="classes:2"))
    assert not np.array_equal(other_batches[0].logits, whole[0].logits)
