"""The network with an angular output layer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline import config, models
from pipeline.experiments import reading
from pipeline.losses.learner import Learner
from pipeline.models.cnn2_cosine import SCALE, SHORTEST, Cosines

SHAPE, CLASSES = (5, 9, 14), 4


def network(seed: int = 0) -> models.Network:
    return models.network("cnn2_cosine", SHAPE, CLASSES, seed=seed)


def test_it_has_the_papers_weights_less_the_bias() -> None:
    assert models.parameters(models.network("cnn2_cosine", (5, 20, 173), 10)) == 116_538 - 10
    ours, plain = (
        dict(models.network(name, SHAPE, CLASSES).body.named_parameters()) for name in ("cnn2_cosine", "cnn2")
    )
    assert plain.keys() - ours.keys() == {"linear2.bias"} and ours.keys() < plain.keys()


def test_outputs_are_scaled_cosines_of_hidden_and_each_classs_weights() -> None:
    one = network()
    outputs = one(torch.randn(6, *SHAPE))
    weights = one.body.linear2.weight.tolist()
    for n, hidden in enumerate(outputs.hidden.tolist()):
        for c, weight in enumerate(weights):
            lengths = [math.sqrt(sum(x * x for x in row)) for row in (hidden, weight)]
            cosine = sum(a * b for a, b in zip(hidden, weight)) / (lengths[0] * lengths[1])
            assert outputs.cosines[n, c].item() == pytest.approx(cosine, abs=1e-6)
            assert outputs.logits[n, c].item() == pytest.approx(16 * cosine, abs=2e-5)
    assert set(outputs) == {"embedding", "hidden", "logits", "cosines", "map1", "map2"}
    assert outputs.cosines.abs().max() <= 1 + 1e-6


def test_a_zero_row_has_the_cosine_zero_and_a_short_one_a_bounded_gradient() -> None:
    layer = Cosines(3, 2)
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([(0.0, 0.0, 0.0), (1e-5, 0.0, 0.0), (1e-3, 0.0, 0.0), (7.0, 0.0, 0.0)], requires_grad=True)
    cosines = layer(rows) / SCALE
    assert not cosines[0].any()
    torch.testing.assert_close(cosines[1], 0.01 * cosines[3])  # faded: a hundredth of the shortest that counts
    torch.testing.assert_close(cosines[2], cosines[3])
    (gradient,) = torch.autograd.grad(cosines.sum(), rows)
    assert bool(gradient.isfinite().all()) and gradient.norm(dim=-1).max() <= 2 / SHORTEST


def test_bfloat16_does_not_round_the_cosines() -> None:
    layer, x = Cosines(32, 10), torch.randn(8, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        cosines = layer(x)
    assert cosines.dtype == torch.float32 and torch.equal(cosines, layer(x.float()))


@pytest.mark.parametrize("layout", ["loop", "vmap"])
def test_many_are_the_same_ones_alone(layout: str) -> None:
    x = torch.randn(4, 3, *SHAPE, generator=torch.Generator().manual_seed(1))
    alone = [network(seed).train()(x[:, seed]) for seed in range(3)]
    learner = Learner([network(seed) for seed in range(3)], [{}] * 3, layout, None, torch.device("cpu"), torch.float32)
    outputs = learner.forward(lambda runs: x[:, runs], None)
    for seed, one in enumerate(alone):
        for name in ("logits", "cosines"):
            torch.testing.assert_close(outputs[name][seed], one[name], rtol=1e-4, atol=1e-5)


def test_a_dash_in_a_networks_name_is_read_too() -> None:
    assert "cnn2_cosine" in models.names()
    for name in ("cnn2-cosine", "cnn2_cosine"):
        settings = config.read("demo", [f"student.model={name}"])
        assert settings.student.model == "cnn2_cosine"  # one spelling in every path and digest
        assert models.build(name, SHAPE, CLASSES).name == "cnn2_cosine"
        assert reading.network_of(name, str(Path("mine.toml"))) == "cnn2_cosine"
