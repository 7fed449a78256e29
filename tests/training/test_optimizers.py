"""Steps of R runs at once against torch's own optimizers on one network; averaged weights, dropout, learning rates."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline import models, training
from pipeline.config import InputError, TrainSettings
from pipeline.models.dropout import Dropout, hashed
from pipeline.training import Run, optimizer
from pipeline.training.optimizer import descend, state_of
from pipeline.training.sampling import order
from pipeline.training.teaching import Stored
from tests.networks import with_weights_of
from tests.trainings import CLASSES, QUICK, SHAPE, assert_equal, data, every_checkpoint, fit, made_up, run_of

__all__ = ["data"]  # a fixture

ADAMW = TrainSettings(
    model="resnet18",
    epochs=2,
    batch=8,
    lr=0.003,
    optimizer="adamw",
    weight_decay=0.05,
    schedule="cosine",
    clip_norm=2.0,
)
#: Every setting that keeps a state, with batch norm and dropout.
STATES = dataclasses.replace(ADAMW, average=0.9, dropout=0.3, warmup_epochs=0.5, label_smoothing=0.1)


#: The paper's student, and what has batch norm as well.
EVERY_LAYOUT = pytest.mark.parametrize(
    ("model", "layout"),
    [
        ("cnn2", "loop"),
        ("cnn2", "vmap"),
        *(pytest.param("resnet18", layout, marks=pytest.mark.slow) for layout in ("loop", "vmap")),
    ],
)


def uneven() -> list[Run]:
    """Three runs that end at different steps of an epoch."""
    return [run_of("ce"), run_of("soft", fold=2, seed=1, count=25, teacher=1), run_of("ce,angle", seed=2, count=30)]


@pytest.mark.parametrize(
    ("settings", "kind", "options"),
    [
        ({"weight_decay": 1e-4}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
        (
            {"momentum": 0.8, "nesterov": False, "weight_decay": 0.01, "clip_norm": 0.5},
            torch.optim.SGD,
            {"momentum": 0.8, "weight_decay": 0.01},
        ),
        ({"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}, torch.optim.SGD, {}),
        (
            {"momentum": 0.5, "weight_decay": 0.1, "clip_norm": 2.0},
            torch.optim.SGD,
            {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
        ),
        ({"optimizer": "adamw", "weight_decay": 0.05}, torch.optim.AdamW, {"weight_decay": 0.05}),
        (
            {"optimizer": "adamw", "weight_decay": 0.0, "momentum": 0.5, "beta2": 0.9, "clip_norm": 1.0},
            torch.optim.AdamW,
            {"betas": (0.5, 0.9), "weight_decay": 0.0},
        ),
    ],
)
def test_descend_is_torchs(
    settings: dict[str, Any], kind: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    """Two runs with learning rates of their own, ten steps, against torch's optimizer and clip_grad_norm_."""
    torch.manual_seed(0)
    chosen = TrainSettings(**settings)
    weights = torch.randn(2, 7)
    state = state_of(weights, chosen)
    theirs = [nn.Parameter(weights[run].clone()) for run in range(2)]
    each = [kind([parameter], lr=1, **options) for parameter in theirs]
    for step in range(10):
        gradients, lr = torch.randn(2, 7), torch.tensor([[0.1], [0.02 * step]])
        for run in range(2):
            theirs[run].grad = gradients[run].clone()
            if chosen.clip_norm:
                nn.utils.clip_grad_norm_([theirs[run]], chosen.clip_norm)
            each[run].param_groups[0]["lr"] = lr[run].item()
            each[run].step()
        descend(weights, gradients, state, lr, chosen)
    torch.testing.assert_close(weights, torch.stack([parameter.data for parameter in theirs]))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_masked_run_keeps_every_bit(name: str) -> None:
    settings = TrainSettings(clip_norm=1.0, optimizer=name, average=0.9)
    weights = torch.randn(3, 5)
    state = {key: torch.rand_like(one) for key, one in state_of(weights, settings).items()}
    before = {"weights": weights.clone(), **{key: one.clone() for key, one in state.items()}}
    gradients, lr = torch.randn(3, 5), torch.full((3, 1), 0.1)
    gradients[1] = torch.nan
    descend(weights, gradients.clone(), state, lr, settings, torch.tensor([[True], [False], [True]]))
    others = {key: one[::2].clone() for key, one in before.items()}
    descend(others.pop("weights"), gradients[::2].clone(), others, lr[::2], settings)
    for key, one in state.items():
        assert torch.equal(one[1], before[key][1]) and torch.equal(one[::2], others[key]), key
    assert torch.equal(weights[1], before["weights"][1]) and not torch.equal(weights[0], before["weights"][0])


def warmed_up(average: Tensor, latest: Tensor, updates: Tensor) -> Tensor:
    """The average after one more update of a decay of 0.9; counts are not averaged."""
    decay = min(0.9, (2 + int(updates)) / (11 + int(updates)))
    return average.lerp(latest, 1 - decay) if latest.is_floating_point() else latest


