"""Runs of some of the classes: labels are places in the tuple, nothing of another class is read, and a pack is as its runs alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline import training
from pipeline.config import InputError, TrainSettings
from pipeline.losses import LossMix
from pipeline.training import Run, Stored, Task, memory
from tests.trainings import QUICK, SHAPE, assert_equal

ROWS, CLASSES = 120, 5


def corpus() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(ROWS) % CLASSES
    samples = torch.randn(ROWS, *SHAPE, generator=generator) + 2 * labels[:, None, None, None]
    return samples, labels


def task_of(classes: tuple[int, ...]) -> Task:
    _, labels = corpus()
    own = np.isin(labels.numpy(), classes)
    return Task(np.flatnonzero(own[:90]), 90 + np.flatnonzero(own[90:]), classes)


def run_of(classes: tuple[int, ...], mix: str = "ce", seed: int = 0, teacher: int = 0) -> Run:
    return Run(1, seed, LossMix.parse(mix), task_of(classes), teacher)


def test_a_subset_is_a_corpus_of_these_classes_alone_numbered_anew() -> None:
    """Bit for bit what the same rows give where the labels are numbered by hand and the other classes are not there at all."""
    classes, (samples, labels) = (4, 0, 2), corpus()
    settings = replace(QUICK, label_noise=0.3, class_weights="balanced")
    run = run_of(classes)
    there = np.concatenate([run.task.train, run.task.test])
    by_hand = torch.tensor([classes.index(label) for label in labels[there].tolist()])
    count = len(run.task.train)
    alone = Run(1, 0, run.mix, Task(np.arange(count), np.arange(count, len(there))))
    (expected,) = training.fit(samples[there], by_hand, [alone], settings, classes=3)
    poisoned = torch.where(torch.from_numpy(np.isin(labels.numpy(), classes))[:, None, None, None], samples, torch.nan)
    (trained,) = training.fit(poisoned, labels, [run], settings, classes=3)
    assert_equal(trained, expected)
    assert trained.logits.shape == (len(run.task.test), 3)


def test_runs_of_unlike_classes_share_a_pack() -> None:
    samples, labels = corpus()
    generator = torch.Generator().manual_seed(1)
    taught = Stored({"embedding": torch.randn(2, ROWS, 7, generator=generator), "logits": torch.zeros(2, ROWS, 9)})
    runs = [
        run_of((4, 0, 2), "ce:1,distance:5", teacher=0),
        run_of((1, 3, 0), "ce:1,distance:5", seed=1, teacher=1),
        run_of((0, 2, 4)),
    ]

    def both(
        samples: torch.Tensor, labels: torch.Tensor, runs: list[Run], settings: TrainSettings, **how: object
    ) -> object:
        return training.fit(samples, labels, runs, settings, classes=3, teaching=taught, **how)  # type: ignore[arg-type]

    whole = both(samples, labels, runs, QUICK)
    for run, one in zip(runs, whole, strict=True):  # type: ignore[call-overload]
        assert_equal(one, both(samples, labels, [run], QUICK)[0])  # type: ignore[index]
    first, last = whole[0], whole[2]  # type: ignore[index]
    assert not torch.equal(first.state["linear2.weight"], last.state["linear2.weight"])  # the order of classes counts
    assert runs[0].identity() != replace(runs[0], task=task_of((0, 2, 4))).identity()


def test_terms_that_remember_know_the_labels_as_places(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[int]] = []
    monkeypatch.setattr(
        memory, "memories", lambda mix, drawn, network, labels, classes: told.append(labels.tolist()) or {}
    )
    run = run_of((4, 0, 2), "ce,contrast@K=9")
    memory.recollection([run], None, corpus()[1], 3)  # type: ignore[arg-type]
    assert told == [[(4, 0, 2).index(row % CLASSES) for row in run.task.train.tolist()]]


@pytest.mark.parametrize(
    ("run", "classes", "message"),
    [
        (run_of((0, 1, 2)), 5, "a task of 3 classes, and networks of 5; expected as many"),
        (
            replace(run_of((0, 1)), task=replace(task_of((0, 1)), test=np.arange(90, 95))),
            2,
            "a test row of no class of its task; expected rows of (0, 1) alone",
        ),
        (
            replace(run_of((0, 1)), task=replace(task_of((0, 1)), train=np.arange(8))),
            2,
            "labels -1 to 1; expected 0 to 1",
        ),
    ],
)
def test_tasks_that_do_not_fit_are_refused(run: Run, classes: int, message: str) -> None:
    samples, labels = corpus()
    with pytest.raises(InputError) as error:
        training.fit(samples, labels, [run], QUICK, classes=classes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_places_are_the_oracles() -> None:
    task = task_of((3, 0))
    labels = np.array([0, 1, 2, 3, 4, -1, 3])
    expected = [[3, 0].index(label) if label in (3, 0) else -1 for label in labels.tolist()]
    assert task.places(labels).tolist() == expected
