"""Embedding terms with adapters of the comparison libraries: every worked value of METHODS2 3 and 6, plain loops, relations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import losses, models
from pipeline.config import InputError
from pipeline.losses import Outputs, direction, projector, reuse
from pipeline.training import Live
from pipeline.training.dropout import output_layer
from tests.losses.worked import Array, cosines, near, outputs, sines, unit
from tests.trainings import fit, made_up, run_of

#: E of METHODS2: student 4 × 3, teacher 4 × 5.
S, T = sines(4, 3), cosines(4, 5)


def weights(outputs_: int, inputs: int, k: int) -> Array:
    """W_k of (o, i) = sin((o + 1)(i + 1) + k)."""
    o, i = np.mgrid[0:outputs_, 0:inputs]
    return np.sin((o + 1) * (i + 1) + k)


def projected(module: Any, heads: list[Array], hidden: Array, bias: Array | None = None) -> Tensor:
    """What an adapter of linear layers says with these weights."""
    with torch.no_grad():
        module.double().linear.weight.copy_(torch.from_numpy(np.concatenate(heads)))
        if module.linear.bias is not None:
            module.linear.bias.copy_(torch.from_numpy(np.zeros(len(module.linear.bias)) if bias is None else bias))
        said: Tensor = module(Outputs(hidden=torch.from_numpy(hidden)))
    return said


# projector


def of_projector(s: Array, t: Array, q: int = 3, form: Any = "cosine", rows: Tensor | None = None) -> float:
    shapes = {"hidden": (s.shape[1],)}, {"embedding": (t.shape[1],)}
    heads = [weights(t.shape[1], s.shape[1], k) for k in range(1 if form == "log" else q)]
    adapted = projected(projector.adapter(*shapes, form=form, q=q), heads, s)
    student = outputs(adapted=adapted.numpy())
    return float(losses.load("projector")(student, outputs(embedding=t), None, rows, form=form, q=q))


def loop_projector(S: Array, T: Array, heads: list[Array]) -> float:
    P = [sum(np.maximum(W @ x, 0) for W in heads) / len(heads) for x in S]
    return float(np.mean([1 - unit(p) @ unit(t) for p, t in zip(P, T)]))


def loop_log(S: Array, T: Array, W: Array) -> float:
    sides = np.array([W @ x for x in S]), T
    s, t = ((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-4) for x in sides)
    return float(np.log(1e-6 + sum(abs(a - b) ** 4 for x, y in zip(s, t) for a, b in zip(x, y))))


def test_projector() -> None:
    assert of_projector(S, T) == near(1.1517415812) and of_projector(S, T, q=1) == near(0.7948148507)
    theirs = np.log(np.exp(of_projector(S, T, form="log")) - 1e-6)  # without what keeps the logarithm finite
    assert theirs == near(5.0861951839)


def test_projector_equals_the_plain_loop() -> None:
    random = np.random.default_rng(1)
    for batch in (1, 2, 3, 8):
        s, t = random.normal(size=(batch, 4)), random.normal(size=(batch, 6))
        heads = [weights(6, 4, k) for k in range(5)]
        assert of_projector(s, t, q=5) == pytest.approx(loop_projector(s, t, heads), rel=1e-12)
        expected = loop_log(s, t, heads[0]) if batch > 1 else 0.0
        assert of_projector(s, t, form="log") == pytest.approx(expected, rel=1e-9)
        some = np.arange(batch) % 2 == 0
        for form in ("cosine", "log"):
            alone = of_projector(s[some], t[some], form=form)
            assert of_projector(s, t, form=form, rows=torch.from_numpy(some)) == pytest.approx(alone, rel=1e-12)


def test_projector_is_half_the_squared_distance_of_directions() -> None:
    heads = [weights(5, 3, k) for k in range(3)]
    P = [sum(np.maximum(W @ x, 0) for W in heads) / 3 for x in S]
    apart = np.mean([((unit(p) - unit(t)) ** 2).sum() / 2 for p, t in zip(P, T)])
    assert of_projector(S, T) == pytest.approx(apart, rel=1e-12)
    factors = np.array([[0.5], [2], [7], [1]])
    assert of_projector(factors * S, T) == pytest.approx(of_projector(S, T), rel=1e-12)
    assert of_projector(S, factors * T) == pytest.approx(of_projector(S, T), rel=1e-12)


def test_projector_whose_sides_agree_has_a_logarithm() -> None:
    """Published code: −∞."""
    student = outputs(adapted=T)
    student.adapted.requires_grad_()
    value = losses.load("projector")(student, outputs(embedding=T), None, form="log")
    value.backward()
    assert value.item() == pytest.approx(np.log(1e-6)) and not bool(student.adapted.grad.any())


def test_projectors_have_one_weight_more_than_the_papers_sizes_say() -> None:
    """32 → 256: 25,344 weights for three, and none that is not trained."""
    module = projector.adapter({"hidden": (32,)}, {"embedding": (256,)})
    assert sum(one.numel() for one in module.parameters()) == 25_344
    given = torch.randn(2, 32)
    module(Outputs(hidden=given)).square().sum().backward()
    assert all(one.grad is not None and bool(one.grad.any()) for one in module.parameters())


# direction


def of_direction(s: Array, t: Array, labels: Array, centres: Array, **more: Any) -> float:
    student, teacher = outputs(hidden=s), outputs(embedding=t)
    teacher.constants = {"centres": torch.from_numpy(centres)}
    return float(losses.load("direction")(student, teacher, torch.from_numpy(labels), **more))


def loop_direction(S: Array, T: Array, y: Array, C: Array) -> float:
    each = [1 - x @ unit(C[k]) / max(np.sqrt(x @ x), np.sqrt(t @ t)) for x, t, k in zip(S, T, y.tolist()) if k >= 0]
    return float(np.mean(each)) if each else 0.0


LABELS = np.arange(4) % 2
CENTRES = np.stack([T[k::2].mean(0) for k in (0, 1)])


def test_direction() -> None:
    assert of_direction(sines(4, 5), T, LABELS, CENTRES) == near(0.9522349271)
    measured = direction.constants(Outputs(embedding=torch.from_numpy(T)), torch.from_numpy(LABELS), {"logits": (3,)})
    np.testing.assert_allclose(measured["centres"].numpy(), [*CENTRES, [0] * 5], atol=1e-12)


def test_direction_equals_the_plain_loop() -> None:
    random = np.random.default_rng(1)
    for batch, lead in itertools.product((1, 2, 3, 8), ((), (3,))):
        s, t = random.normal(size=(*lead, batch, 6)), random.normal(size=(*lead, batch, 6))
        centres, labels = random.normal(size=(*lead, 4, 6)), random.integers(-1, 4, (*lead, batch))
        student, teacher = outputs(hidden=s), outputs(embedding=t)
        teacher.constants = {"centres": torch.from_numpy(centres)}
        values = losses.load("direction")(student, teacher, torch.from_numpy(labels))
        for run in itertools.product(*map(range, lead)):
            assert float(values[run]) == pytest.approx(loop_direction(s[run], t[run], labels[run], centres[run]))


def test_direction_revives_a_dead_student() -> None:
    """At s = 0: 1, with the gradient −ĉ / (B |t|)."""
    student, teacher = outputs(hidden=np.zeros((4, 5))), outputs(embedding=T)
    student.hidden.requires_grad_()
    teacher.constants = {"centres": torch.from_numpy(CENTRES)}
    value = losses.load("direction")(student, teacher, torch.from_numpy(LABELS))
    value.backward()
    expected = [-unit(CENTRES[k]) / (4 * np.sqrt(t @ t)) for k, t in zip(LABELS, T)]
    assert value.item() == 1
    np.testing.assert_allclose(student.hidden.grad.numpy(), expected, rtol=1e-12)


def test_direction_needs_no_adapter_where_widths_agree() -> None:
    assert direction.adapter({"hidden": (5,)}, {"embedding": (5,)}) is None
    module = direction.adapter({"hidden": (32,)}, {"embedding": (256,)})
    assert module is not None and sum(one.numel() for one in module.parameters()) == 8192


# reuse


def of_reuse(p: Array, t: Array, z: Array, weight: Array, bias: Array, rows: Tensor | None = None) -> list[float]:
    teacher = outputs(embedding=t, logits=z)
    teacher.constants = {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}
    student = outputs(adapted=p)
    value = float(losses.load("reuse")(student, teacher, None, rows))
    return [*(float(part.mean()) for part in reuse.parts(student, teacher)), value]


def test_reuse() -> None:
    """W_0 without norm; the bias of the teacher's layer cancels."""
    head, bias = weights(4, 5, 0), np.array([0.3, -1, 2, 0])
    p = np.array([np.maximum(weights(5, 3, 0) @ x, 0) for x in S])
    features, answers, whole = of_reuse(p, T, T @ head.T + bias, head, bias)
    assert (features, answers) == (near(0.7914138706), near(2.5652637914)) and whole == pytest.approx(
        features + answers
    )
    loop = [(np.mean((a - t) ** 2), np.mean((head @ (a - t)) ** 2)) for a, t in zip(p, T)]
    assert [features, answers] == [pytest.approx(each) for each in np.mean(loop, 0)]
    some = torch.tensor([True, False, True, False])
    assert of_reuse(p, T, T @ head.T + bias, head, bias, some)[2] == pytest.approx(sum(loop[0] + loop[2]) / 2)
    assert of_reuse(T, T, T @ head.T + bias, head, bias)[2] == pytest.approx(0, abs=1e-25)


