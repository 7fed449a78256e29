"""contrast: the worked values of METHODS2 3.1, a plain loop, its memory step by step, and what it is trained and resumed with."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import losses, models
from pipeline.config import InputError
from pipeline.losses import LossMix, adapters, contrast
from pipeline.losses.counted import uniform_of
from pipeline.losses.mixed import Memory
from pipeline.training.draws import draws_tables
from pipeline.training.memory import recollection
from pipeline.training.sampling import order
from tests.losses.worked import Array, cosines, near, sines, unit
from tests.trainings import CLASSES, QUICK, SHAPE, assert_alone_and_resumed_are_equal, fit, made_up, run_of


def units(rows: Array) -> Array:
    return np.array([unit(row) for row in rows])


V_S, V_T = units(sines(2, 2)), units(cosines(2, 2))
M_S, M_T = units(sines(6, 2, first=2)), units(cosines(6, 2, first=2))
ROWS = np.array([[0, 2, 3, 4], [1, 3, 4, 5]])


def loop_contrast(
    vs: Array,
    vt: Array,
    Ms: Array,
    Mt: Array,
    rows: Array,
    tau: float = 0.07,
    Z: tuple[float, ...] = (),
    eps: float = 1e-7,
) -> tuple[float, list[float]]:
    """The value, and Z of both directions, of the first batch where ``Z`` is not given."""
    total, c, fixed = 0.0, (rows.shape[1] - 1) / len(Ms), []
    for side, (v, M) in enumerate(((vs, Mt), (vt, Ms))):
        e = np.array([[np.exp(v[b] @ M[r] / tau) for r in rows[b]] for b in range(len(v))])
        fixed.append(Z[side] if Z else float(e.mean() * len(Ms)))
        p = e / fixed[-1]
        each = [np.log(x[0] / (x[0] + c + eps)) + sum(np.log(c / (y + c + eps)) for y in x[1:]) for x in p]
        total -= float(np.mean(each))
    return total, fixed


def side(
    vs: Array, vt: Array, Ms: Array, Mt: Array, labels: list[int], index: list[int], **more: Any
) -> SimpleNamespace:
    """What the loss sees of a student; ``labels``: of all remembered rows."""
    arrays = contrast.memory(torch.tensor(labels), max(labels) + 1)
    arrays |= {"student": torch.from_numpy(Ms), "teacher": torch.from_numpy(Mt), **more}
    draws = torch.rand(len(vs), 1, generator=torch.Generator().manual_seed(0))
    views = {"student": torch.from_numpy(vs), "teacher": torch.from_numpy(vt)}
    return SimpleNamespace(adapted=views, memory=arrays, index=torch.tensor(index), draws=draws)


def with_rows(monkeypatch: pytest.MonkeyPatch, rows: Array) -> None:
    """Negatives as the worked value names them."""
    monkeypatch.setattr(contrast, "negatives", lambda *_: torch.from_numpy(rows[:, 1:]))


def test_the_worked_values(monkeypatch: pytest.MonkeyPatch) -> None:
    with_rows(monkeypatch, ROWS)
    student = side(V_S, V_T, M_S, M_T, [0, 1, 2, 3, 4, 5], [0, 1])
    labels = torch.tensor([0, 1])
    value = losses.load("contrast")(student, None, labels, K=3, tau=0.5)
    assert float(value) == near(5.2046874174)
    assert loop_contrast(V_S, V_T, M_S, M_T, ROWS, 0.5)[0] == near(5.2046874174)
    told = contrast.remember(student, None, labels, K=3, tau=0.5)
    _, fixed = contrast.both_scores(student, labels, None, 3, 0.5)
    assert fixed.tolist() == [near(11.6694804410), near(19.5801299875)]
    assert told["student"][0].tolist() == [near(0.9902860836), near(-0.1390448581)]
    np.testing.assert_allclose(told["student"][2:], M_S[2:])
    for name, M, V in (("student", M_S, V_S), ("teacher", M_T, V_T)):
        np.testing.assert_allclose(told[name][:2], [unit(0.5 * a + 0.5 * b) for a, b in zip(M[:2], V)], atol=1e-12)
    np.testing.assert_allclose(told["normaliser"].numpy(), fixed.numpy(), rtol=1e-6)  # kept in float32


def test_z_is_of_the_first_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with_rows(monkeypatch, ROWS)
    known = torch.tensor([11.0, 20.0])
    student = side(V_S, V_T, M_S, M_T, [0, 1, 2, 3, 4, 5], [0, 1], normaliser=known)
    value = losses.load("contrast")(student, None, torch.tensor([0, 1]), K=3, tau=0.5)
    assert float(value) == pytest.approx(loop_contrast(V_S, V_T, M_S, M_T, ROWS, 0.5, (11.0, 20.0))[0])
    assert torch.equal(contrast.remember(student, None, torch.tensor([0, 1]), K=3, tau=0.5)["normaliser"], known)


@pytest.mark.parametrize(("K", "expected"), [(16384, 21.4081820896), (1024, 15.8639198560), (3, 4.4986811570)])
def test_at_equal_scores(K: int, expected: float) -> None:
    """2 [ln(1 + K) + K ln(1 + 1 / K)]: all e are 1, so p = 1 / n."""
    assert 2 * (math.log(1 + K) + K * math.log(1 + 1 / K)) == near(expected)
    if K == 3:
        student = side(0 * V_S, 0 * V_T, M_S, M_T, [0, 1, 2, 3, 4, 5], [0, 1])
        value = losses.load("contrast")(student, None, torch.tensor([0, 1]), K=K, tau=0.5)
        assert float(value) == pytest.approx(expected, rel=1e-6)  # published ε = 10⁻⁷ is in it


def test_equals_the_plain_loop() -> None:
    random = np.random.default_rng(1)
    labels = [0, 0, 1, 2, 2, 2, 1, 0, 3, 3]
    for batch in (1, 2, 3, 8):
        views = [units(random.normal(size=(batch, 4))) for _ in range(2)]
        memories = [units(random.normal(size=(10, 4))) for _ in range(2)]
        index = random.permutation(10)[:batch].tolist()
        student = side(*views, *memories, labels, index)
        own = torch.tensor([labels[place] for place in index])
        u = uniform_of(student.draws[..., 0], 7)
        negatives = contrast.negatives(u, own, student.index, student.memory).numpy()
        for place, row, numbers in zip(index, negatives.tolist(), u.tolist()):
            others = [n for n in range(10) if labels[n] != labels[place]]
            others.sort(key=lambda n: (labels[n], n))
            assert row == [others[int(number * len(others))] for number in numbers]
        chosen = np.concatenate([np.array(index)[:, None], negatives], 1)
        value = losses.load("contrast")(student, None, own, K=7, tau=0.3)
        assert float(value) == pytest.approx(loop_contrast(*views, *memories, chosen, 0.3)[0], rel=1e-9)


def test_negatives_are_of_other_classes_and_all_of_them_are_drawn() -> None:
    labels = torch.tensor([-1, 2, 0, 2, -1, 1, 0, 2])
    kept = contrast.memory(labels, 4)
    u = uniform_of(torch.rand(8, generator=torch.Generator().manual_seed(1)), 4000)
    drawn = contrast.negatives(u, labels, torch.arange(8), kept)
    for n in range(8):
        known = [m for m in range(8) if labels[m] >= 0 and labels[m] != labels[n]]
        others = known if labels[n] >= 0 else [m for m in range(8) if m != n]
        assert sorted(set(drawn[n].tolist())) == others
        counts = torch.bincount(drawn[n], minlength=8)[others]
        assert bool((counts > 4000 / len(others) * 0.8).all())
    assert not torch.equal(drawn[0], drawn[4])


def test_a_clip_that_is_twice_in_a_batch_is_remembered_as_it_was_last() -> None:
    random = np.random.default_rng(2)
    views = [units(random.normal(size=(4, 3))) for _ in range(2)]
    memories = [units(random.normal(size=(6, 3))) for _ in range(2)]
    student = side(*views, *memories, [0, 0, 1, 1, 2, 2], [3, 1, 3, 0])
    told = contrast.remember(student, None, torch.tensor([1, 0, 1, 0]), K=5, m=0.25)
    for name, view, M in zip(("student", "teacher"), views, memories):
        expected = M.copy()
        for clip, row in enumerate((3, 1, 3, 0)):
            expected[row] = unit(0.25 * M[row] + 0.75 * view[clip])
        np.testing.assert_allclose(told[name].numpy(), expected, atol=1e-12)


def test_nothing_flows_into_memory_or_z() -> None:
    random = np.random.default_rng(3)
    views = [torch.from_numpy(units(random.normal(size=(4, 3)))).requires_grad_() for _ in range(2)]
    arrays = contrast.memory(torch.tensor([0, 0, 1, 1, 2, 2]), 3)
    rows = {name: arrays[name][:, :3].double().clone().requires_grad_() for name in ("student", "teacher")}
    student = SimpleNamespace(
        adapted=dict(zip(("student", "teacher"), views)),
        memory=arrays | rows,
        index=torch.arange(4),
        draws=torch.rand(4, 1),
    )
    losses.load("contrast")(student, None, torch.tensor([0, 0, 1, 1]), K=5).backward()
    assert all(view.grad is not None and bool(view.grad.any()) for view in views)
    assert all(row.grad is None for row in rows.values())


def test_one_class_has_no_negatives() -> None:
    for labels in ([3, 3, 3], [2, -1, 2], [1]):
        with pytest.raises(InputError, match=r"all .* training rows .* one class, .* expected two classes at least"):
            contrast.memory(torch.tensor(labels), 4)
    contrast.memory(torch.tensor([-1, -1]), 4)


def test_negatives_of_clips_where_no_row_has_a_label_are_all_other_rows() -> None:
    kept = contrast.memory(torch.tensor([-1] * 4), 3)
    u = uniform_of(torch.rand(4, generator=torch.Generator().manual_seed(1)), 200)
    drawn = contrast.negatives(u, torch.full((4,), -1), torch.arange(4), kept)
    assert [sorted(set(row.tolist())) for row in drawn] == [[m for m in range(4) if m != n] for n in range(4)]


def test_z_is_of_the_first_batch_with_a_clip_that_counts() -> None:
    """``@rows=labelled``: what is remembered of Z is what the loss took; a batch of which no clip counts leaves it open."""
    mix = LossMix.parse("contrast@K=5@rows=labelled")
    key, loss = mix.terms[0].key, losses.mixed_loss([mix])
    arrays = {f"{key} {name}": one[None] for name, one in contrast.memory(torch.tensor([0, -1, 1, -1]), 2).items()}
    random, draws = torch.Generator().manual_seed(4), {key: torch.full((1, 4, 1), 0.3, dtype=torch.float64)}
    views = {f"adapted {key} {name}": torch.randn(1, 4, 128, generator=random) for name in ("student", "teacher")}
    memory, outputs = Memory(arrays, torch.arange(4)[None]), losses.Outputs(views)
    told = loss.remembered(outputs, None, torch.full((1, 4), -1), draws, memory)
    assert told[f"{key} normaliser"].tolist() == [[0, 0]]
    labels = torch.tensor([[0, -1, 1, -1]])
    seen, _ = loss.sides(key, outputs, None, None, draws[key], memory)
    _, taken = contrast.both_scores(seen, labels, labels >= 0, 5, 0.07)  # type: ignore[arg-type]
    _, of_all = contrast.both_scores(seen, labels, None, 5, 0.07)  # type: ignore[arg-type]
    told = loss.remembered(outputs, None, labels, draws, memory)
    torch.testing.assert_close(told[f"{key} normaliser"], taken)
    assert not torch.allclose(taken, of_all)


def test_the_memory_begins_uniform() -> None:
    kept = contrast.memory(torch.arange(400) % 4, 4)
    for name in ("student", "teacher"):
        assert kept[name].abs().max() <= (3 / 128) ** 0.5 and kept[name].std() == pytest.approx(1 / 128**0.5, rel=0.02)
    assert not torch.equal(kept["student"], kept["teacher"]) and kept["begin"].tolist() == [0, 100, 200, 300, 400]


def test_both_sides_have_a_layer_and_the_embedding_is_too_wide() -> None:
    """32 → 128: 4,224 weights; the teacher's 256 → 128: 32,896; from the student's 3,440 refused."""
    module = contrast.adapter({"hidden": (32,)}, {"embedding": (256,)})
    sizes = [sum(one.numel() for one in layer.parameters()) for layer in (module.of_student, module.of_teacher)]  # type: ignore[union-attr, arg-type]
    assert sizes == [4224, 32_896]
    network = models.network("cnn2", (5, 20, 173), 10)
    with pytest.raises(InputError, match=r"its adapter would have 473,344 weights, .* @layer=hidden"):
        adapters([LossMix.parse("contrast@layer=embedding")], [(0, 1)], [network], {"embedding": (256,)})
    assert "37,120 weights that are trained" in LossMix.parse("contrast").explain()


def trained_twice(layout: str) -> tuple[Tensor, ...]:
    data = made_up()
    one = fit(data, [run_of("ce,contrast@K=9")], layout=layout)[0]
    return tuple(one.adapters.values())


def test_both_layers_and_layouts_are_trained() -> None:
    """Every adapter weight moves, the teacher's too; one by one and by vmap the same to rounding."""
    network = models.network("cnn2", (2, 8, 16), 3)
    mix, shapes = LossMix.parse("ce,contrast@K=9"), {"embedding": (12,), "logits": (3,)}
    before = adapters([mix], [(0, 1)], [network], shapes)[0]["contrast@K=9"].state_dict()
    loop, vmap = trained_twice("loop"), trained_twice("vmap")
    for name, mine, other in zip(before, loop, vmap, strict=True):
        assert bool((mine[0] != before[name]).any()), name
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_it_goes_on_from_any_checkpoint_with_the_same_bits(tmp_path: Path) -> None:
    """Two runs of unlike length in a pack, each alone, and gone on after steps of both epochs: memory and Z are in it."""
    data = made_up()
    runs = [run_of("ce,contrast@K=9"), run_of("ce:2,contrast:3@K=9", fold=2, teacher=1, count=30)]
    kept = assert_alone_and_resumed_are_equal(tmp_path / "a.pt", data, runs, QUICK, (0, 2, 5, 7))
    assert len(kept) > 10


