"""Trainings that start from the weights of another one, freeze modules, and keep the weights of epochs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import models
from pipeline.config import InputError, TrainSettings
from pipeline.models.saved import load_state
from pipeline.training import Trained
from pipeline.training.sampling import order
from pipeline.training.task import Start
from tests.trainings import CLASSES, QUICK, SHAPE, assert_equal, every_checkpoint, fit, made_up, run_of

RESNET = dataclasses.replace(QUICK, model="resnet18", epochs=1)


@pytest.fixture(scope="module")
def data() -> Any:
    return made_up()


def starting(mix: str, first: Trained, **more: Any) -> Any:
    return dataclasses.replace(run_of(mix, seed=7, **more), start=Start(first.state, first.adapters))


def test_the_first_step_has_the_loss_of_the_weights_it_starts_with(data: Any) -> None:
    samples, labels, _ = data
    (first,) = fit(data, [run_of("ce")])
    one_step = dataclasses.replace(QUICK, epochs=1, batch=40)  # of 42 rows: a single step
    run = starting("ce", first)
    (second,) = fit(data, [run], one_step)
    network = models.network("cnn2", SHAPE, CLASSES)
    load_state(network, first.state)
    rows = torch.as_tensor(order(run, 0)[:40])
    expected = torch.nn.functional.cross_entropy(network.train()(samples[rows]).logits, labels[rows])
    assert second.history[0]["loss"] == pytest.approx(expected.item(), rel=1e-6)
    (drawn,) = fit(data, [dataclasses.replace(run, start=None)], one_step)
    assert abs(drawn.history[0]["loss"] - second.history[0]["loss"]) > 1e-3


@pytest.mark.parametrize("layout", ["loop", "vmap"])
@pytest.mark.parametrize(
    ("settings", "freeze", "stays"),
    [
        (QUICK, "conv", ("conv1.", "conv2.")),
        (QUICK, "linear1", ("linear1.",)),
        (RESNET, "stem,norm,blocks.1", ("stem.", "norm.", "blocks.1.")),
    ],
)
def test_what_is_frozen_stays_bit_for_bit(
    data: Any, layout: str, settings: TrainSettings, freeze: str, stays: tuple[str, ...]
) -> None:
    """Weights and running statistics, under decay, momentum and clipping; all else moves."""
    firsts = fit(data, [run_of("ce"), run_of("ce", seed=1)], settings, layout=layout)
    how = dataclasses.replace(settings, freeze=freeze, weight_decay=0.1, clip_norm=1.0)
    mix = "ce,hint@layer=hidden"  # with an adapter, whose weights stand behind the network's
    seconds = fit(data, [starting(mix, first) for first in firsts], how, layout=layout)
    for first, second in zip(firsts, seconds):
        for name, tensor in second.state.items():
            same = name in ("mean", "std") or name.startswith(stays)
            assert torch.equal(tensor, first.state[name]) == same, name
        assert all(tensor.abs().sum() > 0 for tensor in second.adapters.values())


def test_frozen_weights_have_no_part_in_the_norm_that_clips(data: Any) -> None:
    """Clipped at the norm of what learns: as if the frozen part were no part of the network."""
    (first,) = fit(data, [run_of("ce")])
    settings = dataclasses.replace(QUICK, epochs=1, batch=40, momentum=0.0, nesterov=False, weight_decay=0.0)
    run = starting("ce", first)
    free, held = (
        fit(data, [run], dataclasses.replace(settings, clip_norm=1e-3, freeze=names))[0] for names in ("", "conv")
    )
    for one in (free, held):
        moves = [
            (one.state[name] - tensor).flatten() for name, tensor in first.state.items() if name not in ("mean", "std")
        ]
        assert float(torch.cat(moves).norm()) == pytest.approx(settings.lr * 1e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        ("linear9", "cnn2 has no module 'linear9'; expected some of conv1, conv2, linear1, linear2"),
        ("conv,linear", "nothing of cnn2 is left to learn"),
        ("conv1.bias", "cnn2 has no module 'conv1.bias'"),
    ],
)
def test_modules_that_cannot_be_frozen_are_one_line(data: Any, freeze: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        fit(data, [run_of("ce")], dataclasses.replace(QUICK, freeze=freeze))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["conv1,", "1", "conv..1", "conv1,conv1", "conv 1", "*"])
def test_a_text_that_names_no_modules(text: str) -> None:
    with pytest.raises(InputError, match="expected different names of modules"):
        TrainSettings(freeze=text)


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ("0", "expected different epochs from 1"),
        ("1,1", "expected different epochs from 1"),
        ("1.5", "expected different epochs from 1"),
        ("-1", "expected different epochs from 1"),
        ("1,,2", "expected different epochs from 1"),
        ("5,41", "epoch 41 is beyond the last of epochs = 40"),
    ],
)
def test_epochs_that_cannot_be_kept(keep: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        TrainSettings(keep=keep)
    assert TrainSettings(keep="10, 5").keep == "5,10"  # one text, one path


def test_a_kept_epoch_is_what_a_shorter_training_ends_with(data: Any, tmp_path: Path) -> None:
    """Also after a stop at any moment."""
    settings = dataclasses.replace(QUICK, epochs=3, schedule="constant")
    runs = [run_of("ce"), run_of("soft", seed=1)]
    kept, whole = every_checkpoint(tmp_path / "pack.pt", data, runs, dataclasses.replace(settings, keep="1,2"))
    for epoch in (1, 2):
        for long, short in zip(whole, fit(data, runs, dataclasses.replace(settings, epochs=epoch))):
            assert long.kept[epoch].keys() == short.state.keys()
            assert all(torch.equal(tensor, short.state[name]) for name, tensor in long.kept[epoch].items())
    for content in kept[:: max(1, len(kept) // 3)]:
        (tmp_path / "pack.pt").write_bytes(content)
        resumed = fit(data, runs, dataclasses.replace(settings, keep="1,2"), checkpoint=tmp_path / "pack.pt")
        for one, other in zip(whole, resumed):
            assert_equal(one, other)
            assert all(torch.equal(t, other.kept[e][name]) for e, part in one.kept.items() for name, t in part.items())


def test_an_adapter_goes_on_where_its_term_does(data: Any) -> None:
    """The same term goes on with what its adapter had learned; another one draws, as a run without a start does."""
    (first,) = fit(data, [run_of("hint@layer=hidden")])
    none = dataclasses.replace(QUICK, lr=0.0, epochs=1)
    (same,) = fit(data, [starting("hint@layer=hidden,ce", first)], none)
    assert same.adapters.keys() == first.adapters.keys()
    assert all(torch.equal(tensor, first.adapters[name]) for name, tensor in same.adapters.items())
    other = starting("hint@layer=embedding", first)
    taken, drawn = (fit(data, [run], none)[0].adapters for run in (other, dataclasses.replace(other, start=None)))
    assert taken and all(torch.equal(tensor, drawn[name]) for name, tensor in taken.items())


def test_weights_of_another_network_are_refused(data: Any) -> None:
    (first,) = fit(data, [run_of("ce")], RESNET)
    with pytest.raises(InputError, match="not those of a cnn2 of this shape"):
        fit(data, [starting("ce", first)])


def test_other_weights_are_another_checkpoint(data: Any) -> None:
    first, other = fit(data, [run_of("ce"), run_of("ce", seed=1)])
    texts = {str(run.identity()) for run in (run_of("ce", seed=7), starting("ce", first), starting("ce", other))}
    assert len(texts) == 3
