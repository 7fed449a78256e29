"""Training on clips with several labels: packs, mixtures, positive weights, what is refused, and that nothing held out is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.label_sets import mean_average_precision, multi_hot
from pipeline.training import Run, Stored
from pipeline.training.labels import positive_weights, targets_of
from tests.trainings import (
    QUICK,
    assert_alone_and_resumed_are_equal,
    assert_equal,
    fit,
    made_up,
    run_of,
)

SETS = ((0,), (1,), (2,), (0, 1), (0, 2), (0, 1, 2))
TARGETS = multi_hot(SETS, 3)


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor, Stored]:
    samples, labels, taught = made_up()
    labels = torch.arange(len(labels)) % len(SETS)
    bumps = torch.from_numpy(TARGETS)[labels] * 4  # each class in rows of its own
    samples[:, :, :6] += bumps.repeat_interleave(2, 1)[:, None, :, None]
    return samples, labels, taught


def several(run: Run) -> Run:
    return dataclasses.replace(run, task=dataclasses.replace(run.task, targets=TARGETS))


def runs() -> list[Run]:
    return [several(run_of(mix, fold, seed)) for mix, fold, seed in (("ce", 1, 0), ("angle,ce", 2, 0), ("ce", 1, 1))]


def test_it_learns_and_is_told_by_the_mean_average_precision(data: tuple[Tensor, Tensor, Stored]) -> None:
    trained = fit(data, [several(run_of("ce"))], dataclasses.replace(QUICK, epochs=6, lr=0.02))[0]
    last = trained.history[-1]
    expected = mean_average_precision(TARGETS[data[1][48:].numpy()], trained.logits.astype(np.float64))
    assert last["map"] == pytest.approx(expected) and not {"accuracy", "train_accuracy"} & last.keys()
    assert expected > 0.8 and last["loss"] < trained.history[0]["loss"]
    assert trained.best_accuracy == max(epoch["map"] for epoch in trained.history)


def test_a_pack_is_its_runs_alone(data: tuple[Tensor, Tensor, Stored]) -> None:
    settings = dataclasses.replace(QUICK, class_weights="balanced", epochs=1)
    whole = fit(data, runs(), settings)
    for one, run in zip(whole, runs()):
        assert_equal(one, fit(data, [run], settings)[0])


@pytest.mark.slow
def test_killed_and_gone_on_it_has_the_same_bits(data: tuple[Tensor, Tensor, Stored], tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, class_weights="balanced", mixup=0.4)
    alike = [run for run in runs() if str(run.mix) == "ce:1"]  # a relation of mixtures needs a teacher that hears them
    assert_alone_and_resumed_are_equal(tmp_path / "mixed.pt", data, alike, settings, (0, 7))
    plain = dataclasses.replace(settings, mixup=0.0)
    assert_alone_and_resumed_are_equal(tmp_path / "plain.pt", data, runs(), plain, (4,))


def test_labels_of_held_out_clips_change_no_weight(data: tuple[Tensor, Tensor, Stored]) -> None:
    samples, labels, taught = data
    other = labels.clone()
    other[48:] = (other[48:] + 1) % len(SETS)
    settings = dataclasses.replace(QUICK, class_weights="balanced", epochs=1)
    mine, theirs = (fit((samples, each, taught), [several(run_of("ce"))], settings)[0] for each in (labels, other))
    assert all(torch.equal(mine.state[name], theirs.state[name]) for name in mine.state)
    assert mine.history[0]["map"] != theirs.history[0]["map"]


def test_positive_weights_are_negatives_to_positives_of_the_training_rows() -> None:
    labels = torch.tensor([0, 0, 1, 3, 0])  # class 0 in four of five, class 1 in two, class 2 in none
    assert positive_weights(labels, torch.from_numpy(TARGETS)).tolist() == pytest.approx([1 / 4, 3 / 2, 1])
    assert positive_weights(torch.tensor([3, 3]), torch.from_numpy(TARGETS)).tolist() == [1, 1, 1]


def test_mixtures_have_the_mixed_targets(data: tuple[Tensor, Tensor, Stored]) -> None:
    """Binary cross-entropy is linear in the target: the cost against both is that against their mixture."""
    from pipeline.losses import mixed_loss
    from pipeline.losses.mixing import Mixing
    from pipeline.models import Outputs

    random = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(1, 4, 3, generator=random), torch.tensor([[0, 3, 5, 1]])
    partners, shares = torch.tensor([[1, 0, 3, 2]]), torch.tensor([[0.7, 0.6, 0.9, 0.55]])
    loss = mixed_loss([run_of("ce").mix], "cpu", {"targets": torch.from_numpy(TARGETS)})
    total, _ = loss(Outputs({"logits": logits}), None, labels, mixing=Mixing(partners, shares, False))
    target = torch.from_numpy(TARGETS)[labels[0]]
    mixed = shares[0, :, None] * target + (1 - shares[0, :, None]) * target[partners[0]]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[0], mixed)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("mix", ["soft", "hinton", "angle", "triplet:1,ce:1"])
def test_terms_of_one_label_are_refused_before_a_step(data: tuple[Tensor, Tensor, Stored], mix: str) -> None:
    with pytest.raises(InputError, match="needs one label a clip"):  # angle brings soft
        fit(data, [several(run_of(mix))])


def test_runs_of_other_sets_do_not_share_a_pack() -> None:
    other = several(run_of("ce"))
    other = dataclasses.replace(other, task=dataclasses.replace(other.task, targets=TARGETS[:4]))
    for mixed in (
        [several(run_of("ce")), run_of("ce")],
        [run_of("ce"), several(run_of("ce"))],
        [several(run_of("ce")), other],
    ):
        with pytest.raises(InputError, match="labels stand for different classes"):
            targets_of(mixed, torch.device("cpu"))
    assert targets_of([run_of("ce")], torch.device("cpu")) is None


def test_clips_without_a_label_teach_relations_and_no_class(data: tuple[Tensor, Tensor, Stored]) -> None:
    def run(mix: str, pool: np.ndarray | None) -> Run:
        plain = several(run_of(mix, count=30))
        return dataclasses.replace(plain, task=dataclasses.replace(plain.task, unlabelled=pool))

    samples, labels, taught = data
    pool = np.setdiff1d(np.arange(48), run_of("ce", count=30).task.train)
    hidden = labels.clone()
    hidden[torch.from_numpy(pool)] = -1
    settings = dataclasses.replace(QUICK, epochs=1)
    told, other = (fit((samples, each, taught), [run("angle,ce", pool)], settings)[0] for each in (labels, hidden))
    without = fit(data, [run("angle,ce", None)], settings)[0]
    assert all(torch.equal(told.state[name], other.state[name]) for name in told.state)
    assert any(not torch.equal(told.state[name], without.state[name]) for name in told.state)
