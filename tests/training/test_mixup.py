"""Mixed inputs in training: a plain loop, packs, stops, and teachers that hear the mixtures."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline import models
from pipeline.config import InputError
from pipeline.training import Live, Stored
from pipeline.training.sampling import epoch_tables, order
from tests.trainings import CLASSES, QUICK, SHAPE, assert_alone_and_resumed_are_equal, assert_equal, data, fit, run_of

__all__ = ["data"]

MIXUP = dataclasses.replace(QUICK, mixup=0.4)
CPU = torch.device("cpu")


def shares_of(seed: int, fold: int, epoch: int, steps: int) -> np.ndarray:
    text = f"mixup shares/{seed}/{fold}/{epoch}".encode()
    key = int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1
    b = np.random.Generator(np.random.PCG64(key)).beta(0.4, 0.4, (steps, 8))
    return np.where(b > 0.5, b, 1 - b)


def test_the_tables_hold_permutations_and_shares_of_at_least_a_half(data: Any) -> None:
    runs = [run_of("ce"), run_of("ce", seed=1), run_of("ce", fold=2, count=25)]
    tables = epoch_tables(runs, data[1], MIXUP, 3, [False, False, False], CPU)
    assert tables.partners is not None and tables.shares is not None
    assert tables.partners.shape == tables.shares.shape == (5, 3, 8)
    assert torch.equal(tables.partners.sort(-1).values, torch.arange(8).expand(5, 3, 8))
    assert not torch.equal(tables.partners[0, 0], tables.partners[1, 0])
    assert not torch.equal(tables.partners[:, 0], tables.partners[:, 1])
    assert tables.shares.min() >= 0.5 and tables.shares[:, :2].max() < 1.0001
    np.testing.assert_allclose(tables.shares[:, 1].numpy(), shares_of(1, 1, 3, 5), rtol=1e-6)
    assert torch.equal(tables.partners[3:, 2], torch.arange(8).expand(2, 8)) and (tables.shares[3:, 2] == 1).all()
    (alone,) = [epoch_tables(runs[1:2], data[1], MIXUP, 3, [False], CPU)]
    assert torch.equal(alone.partners[:, 0], tables.partners[:, 1])  # type: ignore[index]
    assert epoch_tables(runs, data[1], QUICK, 3, [False] * 3, CPU).partners is None


def test_a_plain_loop_gives_the_same_network(data: Any) -> None:
    """SGD with Nesterov momentum, one epoch, labels and a stored teacher: each step written out."""
    samples, labels, taught = data
    settings = dataclasses.replace(MIXUP, epochs=1, weight_decay=0.0)
    one = run_of("ce:0.5,hinton:1@T=2")
    (result,) = fit(data, [one], settings)
    network = models.network("cnn2", SHAPE, CLASSES, seed=0, fold=1)
    rows = torch.as_tensor(one.task.train)
    network.mean.copy_(
        result.state["mean"][0] if result.state["mean"].ndim > network.mean.ndim else result.state["mean"]
    )
    network.std.copy_(result.state["std"][0] if result.state["std"].ndim > network.std.ndim else result.state["std"])
    network.train()
    tables = epoch_tables([one], labels, settings, 0, [False], CPU)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    assert len(rows) == 42 and tables.partners is not None and tables.shares is not None
    for step, batch in enumerate(torch.from_numpy(order(one, 0))[:40].split(8)):
        mixed, j, m = [], tables.partners[step, 0].tolist(), tables.shares[step, 0].tolist()
        for i in range(8):
            mixed.append(m[i] * samples[batch[i]] + (1 - m[i]) * samples[batch[j[i]]])
        z = network(torch.stack(mixed)).logits
        loss = torch.zeros(())
        for i in range(8):
            for row, share in ((batch[i], m[i]), (batch[j[i]], 1 - m[i])):
                target = (taught.outputs["logits"][0, row] / 2).softmax(-1)
                kl = F.kl_div((z[i] / 2).log_softmax(-1), target, reduction="sum")
                loss = loss + share * (0.5 * -z[i].log_softmax(-1)[labels[row]] + 4 * kl) / 8
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in network.named_parameters():
        name = name.removeprefix("body.")
        torch.testing.assert_close(result.state[name].reshape(value.shape), value.detach(), rtol=2e-4, atol=2e-5)
    (plain,) = fit(data, [one], dataclasses.replace(settings, mixup=0.0))
    assert not torch.allclose(plain.state[name], result.state[name], rtol=1e-2)


def test_packs_resume_and_other_runs_beside_change_no_bit(data: Any, tmp_path: Path) -> None:
    runs = [run_of("ce"), run_of("hinton,ce", seed=1, teacher=1), run_of("soft", fold=2, count=25)]
    path = tmp_path / "pack.pt"
    kept = assert_alone_and_resumed_are_equal(path, data, runs, MIXUP, (2, 6))  # within the first epoch and the second
    path.write_bytes(kept[2])
    lines: list[str] = []
    fit(data, runs, dataclasses.replace(MIXUP, mixup=0.5), checkpoint=path, say=lines.append)
    assert "It is not used" in lines[0]


def test_live_teachers_hear_the_mixture_and_terms_of_their_embeddings_learn_from_it(data: Any) -> None:
    samples, labels, _ = data
    network = models.network("cnn2", SHAPE, CLASSES, seed=5)
    network.mean.fill_(10.0)
    heard: list[torch.Tensor] = []
    live = Live([[network]])
    kept = live.kept

    def listening(teacher: int, x: torch.Tensor, *arguments: Any) -> Any:
        heard.append(x.clone())
        return kept(teacher, x, *arguments)

    one = run_of("angle,hinton,ce:0.5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Live, "kept", lambda self, teacher, x, *arguments: listening(teacher, x, *arguments))
        (mixed,) = fit((samples, labels, live), [one], MIXUP)
    tables = epoch_tables([one], labels, MIXUP, 0, [False], CPU)
    assert tables.partners is not None and tables.shares is not None
    batch, j, m = torch.from_numpy(order(one, 0))[:8], tables.partners[0, 0], tables.shares[0, 0][:, None, None, None]
    torch.testing.assert_close(heard[-10], m * samples[batch] + (1 - m) * samples[batch[j]])
    (plain,) = fit((samples, labels, live), [one], QUICK)
    assert not np.array_equal(mixed.logits, plain.logits)
    both = fit((samples, labels, live), [run_of("ce"), one], MIXUP)
    assert_equal(both[1], mixed)


def test_stored_embeddings_say_nothing_of_mixtures(data: Any) -> None:
    with pytest.raises(
        InputError, match=r"fold 1, mixup = 0.4: .* nothing of mixed inputs but logits; expected .*\(Live\)"
    ):
        fit(data, [run_of("angle,ce")], MIXUP)
    assert isinstance(data[2], Stored)
    fit(data, [run_of("soft")], dataclasses.replace(MIXUP, epochs=1))


def test_the_accuracy_in_training_is_by_the_larger_part(data: Any) -> None:
    """Levels of the classes are far apart: a mixture is heard as its larger part once the network has learned."""
    samples, labels, _ = data
    easy = labels[:, None, None, None] * 100.0 + samples
    (result,) = fit((easy, labels, None), [run_of("ce")], dataclasses.replace(MIXUP, epochs=30, mixup=0.05, lr=0.003))
    assert result.history[-1]["accuracy"] > 0.9
    assert result.history[-1]["train_accuracy"] > 0.8