def test_z_of_a_low_temperature_is_kept_finite() -> None:
    """exp(1 / 0.002) has 217 digits: float32 would hold an infinite Z, and the second step a probability of 0."""
    loss, key = losses.mixed_loss([LossMix.parse("contrast@K=5@tau=0.002")]), "contrast@K=5@tau=0.002"
    arrays = {f"{key} {name}": one[None] for name, one in contrast.memory(torch.tensor([0, 0, 1, 1]), 2).items()}
    for side_of in ("student", "teacher"):  # every product is 1
        arrays[f"{key} {side_of}"] = torch.full((1, 4, 128), 128**-0.5)
    views = {f"adapted {key} {name}": torch.full((1, 4, 128), 128**-0.5) for name in ("student", "teacher")}
    draws = {key: torch.full((1, 4, 1), 0.3, dtype=torch.float64)}
    memory = Memory(arrays, torch.arange(4)[None])
    told = loss.remembered(losses.Outputs(views), None, torch.tensor([[0, 0, 1, 1]]), draws, memory)
    assert torch.isfinite(told[f"{key} normaliser"]).all() and (told[f"{key} normaliser"] > 1e200).all()


@pytest.mark.parametrize("shape", [(1, 8, 1025), (3, 2, 10), (1, 1, 65)])
def test_the_quicker_gradient_of_products_is_that_of_the_plain_product(shape: tuple[int, ...]) -> None:
    """In float64; the values bit for bit, the gradients up to the order of their sums, which is the processor's (Zen 3: bit for bit)."""
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(*shape, 128, generator=random, dtype=torch.float64)
    incoming = torch.randn(*shape, generator=random, dtype=torch.float64)
    views = [
        torch.randn(*shape[:2], 128, generator=torch.Generator().manual_seed(1), dtype=torch.float64) for _ in range(2)
    ]
    for view in views:
        view.requires_grad_()
    told = contrast.Products.apply(views[0], rows), (rows @ views[1][..., None])[..., 0]
    torch.autograd.backward(told, [incoming, incoming])
    assert torch.equal(told[0], told[1])
    assert views[0].grad is not None and views[1].grad is not None
    torch.testing.assert_close(views[0].grad, views[1].grad, rtol=1e-12, atol=1e-12)