def test_the_projector_of_reuse_is_normalised_over_the_clips() -> None:
    module = reuse.adapter({"hidden": (3,)}, {"embedding": (5,)}).double()
    hidden = torch.from_numpy(S)
    x = hidden @ module.linear.weight.T  # type: ignore[union-attr, operator]
    expected = ((x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()).relu()
    torch.testing.assert_close(module(Outputs(hidden=hidden)), expected)
    assert module(Outputs(hidden=hidden[:1])).shape == (1, 5)


def test_reuse_takes_the_output_layer_of_a_network_and_of_no_other_teacher() -> None:
    network = models.network("resnet18", (2, 8, 16), 3).eval()
    layer = output_layer([network])
    assert layer is not None and output_layer([network, network]) is None
    samples, labels, taught = made_up()
    run = run_of("ce,reuse")
    teaching = Live([[network], [network]])
    trained = fit((samples, labels, teaching), [run])[0]
    assert trained.failure is None and "reuse linear.weight" in trained.adapters
    said = network(samples[:4])
    torch.testing.assert_close(torch.nn.functional.linear(said.embedding, *layer), said.logits)
    with pytest.raises(
        InputError, match="reuse asks for the teacher's output layer, and this teacher has no single linear one"
    ):
        fit((samples, labels, taught), [run])


# METHODS2 6.


def test_small_batches_and_special_rows() -> None:
    expected = {
        "projector": (1.253874, 0.924425, 1.075556, 1, 1.0680, 1),
        "direction": (1.037336, 1.370402, 1.235527, 1, 0.8446, 0.9231),
    }

    def of(name: str, s: Array, t: Array) -> float:
        if name == "projector":
            return of_projector(s, t)
        return of_direction(s[:, [0, 1, 2, 0, 1]], t, LABELS[: len(s)], CENTRES)

    for name, values in expected.items():
        assert [of(name, S[:batch], T[:batch]) for batch in (1, 2, 3)] == [
            pytest.approx(one, abs=6e-7) for one in values[:3]
        ]
        special = [of(name, 0 * S, T), of(name, S[:1].repeat(4, 0), T), of(name, S, 0 * T)]
        assert special == [pytest.approx(one, abs=6e-5) for one in values[3:]], name


def test_what_is_nothing_does_not_move_projectors() -> None:
    """0g: p = 0, or t = 0."""
    for p, t in ((0 * T, T), (sines(4, 5), 0 * T)):
        student = outputs(adapted=p)
        student.adapted.requires_grad_()
        value = losses.load("projector")(student, outputs(embedding=t), None)
        value.backward()
        if t.any():  # a dead p: nothing comes through the ReLU, whatever its gradient
            assert value.item() == 1
        else:
            assert value.item() == 1 and not bool(student.adapted.grad.any())
