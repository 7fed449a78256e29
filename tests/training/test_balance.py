"""Norms of gradients against plain torch, one network and one batch at a time."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from pipeline import losses, models, training
from pipeline.engine.balance import counting
from pipeline.training.balance import gradient_norm, step_seconds
from pipeline.training.sampling import order
from pipeline.training.step import Pack
from tests.trainings import CLASSES, QUICK, SHAPE, made_up, run_of

STEPS = 4


def pack_of(mix: str) -> Pack:
    samples, labels, taught = made_up()
    runs = [run_of(mix)]
    return training.packed(
        samples, labels, runs, QUICK, CLASSES, taught, "loop", training.standardisation(samples, runs)
    )


def plain_norm(mix: str) -> float:
    """Backward on the network itself, batch by batch in the order of the first epoch, without a step between."""
    samples, labels, taught = made_up()
    run = run_of(mix)
    network = models.network(QUICK.model, SHAPE, CLASSES, seed=run.seed, fold=run.fold)
    ((mean, std),) = training.standardisation(samples, [run])
    network.mean.copy_(mean)
    network.std.copy_(std)
    norms = []
    for rows in torch.from_numpy(order(run, 0))[: STEPS * QUICK.batch].split(QUICK.batch):
        network.zero_grad()
        teacher = losses.Outputs({name: values[run.teacher, rows] for name, values in taught.outputs.items()})
        total: Any = 0.0
        for term in run.mix.terms:
            loss: Any = partial(losses.load(term.name), **term.arguments)
            total = total + term.weight * loss(network(samples[rows]), teacher, labels[rows])
        total.backward()
        norms.append(torch.cat([p.grad.flatten().double() for p in network.parameters() if p.grad is not None]).norm())
    return float(torch.stack(norms).mean())


def test_the_norm_is_that_of_plain_backward_without_a_step() -> None:
    for mix in ("soft", "angle:3,soft:0", "area:1,ce:2"):
        pack = pack_of(mix)
        before = pack.weights.clone()
        assert abs(gradient_norm(pack, STEPS) / plain_norm(mix) - 1) < 1e-5, mix
        assert torch.equal(pack.weights, before) and not pack.optimizer_state["momentum"].any()


def test_the_norm_of_a_term_grows_with_its_weight() -> None:
    assert (
        abs(gradient_norm(pack_of("angle:6,soft:0"), STEPS) / gradient_norm(pack_of("angle:3,soft:0"), STEPS) - 2)
        < 1e-5
    )


def test_timing_steps_changes_the_timed_packs_alone() -> None:
    """Each pack takes its own steps: as many as were asked for, all of the first batch."""
    one, other = pack_of("soft"), pack_of("angle")
    seconds = step_seconds([one, other], 3)
    assert len(seconds) == 2 and min(seconds) > 0
    assert not torch.equal(one.weights, other.weights) and int(one.counter) == int(other.counter) == 1


def test_a_term_that_begins_later_is_weighed_as_it_counts_then() -> None:
    """In the first epochs its weight is 0, and so would be the norm; a ramp is at its number of that epoch."""
    run: Any = SimpleNamespace(network=QUICK)
    for later, now in (("angle:1@from=1", "angle:1"), ("hinton:1@T=2..4@from=1", "hinton:1@T=4")):
        pack = counting(pack_of(f"{later},soft:0"), run)
        assert abs(gradient_norm(pack, STEPS) / plain_norm(f"{now},soft:0") - 1) < 1e-5
    pack = counting(pack_of("hinton:1@T=2..4"), run)
    assert abs(gradient_norm(pack, STEPS) / plain_norm("hinton:1@T=2") - 1) < 1e-5