def test_what_is_remembered_asks_for_scores_while_z_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later steps leave the scores out, on a CPU, and remember the same rows."""
    asked: list[int] = []
    scores = contrast.both_scores
    monkeypatch.setattr(contrast, "both_scores", lambda *given: (asked.append(1), scores(*given))[1])
    told = []
    for known in ([11.0, 20.0], [0.0, 20.0]):
        student = side(V_S, V_T, M_S, M_T, [0, 1, 2, 3, 4, 5], [0, 1], normaliser=torch.tensor(known))
        told.append(contrast.remember(student, None, torch.tensor([0, 1]), K=3, tau=0.5))
    assert len(asked) == 1 and told[1]["normaliser"][0] > 0
    assert torch.equal(told[0]["student"], told[1]["student"]) and torch.equal(told[0]["teacher"], told[1]["teacher"])


def test_a_plain_loop_gives_the_same_student_layers_and_memory() -> None:
    """Two epochs by torch's SGD: both layers learn, rows of other classes in their order, Z of the first batch, rows written after the step."""
    samples, labels, taught = made_up()
    settings, run, key, K = (
        dataclasses.replace(QUICK, weight_decay=0.0),
        run_of("ce,contrast:0.1@K=5"),
        "contrast@K=5",
        5,
    )
    trained = fit((samples, labels, taught), [run], settings)[0]
    network = models.network("cnn2", SHAPE, CLASSES, seed=run.weights_seed, fold=1).train()
    for name in ("mean", "std"):
        getattr(network, name).copy_(trained.state[name].reshape(getattr(network, name).shape))
    shapes = {"embedding": (12,), "logits": (CLASSES,)}
    layers: Any = adapters([run.mix], [(run.weights_seed, 1)], [network], shapes)[0][key]
    own = np.unique(run.task.rows)
    first = recollection([run], network, labels, CLASSES)
    assert first is not None
    M = {side: first.arrays[f"{key} {side}"][0].double() for side in ("student", "teacher")}
    Z: list[float] = []
    others = {
        y: sorted((n for n, row in enumerate(own) if labels[row] != y), key=lambda n: (labels[own[n]], n))
        for y in range(CLASSES)
    }
    optimizer = torch.optim.SGD([*network.parameters(), *layers.parameters()], lr=0.01, momentum=0.9, nesterov=True)
    for epoch in range(2):
        draws = draws_tables([run], {key: (0,)}, 8, epoch, [False], torch.device("cpu"))[key][:, 0, :, 0]
        for step, batch in enumerate(torch.from_numpy(order(run, epoch))[:40].split(8)):
            said, places = network(samples[batch]), np.searchsorted(own, batch.numpy())
            views = {
                "student": F.normalize(layers.of_student(said.hidden).double()),
                "teacher": F.normalize(layers.of_teacher(taught.outputs["embedding"][0, batch]).double()),
            }
            u = uniform_of(draws[step], K).tolist()
            rows = [
                [n, *(others[int(labels[row])][int(x * len(others[int(labels[row])]))] for x in some)]
                for n, row, some in zip(places, batch, u)
            ]
            loss, c = F.cross_entropy(said.logits, labels[batch]).double(), K / len(own)
            for number, (mine, remembered) in enumerate((("student", "teacher"), ("teacher", "student"))):
                e = torch.stack([(M[remembered][some] @ v / 0.07).exp() for v, some in zip(views[mine], rows)])
                Z += [len(own) * e.mean().item()] if len(Z) == number else []
                p = e / Z[number]
                each = (p[:, 0] / (p[:, 0] + c + 1e-7)).log() + (c / (p[:, 1:] + c + 1e-7)).log().sum(1)
                loss = loss - 0.1 * each.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for side, view in views.items():
                for n, v in zip(places, view.detach()):
                    M[side][n] = F.normalize(0.5 * M[side][n] + 0.5 * v, dim=0)
    for name, value in network.named_parameters():
        torch.testing.assert_close(
            trained.state[name.removeprefix("body.")].reshape(value.shape), value.detach(), rtol=1e-3, atol=5e-5
        )
    for name, value in layers.named_parameters():
        torch.testing.assert_close(
            trained.adapters[f"{key} {name}"].reshape(value.shape), value.detach(), rtol=1e-3, atol=5e-5
        )
