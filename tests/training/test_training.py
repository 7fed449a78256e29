"""The one training loop: against a plain torch loop, and many runs against one at a time."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline import models, training
from pipeline.config import InputError, TrainSettings
from pipeline.losses import LossMix
from pipeline.models import saved
from pipeline.training import (
    Run,
    Sampling,
    Stored,
    Task,
)
from pipeline.training.normalisation import normalisation
from pipeline.training.sampling import epoch_tables, order, steps_of
from tests.networks import with_weights_of
from tests.trainings import (
    CLASSES,
    MIXES,
    QUICK,
    ROWS,
    SHAPE,
    assert_equal,
    data,
    fit,
    made_up,
    run_of,
    without_seconds,
)

#: ``data`` is a fixture; the others are for tests that look for them here.
__all__ = [
    "CLASSES",
    "MIXES",
    "QUICK",
    "ROWS",
    "SHAPE",
    "assert_equal",
    "data",
    "fit",
    "made_up",
    "run_of",
    "without_seconds",
]


def mapped(taught: Stored, function: Callable[[Tensor], Tensor]) -> Stored:
    return Stored({name: function(values) for name, values in taught.outputs.items()})


def test_normalisation_is_numpys_in_float64(data: Any) -> None:
    samples = data[0].clone() + 1e4  # a large offset must not cost the deviation its digits
    rows = np.array([3, 1, 40, 41])
    samples[:, 1, 5] = 7.25  # constant
    mean, std = normalisation(samples, rows, chunk=3)
    x = samples[rows].double().numpy()
    np.testing.assert_allclose(mean[..., 0], x.mean((0, 3)), rtol=1e-6)
    expected = x.std((0, 3))
    expected[1, 5] = 1
    np.testing.assert_allclose(std[..., 0], expected, rtol=1e-5)
    assert torch.isfinite((samples - mean) / std).all()


def test_normalisation_of_images_is_by_channel(data: Any) -> None:
    samples = data[0].clone() + torch.linspace(0, 9, 8)[:, None]  # rows of pixels differ, and keep their differences
    samples[:, 1] = 0.5
    rows = np.array([3, 1, 40, 41])
    mean, std = normalisation(samples, rows, "channel", chunk=3)
    assert mean.shape == std.shape == (2, 8, 1)
    x = samples[rows].double().numpy()
    np.testing.assert_allclose(mean[..., 0], np.tile(x.mean((0, 2, 3)), (8, 1)).T, rtol=1e-6)
    np.testing.assert_allclose(std[..., 0], np.tile([x[:, 0].std(), 1], (8, 1)).T, rtol=1e-6)
    (run,) = fit((samples, *data[1:]), [run_of("ce")], per="channel")
    rows = run_of("ce").task.train
    torch.testing.assert_close(run.state["mean"][0, 0, :, 0], samples[rows, 0].mean().expand(8))
    torch.testing.assert_close(run.state["std"][0, 0, :, 0], samples[rows, 0].std(correction=0).expand(8))


def test_an_epochs_tables() -> None:
    runs = [run_of("ce", count=42), run_of("ce", fold=2, count=25), run_of("ce", seed=1, count=42)]
    table = epoch_tables(runs, torch.arange(ROWS) % CLASSES, QUICK, 0, [False, False, False], torch.device("cpu"))
    assert table.rows.shape == (5, 3, 8) and table.full == 3
    assert table.alive.sum(0).tolist() == [5, 3, 5]
    for r, run in enumerate(runs):
        used = table.rows[: steps_of(run, QUICK.batch), r].flatten().tolist()
        assert used == order(run, 0)[: len(used)].tolist()
        assert len(set(used)) == len(used) and set(used) <= set(run.task.train.tolist())
        assert set(table.rows[:, r].flatten().tolist()) <= set(run.task.train.tolist())  # the padding too
    assert sorted(order(runs[0], 0)) == runs[0].task.train.tolist() == sorted(order(runs[0], 1))
    assert order(runs[0], 0).tolist() != order(runs[0], 1).tolist() != order(runs[2], 1).tolist()
    stopped = epoch_tables(runs, torch.arange(ROWS) % CLASSES, QUICK, 1, [False, True, False], torch.device("cpu"))
    assert stopped.alive.sum(0).tolist() == [5, 0, 5] and stopped.full == 0


@pytest.mark.parametrize("name", ["cnn2", "resnet18"])
def test_fit_is_a_plain_torch_loop(data: Any, name: str) -> None:
    """One run against torch's own modules, optimizer, clipping and loss, with labels and the stated order."""
    samples, labels, _ = data
    run, settings = run_of("ce"), TrainSettings(model=name, epochs=2, lr=0.02, step_epochs=1, clip_norm=3.0)
    (trained,) = training.fit(samples.double(), labels, [run], settings, classes=CLASSES)
    network = models.Stacked([models.network(name, SHAPE, CLASSES, seed=run.seed, fold=run.fold)]).double()
    reference = with_weights_of(network, 0).train()
    x = samples[run.task.train].double()
    mean, std = x.mean((0, 3), keepdim=True), x.std((0, 3), keepdim=True, correction=0)
    sgd = torch.optim.SGD(reference.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-4)
    for epoch in range(2):
        losses, right = [], 0
        sgd.param_groups[0]["lr"] = 0.02 * 0.1**epoch
        for rows in torch.from_numpy(order(run, epoch))[:40].split(8):
            logits = reference((samples[rows] - mean) / std)
            loss = nn.functional.cross_entropy(logits, labels[rows])
            sgd.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(reference.parameters(), 3.0)
            sgd.step()
            losses.append(loss.item())
            right += int((logits.argmax(1) == labels[rows]).sum())
        reference.eval()
        tested = reference((samples[run.task.test] - mean) / std).detach()
        reference.train()
        record = trained.history[epoch]
        assert record["epoch"] == epoch + 1 and record["lr"] == pytest.approx(0.02 * 0.1**epoch)
        assert record["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
        assert record["terms"] == {"ce": {"raw": record["loss"], "weighted": record["loss"]}}
        assert record["train_accuracy"] == pytest.approx(right / 40)
        test_labels = labels[run.task.test]
        assert record["accuracy"] == pytest.approx((tested.argmax(1) == test_labels).double().mean().item())
        assert record["test_loss"] == pytest.approx(nn.functional.cross_entropy(tested, test_labels).item(), rel=1e-6)
    np.testing.assert_allclose(trained.logits, tested, rtol=1e-6, atol=1e-8)
    for mine, theirs in zip((trained.state[n] for n, _ in network.named_parameters()), reference.parameters()):
        torch.testing.assert_close(mine[0], theirs.data, rtol=1e-6, atol=1e-8)
    assert trained.steps == 10 and trained.failure is None


@pytest.mark.parametrize(
    ("name", "lr", "epochs"),  # of 5, 3 and 6 steps
    [
        ("cnn2", 0.01, 4),
        pytest.param("cnn2", 0.01, 10, marks=pytest.mark.slow),
        pytest.param("resnet18", 0.05, 4, marks=pytest.mark.slow),
        pytest.param("resnet18", 0.05, 10, marks=pytest.mark.slow),
    ],
)
def test_many_runs_are_the_same_runs_one_at_a_time(data: Any, name: str, lr: float, epochs: int) -> None:
    """Parameters after 20 and 50 steps, float32: every loss and mixed mixes, uneven folds, two seeds and teachers."""
    runs = [
        run_of(mix, fold=1 + i % 3, seed=i, count=(42, 30, 48)[i % 3], teacher=i % 2) for i, mix in enumerate(MIXES)
    ]
    settings = TrainSettings(model=name, epochs=epochs, lr=lr, clip_norm=5.0)
    together = fit(data, runs, settings)
    for run, mine in zip(runs, together):
        (alone,) = fit(data, [run], settings)
        assert mine.steps == alone.steps == epochs * (len(run.task.train) // 8)
        for key, value in alone.state.items():
            torch.testing.assert_close(mine.state[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "lr"), [("cnn2", 0.01), pytest.param("resnet18", 0.05, marks=pytest.mark.slow)])
def test_every_layout_gives_the_same(data: Any, name: str, lr: float) -> None:
    """In float64: in float32 a ReLU that rounding pushes over its kink sets two trainings of a deep network apart."""
    samples, labels, teacher = data[0].double(), data[1], mapped(data[2], Tensor.double)
    runs = [
        run_of(mix, fold=1 + i % 3, seed=i, count=(42, 30, 48)[i % 3], teacher=i % 2) for i, mix in enumerate(MIXES)
    ]
    settings = TrainSettings(model=name, epochs=4, lr=lr, clip_norm=5.0)
    expected = fit((samples, labels, teacher), runs, settings, layout="loop")
    trained = fit((samples, labels, teacher), runs, settings, layout="vmap")
    for mine, theirs in zip(trained, expected):
        for key, value in theirs.state.items():
            torch.testing.assert_close(mine.state[key], value, rtol=1e-5, atol=1e-7)
        for one, other in zip(mine.history, theirs.history):
            assert one["terms"].keys() == other["terms"].keys()
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
            assert one["test_loss"] == pytest.approx(other["test_loss"], rel=1e-5)


def test_the_same_bits_twice_and_with_any_number_of_threads(data: Any) -> None:
    runs = [run_of("angle,area", seed=seed) for seed in range(3)]
    first = fit(data, runs)
    cores = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for one, other in zip(first, fit(data, runs)):
                assert_equal(one, other)
            assert torch.get_num_threads() == count
            assert_equal(first[1], fit(data, runs[1:2])[0])
    finally:
        torch.set_num_threads(cores)


def test_only_the_runs_own_rows_are_read(data: Any) -> None:
    samples, labels, teacher = data
    run = run_of("angle,area,hinton", count=30)
    poisoned, foreign = samples.clone(), torch.ones(ROWS, dtype=torch.bool)
    foreign[np.concatenate([run.task.train, run.task.test])] = False
    poisoned[foreign] = torch.nan
    taught = mapped(teacher, Tensor.clone)
    for part in taught.outputs.values():
        part[:, np.setdiff1d(np.arange(ROWS), run.task.train)] = torch.nan
    wrong = torch.where(foreign, 99, labels)
    for layout in ("loop", "vmap"):
        expected = fit(data, [run, run_of("soft", seed=1, count=30)], layout=layout)
        trained = fit((poisoned, wrong, taught), [run, run_of("soft", seed=1, count=30)], layout=layout)
        for one, other in zip(expected, trained):
            assert_equal(one, other)


def test_records(data: Any) -> None:
    """What is said of an epoch adds up, and the best state is the one of the best epoch."""
    seen: list[tuple[int, dict[str, Any]]] = []
    runs = [run_of("angle:40,area:20"), run_of("hinton:3@T=2", seed=4)]
    settings = dataclasses.replace(QUICK, epochs=5, lr=0.03)
    trained = fit(data, runs, settings, on_epoch=lambda r, record: seen.append((r, record)))
    assert [(r, record["epoch"]) for r, record in seen] == [(r, e) for e in range(1, 6) for r in range(2)]
    for r, one in enumerate(trained):
        assert [record for index, record in seen if index == r] == one.history
        for record in one.history:
            weights = {term.key: term.weight for term in runs[r].mix.terms}
            assert record["terms"].keys() == weights.keys()
            for key, term in record["terms"].items():
                assert term["weighted"] == pytest.approx(weights[key] * term["raw"])
            assert record["loss"] == pytest.approx(sum(t["weighted"] for t in record["terms"].values()), rel=1e-5)
        accuracies = [record["accuracy"] for record in one.history]
        assert one.best_accuracy == max(accuracies) and one.best_epoch == 1 + accuracies.index(max(accuracies))
        test = torch.from_numpy(runs[r].task.test)
        for state, accuracy in ((one.state, accuracies[-1]), (one.best_state, one.best_accuracy)):
            network = models.build("cnn2", SHAPE, CLASSES)
            network.load_state_dict(state)
            logits = network.eval()(data[0][test]).logits[0]
            assert (logits.argmax(1) == data[1][test]).double().mean().item() == pytest.approx(accuracy)
        assert one.logits.shape == (12, CLASSES) and one.logits.dtype == np.float32


def test_it_learns(data: Any) -> None:
    trained = fit(data, [run_of("ce")], dataclasses.replace(QUICK, epochs=8, lr=0.02))[0]
    assert trained.history[-1]["accuracy"] > 0.8 > trained.history[0]["train_accuracy"]


def test_tests_of_unequal_size(data: Any) -> None:
    long = run_of("ce")
    short = Run(2, 0, LossMix.parse("ce"), Task(long.task.train, np.array([50, 59, 48])))
    for layout in ("loop", "vmap"):
        together = fit(data, [long, short], layout=layout)
        alone = fit(data, [short])[0]
        assert together[1].logits.shape == (3, CLASSES)
        np.testing.assert_allclose(together[1].logits, alone.logits, rtol=1e-3, atol=1e-4)
        assert together[1].history[-1]["test_loss"] == pytest.approx(alone.history[-1]["test_loss"], rel=1e-4)
        assert together[1].history[-1]["accuracy"] == alone.history[-1]["accuracy"]


@pytest.mark.parametrize("layout", ["loop", "vmap"])
def test_a_run_that_blows_up_is_named_and_the_others_go_on(data: Any, layout: str) -> None:
    samples, labels, teacher = data
    logits = teacher.outputs.logits.clone()
    bad, good = run_of("hinton,angle", fold=3, seed=7, teacher=1), run_of("angle,area", teacher=0)
    logits[1, order(bad, 1)[17]] = torch.inf  # first met in epoch 2, and left out of epoch 1
    settings = dataclasses.replace(QUICK, epochs=4)
    poisoned = Stored({**teacher.outputs, "logits": logits})
    trained = fit((samples, labels, poisoned), [bad, good], settings, layout=layout)
    if order(bad, 1)[17] in order(bad, 0)[:40]:
        assert len(trained[0].history) == 0
    else:
        assert len(trained[0].history) == 1
    assert "fold 3, seed 7" in trained[0].failure and "hinton" in trained[0].failure and "soft" in trained[0].failure
    assert "angle" not in trained[0].failure and not trained[0].state
    (alone,) = fit(data, [good], settings, layout=layout)
    assert trained[1].failure is None and len(trained[1].history) == 4
    for key, value in alone.state.items():
        torch.testing.assert_close(trained[1].state[key], value, rtol=1e-4, atol=1e-6)


def test_a_learning_rate_that_is_far_too_high_ends_in_a_message(data: Any) -> None:
    trained = fit(data, [run_of("ce")], dataclasses.replace(QUICK, lr=1e3))[0]
    assert trained.failure and "ce is not finite" in trained.failure and "lower learning rate" in trained.failure


def test_label_smoothing_and_class_weights_reach_the_loss(data: Any) -> None:
    samples, labels, _ = data
    rows = np.concatenate([np.flatnonzero(labels.numpy() == 0)[:16], np.flatnonzero(labels.numpy() == 1)[:8]])
    run = Run(1, 0, LossMix.parse("ce"), Task(rows, np.arange(48, 60)))
    settings = TrainSettings(model="cnn2", epochs=1, batch=24, lr=1e-3, label_smoothing=0.1, class_weights="balanced")
    (trained,) = fit(data, [run], settings)
    network = models.Stacked([models.network("cnn2", SHAPE, CLASSES, fold=1)])
    mean, std = normalisation(samples, rows)
    logits = with_weights_of(network, 0)((samples[rows] - mean) / std)
    weights = torch.tensor([24 / (3 * 16), 24 / (3 * 8), 0.0])
    expected = nn.functional.cross_entropy(logits, labels[rows], weights, label_smoothing=0.1)
    assert trained.history[0]["loss"] == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("layout", ["loop", "vmap"])
def test_bfloat16_samples_and_autocast_train(data: Any, layout: str) -> None:
    samples, labels, teacher = data
    settings = dataclasses.replace(QUICK, epochs=6, lr=0.02, precision="bfloat16")
    runs = [run_of("ce"), run_of("angle,area")]
    trained = fit((samples.bfloat16(), labels, teacher), runs, settings, layout=layout)
    assert trained[0].history[-1]["accuracy"] > 0.8
    assert all(value.dtype != torch.bfloat16 for value in trained[0].state.values())


@pytest.mark.parametrize("layout", ["loop", "vmap"])
def test_bfloat16_leaves_batch_norms_statistics_in_float32(data: Any, layout: str) -> None:
    """And the loss is nearly that of float32, as long as the weights are: the learning rate is low."""
    settings = TrainSettings(model="resnet18", epochs=1, lr=1e-4, batch=8)
    runs = [run_of("ce"), run_of("ce", fold=2)]
    half = fit(data, runs, dataclasses.replace(settings, precision="bfloat16"), layout=layout)
    for one, full in zip(half, fit(data, runs, settings, layout=layout)):
        assert one.failure is None and one.history[0]["loss"] == pytest.approx(full.history[0]["loss"], rel=0.05)
        for name, value in one.state.items():
            assert value.dtype == torch.float32, name
            if "running_mean" in name:
                assert (value - full.state[name]).norm() < 0.1 * full.state[name].norm(), name


def test_augmentation_sees_each_run_and_its_own_draws(data: Any) -> None:
    seen: dict[int, Tensor] = {}

    def augment(x: Tensor, draws: Tensor, means: Tensor | None) -> Tensor:
        assert means is not None and means.shape == (len(x), *SHAPE[:2], 1)
        assert x.shape[1:] == SHAPE and draws.shape == (len(x), 3) and draws.min() >= 0 and draws.max() < 1
        seen[len(seen)] = draws.clone()
        return torch.where(draws[:, :1, None, None] < 0.5, x.flip(-1), x)

    runs = [run_of("ce", seed=seed) for seed in range(2)]
    together = fit(data, runs, augment=augment)
    draws = torch.stack(list(seen.values()))
    assert len({tuple(row) for row in draws.flatten(0, 1).tolist()}) == draws.shape[0] * draws.shape[1]
    assert_equal(together[1], fit(data, runs[1:], augment=augment)[0])
    assert not np.array_equal(together[1].logits, fit(data, runs[1:])[0].logits)


def test_outputs_of_a_teacher(data: Any) -> None:
    samples = data[0].clone()
    network = models.build("resnet18", SHAPE, CLASSES, runs=2).single(1)
    rows = np.array([5, 2, 40])
    samples[np.setdiff1d(np.arange(ROWS), rows)] = torch.inf
    outputs = training.outputs(network, samples, rows, chunk=2)
    assert set(outputs) == {"embedding", "hidden", "logits"}
    assert outputs.embedding.shape == (ROWS, 256) and outputs.logits.shape == (ROWS, CLASSES)
    expected = network.eval()(samples[rows])
    torch.testing.assert_close(outputs.embedding[rows], expected.embedding)
    assert outputs.logits.isnan().all(1).sum() == ROWS - 3 and not outputs.logits[rows].isnan().any()
    other = models.network("resnet18", SHAPE, CLASSES, fold=1)
    saved.load_state(other, {name: value[None] for name, value in state_of(network).items()})
    again = training.outputs(other, samples, rows[:1], ("logits", "map4"))
    torch.testing.assert_close(again.logits[rows[:1]], outputs.logits[rows[:1]])
    assert again.logits.isnan().all(1).sum() == ROWS - 1
    torch.testing.assert_close(again.map4[rows[:1]], expected.map4[:1])
    several = Stored({"logits": torch.stack([outputs.logits, again.logits])})
    asked = several.batch(torch.tensor([[0], [1]]), torch.tensor([[2, 40], [5, 5]]))
    torch.testing.assert_close(asked.logits[0], outputs.logits[[2, 40]])
    torch.testing.assert_close(asked.logits[1], again.logits[[5, 5]])


def state_of(network: models.Network) -> dict[str, Tensor]:
    return {"mean": network.mean, "std": network.std, **network.body.state_dict()}


def test_what_does_not_fit_together_is_one_clear_line(data: Any) -> None:
    samples, labels, _ = data
    few = Run(1, 0, LossMix.parse("ce"), Task(np.arange(5), np.arange(48, 60)))
    for runs, options in (
        ([], {}),
        ([few], {}),
        ([run_of("soft", teacher=2)], {}),
        ([run_of("ce")], {"layout": "looped"}),
        ([dataclasses.replace(few, task=Task(np.arange(50, 70), few.task.test))], {}),
        ([dataclasses.replace(few, task=Task(few.task.train, np.array([], int)))], {}),
    ):
        with pytest.raises(InputError, match="expected"):
            fit(data, runs, **options)
    with pytest.raises(InputError, match="no teacher 0; expected its outputs"):
        training.fit(samples, labels, [run_of("soft")], QUICK, classes=CLASSES)
    small = dataclasses.replace(QUICK, batch=2)
    with pytest.raises(InputError, match=r"batch = 2: angle of mix .* at least 3 clips in a batch; expected 3 or more"):
        fit(data, [run_of("angle,area")], small)
    with pytest.raises(InputError, match="labels 0 to 2; expected 0 to 1"):
        training.fit(samples, labels, [run_of("ce")], QUICK, classes=2)


def test_tasks_and_samplings_that_cannot_be_are_refused_in_one_line() -> None:
    rows = np.arange(8)
    for make, words in (
        (
            lambda: Task(rows, rows, classes=(1, 1)),
            "a task of the classes (1, 1); expected different numbers of classes",
        ),
        (lambda: Task(rows, rows, classes=()), "a task of the classes (); expected different numbers of classes"),
        (lambda: Task(rows, rows, unlabelled=rows[:0]), "a task with no unlabelled rows; expected some, or None"),
        (lambda: Task(rows, rows, labels=rows[:3]), "3 labels of 8 training rows; expected one for each"),
        (lambda: Sampling("balanced"), "sampler = 'balanced': expected 'shuffle', or 'classes:m'"),
        (lambda: Sampling("shufle"), "sampler = 'shufle': expected 'shuffle', or 'classes:m'"),
    ):
        with pytest.raises(InputError, match=re.escape(words)) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_an_output_that_was_not_stored_is_named(data: Any) -> None:
    samples, labels, taught = data
    with pytest.raises(InputError, match="the teacher's 'embedding' is not stored; expected some of logits"):
        fit((samples, labels, Stored({"logits": taught.outputs.logits})), [run_of("angle")])
