"""Noise in teachers, inputs and labels: by the equations, the same in packs and alone, and after a stop."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import models
from pipeline.config import InputError, TrainSettings
from pipeline.models import Network, Outputs
from pipeline.models.based import Based
from pipeline.training import Live, Stored
from pipeline.training.draws import bits, normal, uniform
from pipeline.training.dropout import PLACES, Dropout, dropped, output_layers, with_masks
from pipeline.training.sampling import wrong_labels
from tests.trainings import CLASSES, QUICK, SHAPE, assert_equal, data, every_checkpoint, fit, run_of, without_seconds

__all__ = ["data"]

MASK = 2**64 - 1


def teacher(name: str = "resnet18", seed: int = 5) -> Network:
    return models.network(name, SHAPE, CLASSES, seed=seed).eval()


def live(data: Any, name: str = "cnn2") -> tuple[Any, Any, Live]:
    return data[0], data[1], Live([[teacher(name)], [teacher(name, 6)]])


def with_(**settings: Any) -> TrainSettings:
    return dataclasses.replace(QUICK, **settings)


def test_numbers_of_a_key_are_those_of_splitmix64() -> None:
    """Steele, Lea and Flood 2014 in Python's whole numbers; 6457827717110365317 is the published first output of 1234567."""

    def expected(seed: int, count: int) -> list[int]:
        numbers = []
        for place in range(1, count + 1):
            z = (seed + place * 0x9E3779B97F4A7C15) & MASK
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
            numbers.append(z ^ (z >> 31))
        return numbers

    keys = torch.tensor([1234567, -5])
    drawn = [[number & MASK for number in row] for row in bits(keys, 50).tolist()]
    assert drawn == [expected(1234567, 50), expected(-5 & MASK, 50)] and drawn[0][0] == 6457827717110365317
    assert not set(bits(keys, 50, stream=1).flatten().tolist()) & set(bits(keys, 50).flatten().tolist())


