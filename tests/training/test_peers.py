"""Students that learn from each other: worked values, a plain loop, no gradient across, packs, stops, and failures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import models
from pipeline.config import InputError
from pipeline.losses import LossMix, Outputs, mixed_loss
from pipeline.losses.needs import needs_of
from pipeline.training import Start
from pipeline.training.peers import Peers, stopped
from pipeline.training.sampling import order
from pipeline.training.task import Run, Trained
from tests.trainings import CLASSES, QUICK, SHAPE, assert_equal, data, every_checkpoint, fit, run_of

__all__ = ["data"]

MIX = "ce:1,hinton:1@T=1"
CPU = torch.device("cpu")


def pair(mix: str = MIX, name: str = "pair", **options: Any) -> list[Run]:
    """Two runs that learn from each other."""
    return [dataclasses.replace(run_of(mix, **options), cohort=name, member=member) for member in (0, 1)]


def without_teachers(data: Any) -> Any:
    return (*data[:2], None)


def test_the_worked_values() -> None:
    """METHODS2 5.1: z (1, 0, −1) and (2, 1, −2), label 1."""
    runs, mix = pair(), LossMix.parse(MIX)
    z = torch.tensor([[[1.0, 0.0, -1.0]], [[2.0, 1.0, -2.0]]], dtype=torch.float64, requires_grad=True)
    students = Outputs({"logits": z})
    heard = Peers(runs, needs_of([mix]), CPU).batch(students)
    total, raw = mixed_loss([mix, mix])(students, heard, torch.tensor([[1], [1]]))
    assert raw["hinton@T=1"].tolist() == pytest.approx([0.0546175493, 0.0990178232], abs=1e-9)
    assert total.tolist() == pytest.approx([1.4622235137, 1.4255804644], abs=1e-9)
    (across,) = torch.autograd.grad(total[0], z)  # of the first student's loss alone
    assert not across[1].any() and across[0].any()


def descended(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def begun(result: Trained, seed: int) -> models.Network:
    network = models.network("cnn2", SHAPE, CLASSES, seed=seed, fold=1)
    for name in ("mean", "std"):
        kept = result.state[name]
        getattr(network, name).copy_(kept.reshape(getattr(network, name).shape))
    return network.train()


def weights(state: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for name, value in sorted(state.items()) if name not in ("mean", "std")])


def test_a_plain_loop_gives_the_same_networks(data: Any) -> None:
    """One pass of both networks, then both losses; SGD with Nesterov momentum written out by torch."""
    samples, labels, _ = data
    settings = dataclasses.replace(QUICK, epochs=1, weight_decay=0.0)
    runs = pair()
    results = fit(without_teachers(data), runs, settings)
    networks = [begun(result, run.weights_seed) for result, run in zip(results, runs)]
    optimizers = [torch.optim.SGD(one.parameters(), lr=0.01, momentum=0.9, nesterov=True) for one in networks]
    for batch in torch.from_numpy(order(runs[0], 0))[:40].split(8):
        logits = [network(samples[batch]).logits for network in networks]
        for one, (own, other) in enumerate((logits, logits[::-1])):
            said = other.detach().softmax(-1)
            loss = F.cross_entropy(own, labels[batch]) + F.kl_div(own.log_softmax(-1), said, reduction="batchmean")
            descended(networks[one], optimizers[one], loss)
    for network, result in zip(networks, results):
        state = {name.removeprefix("body."): value.detach() for name, value in network.named_parameters()}
        torch.testing.assert_close(weights(result.state), weights(state), rtol=2e-4, atol=2e-5)
    (alone,) = fit(without_teachers(data), [run_of("ce")], settings)
    assert not torch.allclose(weights(alone.state), weights(results[0].state), rtol=1e-2)  # the peer is heard
    assert len(runs[0].batches()) and runs[0].batches() == runs[1].batches()


def test_equal_first_weights_stay_equal_bit_for_bit(data: Any) -> None:
    state = fit(without_teachers(data), [run_of("ce")], dataclasses.replace(QUICK, epochs=1))[0].state
    both = fit(without_teachers(data), [dataclasses.replace(run, start=Start(state)) for run in pair()])
    assert_equal(*both)
    drawn = fit(without_teachers(data), pair())
    assert not torch.equal(weights(drawn[0].state), weights(drawn[1].state))


@pytest.mark.parametrize("mix", [MIX, "ce:1,hinton:1@T=1,angle:1,attention:1,hint:0.1"])
def test_packs_and_stops_change_no_bit(data: Any, tmp_path: Path, mix: str) -> None:
    """Beside another pair, in another order, alone, and gone on from a checkpoint within an epoch and between two."""
    settings = dataclasses.replace(QUICK, epochs=2, mixup=0.4 if mix == MIX else 0.0)
    bare = without_teachers(data)
    first, second = pair(mix), pair(mix, "other", seed=1, fold=2, count=25)
    runs = [first[0], second[1], first[1], second[0]]
    path = tmp_path / "pack.pt"
    kept, whole = every_checkpoint(path, bare, runs, settings)
    for (place, partner), members in (((0, 2), first), ((3, 1), second)):
        for mine, theirs in zip(fit(bare, members, settings), (whole[place], whole[partner]), strict=True):
            assert_equal(mine, theirs)
    for step in (2, 6):
        path.write_bytes(kept[step])
        for mine, theirs in zip(fit(bare, runs, settings, checkpoint=path, say=lambda line: None), whole, strict=True):
            assert_equal(mine, theirs)
    mapped = fit(bare, first, settings, layout="vmap")
    for mine, theirs in zip(mapped, (whole[0], whole[2])):
        np.testing.assert_allclose(mine.logits, theirs.logits, rtol=1e-3, atol=1e-3)


def test_who_has_lost_its_peer_stops_and_other_pairs_go_on(data: Any) -> None:
    bare, runs = without_teachers(data), [*pair(), *pair(name="other", seed=1)]
    bad = {name: value.clone() for name, value in fit(bare, [run_of("ce")])[0].state.items()}
    bad["conv1.weight"] += float("nan")
    runs[1] = dataclasses.replace(runs[1], start=Start(bad))
    results = fit(bare, runs)
    assert [result.failure is None for result in results] == [False, False, True, True]
    for mine, theirs in zip(results[2:], fit(bare, runs[2:])):
        assert_equal(mine, theirs)
    # One whose weights are bad only behind the last step of an epoch: its peer's are finite still.
    teaching = Peers(runs, needs_of([LossMix.parse(MIX)]), CPU)
    assert stopped(teaching, [None, "not finite", None, None]) == [
        "its peer stopped: not finite",
        "not finite",
        None,
        None,
    ]
    assert stopped(None, [None, "not finite"]) == [None, "not finite"]


def test_a_student_without_a_peer_is_refused(data: Any) -> None:
    bare = without_teachers(data)
    one, other = pair()
    wrong = (
        [one],
        [one, dataclasses.replace(other, seed=1)],  # other batches
        [one, dataclasses.replace(other, member=0)],  # the same student twice
        [one, other, dataclasses.replace(other, member=2)],
        [one, dataclasses.replace(other, cohort="another")],
    )
    for runs in wrong:
        with pytest.raises(InputError, match="expected one other member in the same pack"):
            fit(bare, runs)
    for mix, reason in (
        ("ce", "reads no teacher"),
        ("ce,contrast", "contrast of mix .* keeps what a teacher said"),
        ("ce,factor", "factor of mix .* is measured of a teacher once"),
        ("ce,dirichlet", "dirichlet of mix .* reads the teacher's members"),
        ("ce,residual", "residual .*expected"),
    ):
        with pytest.raises(InputError, match=reason):
            fit(bare, pair(mix))