def reference_training(
    samples: Tensor, labels: Tensor, run: Run, settings: TrainSettings
) -> tuple[nn.Module, Tensor, Any]:
    """The same training in plain torch: its network, its test logits, and torch's own averaged model."""
    stacked = models.Stacked([models.network(settings.model, SHAPE, CLASSES, seed=run.seed, fold=run.fold)]).double()
    network = with_weights_of(stacked, 0).train()
    x = samples[run.task.train]
    mean, std = x.mean((0, 3), keepdim=True), x.std((0, 3), keepdim=True, correction=0)
    adamw = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    averaged: Any = torch.optim.swa_utils.AveragedModel(network, avg_fn=warmed_up, use_buffers=True)
    steps, taken = len(run.task.train) // 8, 0
    for epoch in range(settings.epochs):
        for rows in torch.from_numpy(order(run, epoch))[: 8 * steps].split(8):
            adamw.param_groups[0]["lr"] = settings.lr / 2 * (math.cos(math.pi * taken / (steps * settings.epochs)) + 1)
            adamw.zero_grad()
            nn.functional.cross_entropy(network((samples[rows] - mean) / std), labels[rows]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
            adamw.step()
            averaged.update_parameters(network)
            taken += 1
    averaged.eval()
    return network, averaged((samples[run.task.test] - mean) / std).detach(), averaged


@pytest.mark.parametrize("name", ["cnn2", "resnet18"])
def test_adamw_with_averaged_weights_is_a_plain_torch_loop(data: Any, name: str) -> None:
    """What is tested and kept is the average, batch norm's statistics too; every second run has other weights beside it."""
    samples, labels, _ = data
    samples = samples.double()
    settings = dataclasses.replace(ADAMW, model=name, average=0.9)
    runs = [run_of("ce"), run_of("ce", fold=2, seed=1, count=25)]
    for run, trained in zip(runs, training.fit(samples, labels, runs, settings, classes=CLASSES)):
        network, logits, averaged = reference_training(samples, labels, run, settings)
        np.testing.assert_allclose(trained.logits, logits, rtol=1e-4, atol=1e-6)  # rates are float32
        names = [key for key, _ in models.network(name, SHAPE, CLASSES).body.named_parameters()]
        for key, latest, average in zip(names, network.parameters(), averaged.module.parameters()):
            torch.testing.assert_close(trained.state[key][0], average.data, rtol=1e-4, atol=1e-6)
            assert not torch.equal(average, latest)
        right = (logits.argmax(1) == labels[run.task.test]).double().mean().item()
        assert trained.history[-1]["accuracy"] == pytest.approx(right)


@EVERY_LAYOUT
def test_states_in_packs_are_those_of_single_runs(data: Any, model: str, layout: str) -> None:
    settings = dataclasses.replace(STATES, model=model)
    together = fit(data, uneven(), settings, layout=layout)
    for run, one in zip(uneven(), together):
        (alone,) = fit(data, [run], settings, layout=layout)
        if layout == "loop":
            assert_equal(one, alone)
        for key, value in alone.state.items():
            # AdamW divides by what is near 0, which rounding then decides: on an AMX processor of 3 of 9,216 weights by 3.3e-3.
            difference = (one.state[key] - value).abs()
            assert (difference > 1e-3 + 1e-2 * value.abs()).float().mean() < 1e-3 and difference.max() < 1e-2, key


@EVERY_LAYOUT
def test_states_in_packs_are_those_of_single_runs_to_the_last_digits_of_float64(
    data: Any, model: str, layout: str
) -> None:
    """Where float32 rounds, AdamW divides by what is near 0: on some processors a weight then differs by 3e-3. Here by 2e-13 at most."""
    samples, labels, taught = data
    doubled = (
        samples.double(),
        labels,
        Stored({name: taught.outputs[name].double() for name in ("embedding", "logits")}),
    )
    settings = dataclasses.replace(STATES, model=model)
    for run, one in zip(uneven(), fit(doubled, uneven(), settings, layout=layout)):
        (alone,) = fit(doubled, [run], settings, layout=layout)
        for key, value in alone.state.items():
            assert value.dtype == torch.float64 and one.steps == alone.steps
            torch.testing.assert_close(one.state[key], value, rtol=1e-10, atol=1e-11, msg=key)


@EVERY_LAYOUT
def test_going_on_from_every_checkpoint_keeps_the_states(data: Any, tmp_path: Path, model: str, layout: str) -> None:
    settings = dataclasses.replace(STATES, model=model)
    expected = fit(data, uneven(), settings, layout=layout)
    kept, watched = every_checkpoint(path := tmp_path / "pack.pt", data, uneven(), settings, layout=layout)
    for content in (kept[2], kept[5], kept[7], kept[-1]):
        path.write_bytes(content)
        again = fit(data, uneven(), settings, checkpoint=path, checkpoint_seconds=1e9, say=lambda line: None)
        for one, other, third in zip(expected, again, watched):
            assert_equal(one, other)
            assert_equal(one, third)


def test_every_state_changes_what_is_trained(data: Any) -> None:
    """A setting that did nothing would pass every comparison with itself."""
    changes: list[dict[str, Any]] = [
        {},
        {"optimizer": "adamw"},
        {"optimizer": "adamw", "beta2": 0.9},
        {"average": 0.5},
        {"average": 0.9},
        {"dropout": 0.2},
        {"dropout": 0.4},
    ]
    states = [fit(data, [run_of("ce")], dataclasses.replace(QUICK, **change))[0].state for change in changes]
    weights = {state["linear2.weight"].numpy().tobytes() for state in states}
    assert len(weights) == len(changes)


def test_a_checkpoint_of_sgd_holds_what_it_held_before(tmp_path: Path) -> None:
    kept, _ = every_checkpoint(tmp_path / "pack.pt", made_up(), [run_of("ce")])
    (tmp_path / "pack.pt").write_bytes(kept[0])
    names = training.checkpoint.read(tmp_path / "pack.pt")["tensors"]
    assert not [
        name
        for name in names
        if name.split(".")[0] not in ("weights", "momentum", "sums", "bad", "counter", "logits", "best")
    ]


def test_dropout_drops_its_share_anew_at_each_step() -> None:
    layer, other = Dropout(), Dropout()
    x = torch.rand(100, 40) + 1
    assert layer(x) is x and not list(layer.buffers())
    layer.begin(0.3, key=5), other.begin(0.3, key=6)
    first, second, third = layer(x), layer(x), other(x)
    kept = first != 0
    torch.testing.assert_close(first[kept], (x / 0.7)[kept])
    assert abs(kept.double().mean() - 0.7) < 4 * math.sqrt(0.3 * 0.7 / 4000)
    assert abs(kept.double().mean(0) - 0.7).max() < 5 * math.sqrt(0.3 * 0.7 / 100)
    for mask in ((second != 0), (third != 0)):  # as independent draws
        both = (kept & mask).double().mean()
        assert abs(both - 0.49) < 4 * math.sqrt(0.49 * 0.51 / 4000)
    layer.taken.zero_()
    assert torch.equal(layer(x), first)
    assert layer.eval()(x) is x


def test_hashes_are_those_of_whole_numbers() -> None:
    def plain(value: int) -> int:
        value ^= value >> 16
        value = value * 0x7FEB352D % 2**32
        value ^= value >> 15
        value = value * 0x846CA68B % 2**32
        return value ^ value >> 16

    values = [0, 1, 2, 12345, 2**31, 2**32 - 1]
    assert hashed(torch.tensor(values)).tolist() == [plain(value) for value in values]
    assert hashed(torch.tensor([2**32 + 12345])).tolist() == [plain(12345)]


def test_dropout_of_a_network_without_a_place_for_it_is_refused() -> None:
    plain = lambda shape, classes: nn.Linear(3, 3)
    with pytest.raises(InputError, match=r"dropout = 0\.2: plain has no place for it; expected 0, or a network with"):
        models.single.first_network("plain", plain, (1, 1, 3), 3, dropout=0.2)
    models.single.first_network("plain", plain, (1, 1, 3), 3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"optimizer": "adam"}, "optimizer = 'adam': expected one of sgd, adamw"),
        ({"average": 1.0}, "average = 1.0: expected 0 or more, below 1"),
        ({"beta2": -0.1}, "beta2 = -0.1: expected 0 or more, below 1"),
        ({"dropout": float("nan")}, "dropout = nan: expected 0 or more, below 1"),
    ],
)
def test_wrong_values_are_one_line(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TrainSettings(**values)


def test_learning_rates() -> None:
    step = TrainSettings(lr=1.0, step_epochs=3, gamma=0.1, epochs=9)
    rates = [optimizer.learning_rate(step, epoch, 4, 5) for epoch in range(9)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])
    warm = dataclasses.replace(step, warmup_epochs=1.5, schedule="constant")
    rates = [optimizer.learning_rate(warm, epoch, s, 4) for epoch in range(2) for s in range(4)]
    assert rates == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1])
    cosine = dataclasses.replace(step, schedule="cosine", epochs=2)
    rates = [optimizer.learning_rate(cosine, epoch, s, 5) for epoch in range(2) for s in range(5)]
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * t / 10)) for t in range(10)])
    both = dataclasses.replace(cosine, warmup_epochs=1.0)
    rates = [optimizer.learning_rate(both, epoch, s, 5) for epoch in range(2) for s in range(5)]
    assert rates[4] == 1.0 and rates[5] == 1.0 and rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)

    published = dataclasses.replace(cosine, lr=0.1, epochs=1)
    rates = [optimizer.learning_rate(published, 0, s, 4) for s in range(4)]
    assert rates == pytest.approx([0.1, 0.0853553391, 0.05, 0.0146446609], abs=1e-10)


def test_an_average_forgets_the_first_values() -> None:
    """Batch norm's first variance is 1; of one that settles at 0.013 nothing of it is left after 456 steps of 0.99."""
    latest, average = torch.ones(1, 1), torch.ones(1, 1)
    for step in range(1, 457):
        latest = 0.9 * latest + 0.1 * 0.013
        optimizer.follow({"variance": average}, {"variance": latest}, torch.full((1, 1), float(step)), 0.99)
    assert average.item() == pytest.approx(0.013, rel=1e-3)