@pytest.mark.parametrize("counted", [False, True])
def test_uniform_and_normal_numbers_of_a_key(counted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = torch.tensor([7, -8, 9])
    if counted:  # as on a GPU, whose device is not "cpu"
        monkeypatch.setattr(torch.Tensor, "device", property(lambda tensor: torch.device("meta")), raising=False)
        monkeypatch.setattr(torch, "arange", lambda *ends, device, arange=torch.arange: arange(*ends))
    flat, bell = uniform(keys, 40001), normal(keys, 40001)
    monkeypatch.undo()
    assert flat.shape == bell.shape == (3, 40001) and flat.dtype == bell.dtype == torch.float32
    assert flat.min() >= 0 and flat.max() < 1 and abs(flat.mean() - 0.5) < 0.005
    assert abs(bell.mean()) < 0.015 and abs(bell.std() - 1) < 0.015 and bell.isfinite().all()
    assert abs((bell.abs() < 1).float().mean() - 0.6827) < 0.01
    assert abs(np.corrcoef(bell.numpy())[0, 1]) < 0.02
    if not counted:
        assert torch.equal(uniform(keys[1:2], 40001)[0], flat[1])  # of its key alone


def test_dropout_keeps_the_mean_and_divides_what_is_kept() -> None:
    x = torch.rand(4 * 3, 5, 40) + 1
    kept = dropped(x, 0.4, torch.tensor([1, 2, 3, 4]), 0)
    assert torch.equal(kept != 0, kept != 0) and torch.allclose(kept[kept != 0], (x / 0.6)[kept != 0])
    assert abs((kept == 0).float().mean() - 0.4) < 0.03 and abs(kept.mean() - x.mean()) < 0.1
    alone = dropped(x[3:6], 0.4, torch.tensor([2]), 0)
    assert torch.equal(alone, kept[3:6])  # a run's masks are its own, whoever is beside it


@pytest.mark.parametrize("name", ["resnet18", "cnn2", "cnn2_cosine"])
def test_masks_act_behind_every_stage_and_before_the_output_layer(name: str) -> None:
    network, x = teacher(name), torch.randn(6, *SHAPE)
    plain, key = network(x), torch.tensor([11])
    twin = with_masks(network, Dropout(0.5), key)
    masked = twin(x)
    for (mine, ours), (theirs, others) in zip(network.state_dict().items(), twin.state_dict().items(), strict=True):
        assert mine == theirs and ours.data_ptr() == others.data_ptr()  # the same weights, no copies
    assert not any(module.training for module in twin.modules())  # batch norm as in a test
    assert torch.equal(masked["map1"], plain["map1"])  # the first mask is behind the first stage
    assert not torch.equal(masked["map2"], plain["map2"]) and torch.equal(twin(x).logits, masked.logits)
    key += 1
    assert not torch.equal(twin(x).logits, masked.logits)  # another step, other masks
    last = with_masks(network, Dropout(0.5, output=True), torch.tensor([11]))(x)
    assert torch.equal(last.hidden, plain.hidden) and not torch.equal(last.logits, plain.logits)
    assert torch.equal(network(x).logits, plain.logits)  # the teacher itself is as it was


def test_over_many_draws_the_masked_output_layer_says_what_the_network_says() -> None:
    network, x, draws = teacher(), torch.randn(4, *SHAPE), 2000
    with torch.no_grad():
        outputs = network(x)
        each = network.body.linear(dropped(outputs.hidden.repeat(draws, 1), 0.4, torch.arange(draws), 0))
    each = each.view(draws, 4, CLASSES)
    assert (each.mean(0) - outputs.logits).abs().max() < 5 * float(each.std(0).max()) / math.sqrt(draws)


def test_no_dropout_equals_hinton_bit_for_bit(data: Any) -> None:
    """p = 0, where it may be and whatever else is said of it, with teachers that run and with stored ones."""
    for given in (live(data), data):
        (plain,) = fit(given, [run_of("hinton:1,ce:1")])
        (none,) = fit(given, [run_of("hinton:1,ce:1")], with_(teacher_dropout=0.0, teacher_dropout_at="output"))
        assert_equal(plain, none)


def stored_with_layers(data: Any, given: tuple[Any, Any, Live]) -> tuple[Any, Any, Stored]:
    with torch.no_grad():
        each = [network(data[0]) for (network,) in given[2].teachers]
    arrays = {name: torch.stack([one[name] for one in each]) for name in ("embedding", "logits", "hidden")}
    return data[0], data[1], Stored(arrays, layers=output_layers(given[2].teachers, arrays["hidden"]))


def test_the_output_layer_of_stored_teachers_drops_as_the_oracle_does(data: Any) -> None:
    given = stored_with_layers(data, live(data, "resnet18"))
    layers = given[2].layers
    assert layers is not None
    rows, teachers, keys = torch.tensor([[3, 9], [4, 4]]), torch.tensor([[1], [0]]), torch.tensor([5, 6])
    logits = layers.logits(teachers, rows, 0.5, keys)
    for run in range(2):
        kept = uniform(keys[run : run + 1], 2 * layers.hidden.shape[-1], PLACES - 1).view(2, -1) >= 0.5
        network = live(data, "resnet18")[2].teachers[int(teachers[run])][0]
        for place, row in enumerate(rows[run].tolist()):
            hidden = network(data[0][row : row + 1]).hidden[0]
            expected = network.body.linear(torch.where(kept[place], hidden / 0.5, 0))
            assert torch.allclose(logits[run, place], expected, atol=1e-5)


NOISY = (
    pytest.param({"input_noise": 0.3}, marks=pytest.mark.slow),
    pytest.param({"label_noise": 0.3}, marks=pytest.mark.slow),
    {"teacher_dropout": 0.4},
    {"teacher_dropout": 0.4, "teacher_dropout_at": "output", "input_noise": 0.1, "label_noise": 0.1},
)


@pytest.mark.parametrize("settings", NOISY, ids=lambda s: "-".join(s))
def test_noise_is_the_same_in_packs_alone_and_after_a_stop(data: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    given, how = live(data), with_(**settings)
    if settings.get("teacher_dropout_at") == "output":
        given = stored_with_layers(data, given)
    runs = [run_of("hinton:1,ce:1", fold, seed, 42 - 8 * fold, fold % 2) for fold, seed in ((1, 0), (2, 0), (1, 1))]
    together = fit(given, runs, how)
    path = tmp_path / "pack.pt"
    kept, _ = every_checkpoint(path, given, runs, how)
    path.write_bytes(kept[len(kept) // 2])
    for one, again, run in zip(together, fit(given, runs, how, checkpoint=path), runs):
        assert_equal(one, again)
        (alone,) = fit(given, [run], how)
        assert_equal(one, alone)
    (plain,) = fit(given, runs[:1])
    assert without_seconds(plain.history) != without_seconds(together[0].history)
    seeds = [without_seconds(one.history)[-1]["loss"] for one in together]
    assert len(set(seeds)) == 3


def test_students_see_noise_of_their_inputs_deviation_and_teachers_do_not(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, how = live(data, "resnet18"), with_(input_noise=0.2, epochs=1)
    seen: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}
    forward = Network.forward

    def watched(self: Network, x: torch.Tensor) -> Outputs:
        if self.training or self.name == "resnet18":
            seen["student" if self.training else "teacher"].append(x.clone())
        return forward(self, x)

    monkeypatch.setattr(Network, "forward", watched)
    (result,) = fit(given, [run_of("hinton:1,ce:1")], how)
    clean, noisy = torch.cat(seen["teacher"][-5:]), torch.cat(seen["student"][-5:])
    rows = {row.numpy().tobytes() for row in data[0]}
    assert all(x.numpy().tobytes() in rows for x in clean)
    added = (noisy - clean) / result.state["std"][0]
    assert abs(added.mean()) < 0.02 and abs(added.std() - 0.2) < 0.02
    monkeypatch.undo()
    (none,) = fit(given, [run_of("hinton:1,ce:1")], with_(input_noise=0.0, epochs=1))
    assert_equal(none, fit(given, [run_of("hinton:1,ce:1")], with_(epochs=1))[0])


def test_wrong_labels_are_the_other_classes_evenly() -> None:
    """METHODS 5.3, by its numbers: C = 10, y = 3, u = 0.05; and the confusion at p = 0.2 of four classes."""
    three = np.full(3, 3)
    assert wrong_labels(three, np.full(3, 0.05), np.array([0, 0.5, 0.999]), 0.2, 10).tolist() == [4, 8, 2]
    assert wrong_labels(three, np.full(3, 0.2), np.array([0, 0.5, 0.999]), 0.2, 10).tolist() == [3, 3, 3]
    assert wrong_labels(np.array([-1, 9]), np.zeros(2), np.full(2, np.nextafter(1, 0)), 0.2, 10).tolist() == [-1, 8]
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 50_000)
    drawn = wrong_labels(labels, random.random(len(labels)), random.random(len(labels)), 0.2, 4)
    confusion = np.array([[np.mean(drawn[labels == y] == other) for other in range(4)] for y in range(4)])
    assert np.allclose(confusion, np.full((4, 4), 0.2 / 3) + (0.8 - 0.2 / 3) * np.eye(4), atol=0.006)


def test_terms_learn_the_changed_label_and_accuracy_counts_the_true_one(data: Any) -> None:
    samples, labels, _ = data
    easy = samples + 30 * labels[:, None, None, None]
    how = with_(epochs=12, lr=0.003, label_noise=0.4)
    (noisy,) = fit((easy, labels, None), [run_of("ce")], how)
    (clean,) = fit((easy, labels, None), [run_of("ce")], dataclasses.replace(how, label_noise=0.0))
    assert clean.history[-1]["train_accuracy"] > 0.9 and noisy.history[-1]["train_accuracy"] > 0.85
    assert noisy.history[-1]["loss"] > 0.5 > clean.history[-1]["loss"]  # of changed labels a right answer costs


@pytest.mark.parametrize(
    ("mix", "settings", "words"),
    [
        ("ce", {"teacher_dropout": 0.4}, "teacher_dropout = 0.4: mix ce:1 has no teacher"),
        ("hinton", {"teacher_dropout": 0.4}, "what was computed once of a teacher drops nothing"),
        ("ce", {"sampler": "unlabelled:3"}, "no term of mix ce:1 learns from clips without a label"),
        ("soft", {"sampler": "unlabelled:3"}, "sampler = 'unlabelled:3', and every clip has a label"),
        ("ce", {"unlabelled_threshold": 0.3}, "chooses by what a teacher says of clips without a label"),
        ("soft", {"unlabelled_per_class": 3}, "unlabelled_per_class = 3, and every clip has a label"),
        ("ce,soft@rows=unlabelled", {"sampler": "classes:4"}, "draws clips with a label alone"),
    ],
)
def test_what_would_do_nothing_is_refused(data: Any, mix: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(")) as caught:
        fit(data, [run_of(mix)], with_(**settings))
    assert "\n" not in str(caught.value) and "expected" in str(caught.value)


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_shares_are_below_one(value: float) -> None:
    for name in ("teacher_dropout", "label_noise", "label_noise_fixed", "unlabelled", "unlabelled_threshold"):
        with pytest.raises(InputError, match=f"{name} = .*: expected 0 or more, below 1"):
            with_(**{name: value})
    for wrong in (-0.1, float("nan"), float("inf"), 101.0):
        with pytest.raises(InputError, match="input_noise"):
            with_(input_noise=wrong)


def test_beside_a_student_whose_misses_are_learned_the_teacher_alone_drops() -> None:
    network, student, x = teacher(), teacher("cnn2", 8), torch.randn(4, *SHAPE)
    both: Any = Based(network, student, "hidden", torch.randn(256, 32))
    keys = torch.tensor([11])
    with torch.no_grad():
        plain = both(x)
        for output in (False, True):
            masked, alone = (with_masks(one, Dropout(0.5, output), keys)(x) for one in (both, network))
            assert torch.equal(masked.base, plain.base) and torch.equal(masked.logits, alone.logits)
            assert not torch.equal(masked.logits, plain.logits)
    layers = output_layers([[both]], plain.hidden[None])
    assert torch.equal(layers.weight[0], network.body.linear.weight)
