"""The paper's losses: plain loops in float64, invariances, degenerate rows; and the folder as the list."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from pipeline import losses
from pipeline.config import InputError
from tests.losses.terms import PAPERS, mapped

NAMES = losses.names()
RELATIONAL = ("angle", "area", "distance")
DIVERGENCES = (*RELATIONAL, "hinton")


def network(*lead: int, batch: int = 5, width: int = 7, classes: int = 4, seed: int = 0) -> SimpleNamespace:
    """The vectors that a network says, in float64: embedding (..., B, D), hidden (..., B, 3), logits (..., B, C)."""
    random = torch.Generator().manual_seed(seed)
    sizes = {"embedding": (width,), "hidden": (3,), "logits": (classes,)}
    return SimpleNamespace(
        **{k: torch.randn(*lead, batch, *n, generator=random, dtype=torch.float64) for k, n in sizes.items()}
    )


def labels_for(outputs: SimpleNamespace, seed: int = 9) -> Tensor:
    shape = outputs.logits.shape
    return torch.randint(0, shape[-1], shape[:-1], generator=torch.Generator().manual_seed(seed))


# Plain loops, written from the papers: Park et al. 2019 eq. 5 to 10, Cho et al. 2023 eq. 3.1 to 3.3.


def huber(x: float, y: float) -> float:
    return 0.5 * (x - y) ** 2 if abs(x - y) <= 1 else abs(x - y) - 0.5


def pair_loss(student: np.ndarray, teacher: np.ndarray, measure: Any) -> float:
    pairs = list(itertools.permutations(range(len(student)), 2))
    mean = [sum(measure(e[i], e[j]) for i, j in pairs) / len(pairs) for e in (teacher, student)]
    total = 0.0
    for i, j in pairs:
        psi_t = measure(teacher[i], teacher[j]) / mean[0]
        psi_s = measure(student[i], student[j]) / mean[1]
        total += huber(psi_t, psi_s)
    return total / len(pairs)


def loop_distance(s: np.ndarray, t: np.ndarray) -> float:
    return pair_loss(s, t, lambda a, b: math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b))))


def loop_area(s: np.ndarray, t: np.ndarray) -> float:
    def triangle(a: np.ndarray, b: np.ndarray) -> float:  # 0, a, b: Heron's formula
        p, q, r = math.dist(a, np.zeros_like(a)), math.dist(b, np.zeros_like(b)), math.dist(a, b)
        h = (p + q + r) / 2
        return math.sqrt(max(h * (h - p) * (h - q) * (h - r), 0.0))

    return pair_loss(s, t, triangle)


def loop_angle(s: np.ndarray, t: np.ndarray) -> float:
    def cosine(e: np.ndarray, i: int, j: int, k: int) -> float:
        if not (math.dist(e[i], e[j]) and math.dist(e[k], e[j])):
            return 0.0
        a, b = (e[i] - e[j]) / math.dist(e[i], e[j]), (e[k] - e[j]) / math.dist(e[k], e[j])
        return sum(x * y for x, y in zip(a, b))

    triples = list(itertools.permutations(range(len(s)), 3))
    return sum(huber(cosine(t, *ijk), cosine(s, *ijk)) for ijk in triples) / len(triples)


def softmax(z: np.ndarray, T: float) -> list[float]:
    powers = [math.exp(x / T) for x in z]
    return [p / sum(powers) for p in powers]


def loop_soft(s: np.ndarray, t: np.ndarray) -> float:
    total = 0.0
    for zs, zt in zip(s, t):
        total -= sum(p * math.log(q) for p, q in zip(softmax(zt, 1), softmax(zs, 1)))
    return total / len(s)


def loop_hinton(s: np.ndarray, t: np.ndarray, T: float = 1.5) -> float:
    total = 0.0
    for zs, zt in zip(s, t):
        total += sum(p * math.log(p / q) for p, q in zip(softmax(zt, T), softmax(zs, T)))
    return T**2 * total / len(s)


@pytest.mark.parametrize("batch", [3, 8])
@pytest.mark.parametrize("loop", [loop_distance, loop_angle, loop_area, loop_soft, loop_hinton])
def test_equals_the_plain_loop(loop, batch) -> None:
    name = loop.__name__.removeprefix("loop_")
    student = network(batch=batch, width=11, seed=1)
    student.embedding *= 30  # own scale, own width
    teacher = network(batch=batch, width=6, seed=2)
    layer = "embedding" if name in RELATIONAL else "logits"
    expected = loop(getattr(student, layer).numpy(), getattr(teacher, layer).numpy())
    loss = losses.load(name)(student, teacher, labels_for(student))
    assert loss.shape == () and loss.item() == pytest.approx(expected, abs=1e-9, rel=1e-9)


@pytest.mark.parametrize("loop", [loop_distance, loop_angle, loop_area])
def test_equals_the_plain_loop_on_degenerate_rows(loop) -> None:
    student, teacher = network(batch=7, seed=1).embedding, network(batch=7, seed=2).embedding
    student[0], student[2], student[4] = 0, student[1], -3 * student[3]
    teacher[5] = teacher[6]
    outputs = [SimpleNamespace(embedding=e) for e in (student, teacher)]
    loss = losses.load(loop.__name__.removeprefix("loop_"))(*outputs, None)
    assert loss.item() == pytest.approx(loop(student.numpy(), teacher.numpy()), abs=1e-6)


def test_options_of_the_losses() -> None:
    student, teacher = network(seed=1), network(seed=2)
    loss = losses.load("hinton")(student, teacher, None, T=4.0)
    assert loss.item() == pytest.approx(loop_hinton(student.logits.numpy(), teacher.logits.numpy(), 4.0))
    loss = losses.load("angle")(student, teacher, None, layer="hidden")
    assert loss.item() == pytest.approx(loop_angle(student.hidden.numpy(), teacher.embedding.numpy()))
    # δ beyond every difference: half the mean square; tiny δ: δ times the mean absolute difference.
    from pipeline.relations import relative_distances

    gap = relative_distances(student.embedding) - relative_distances(teacher.embedding)
    loss = losses.load("distance")(student, teacher, None, delta=100.0)
    assert loss.item() == pytest.approx(0.5 * gap.square().sum().item() / 20)
    loss = losses.load("distance")(student, teacher, None, delta=1e-9)
    assert loss.item() == pytest.approx(1e-9 * gap.abs().sum().item() / 20, rel=1e-6)


def test_the_authors_averages() -> None:
    """Park et al.'s code averages over B^2 pairs and B^3 triples, those with equal indices included."""
    batch = 6
    student, teacher = network(batch=batch, seed=1), network(batch=batch, seed=2)

    def theirs_distance(e: Tensor) -> Tensor:
        d = torch.cdist(e, e)
        return d / d[d > 0].mean()

    def theirs_angle(e: Tensor) -> Tensor:
        unit = F.normalize(e.unsqueeze(0) - e.unsqueeze(1), p=2, dim=2)
        return torch.bmm(unit, unit.transpose(1, 2)).view(-1)

    for name, theirs, factor in [
        ("distance", theirs_distance, (batch - 1) / batch),
        ("angle", theirs_angle, (batch - 1) * (batch - 2) / batch**2),
    ]:
        expected = F.smooth_l1_loss(theirs(student.embedding), theirs(teacher.embedding))
        ours = losses.load(name)(student, teacher, None)
        assert expected.item() == pytest.approx(factor * ours.item(), rel=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_ce_is_torchs_cross_entropy_of_each_run(smoothing, weighted) -> None:
    student = network(3, classes=4)
    labels = labels_for(student)
    weights = torch.rand(3, 4, dtype=torch.float64) + 0.1 if weighted else None
    loss = losses.load("ce")(student, None, labels, label_smoothing=smoothing, class_weights=weights)
    for run in range(3):
        expected = F.cross_entropy(
            student.logits[run],
            labels[run],
            weight=None if weights is None else weights[run],
            label_smoothing=smoothing,
        )
        torch.testing.assert_close(loss[run], expected)


# Properties of the paper's losses; what every file of the folder must hold is tested in ``test_every_term``.


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(DIVERGENCES),
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 6),
)
def test_a_student_that_equals_its_teacher_has_no_loss(name, seed, batch) -> None:
    student = mapped(network(batch=batch, seed=seed), Tensor.requires_grad_)
    loss = losses.load(name)(student, student, None)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-14)
    assert all(v.grad is None or v.grad.abs().max() < 1e-10 for v in vars(student).values())


def test_soft_is_least_where_the_student_equals_the_teacher() -> None:
    teacher = network(seed=2)
    student = SimpleNamespace(logits=teacher.logits.clone().requires_grad_())
    loss = losses.load("soft")(student, teacher, None)
    loss.backward()
    p = teacher.logits.softmax(-1)
    assert loss.item() == pytest.approx(-(p * p.log()).sum(-1).mean().item())
    assert student.logits.grad.abs().max() < 1e-12


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(RELATIONAL), seed=st.integers(0, 10**6), power=st.floats(-5, 5))
def test_relational_losses_do_not_see_scale_or_rotation(name, seed, power) -> None:
    student, teacher = network(seed=seed), network(seed=seed + 1)
    expected = losses.load(name)(student, teacher, None)
    turn, _ = torch.linalg.qr(network(batch=7, seed=seed + 2).embedding)
    student.embedding = 10**power * student.embedding @ turn
    torch.testing.assert_close(losses.load(name)(student, teacher, None), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", RELATIONAL)
@pytest.mark.parametrize("who", ["student", "teacher", "both"])
def test_equal_zero_and_collinear_rows_train_on(name, who) -> None:
    """Unit-scale rows in float32: the gradient's norm stays below 100."""
    broken = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    broken[0] = 0
    broken[2], broken[3], broken[4] = broken[1], -2 * broken[1], 0.3 * broken[1]
    student, teacher = (mapped(network(batch=8, width=32, seed=seed), lambda v: v.float().clone()) for seed in (1, 2))
    if who != "teacher":
        student.embedding = broken.clone()
    if who != "student":
        teacher.embedding = broken.flip(-1).clone()
    student.embedding.requires_grad_()
    loss = losses.load(name)(student, teacher, None)
    loss.backward()
    assert bool(loss.isfinite()) and student.embedding.grad.norm() < 100


# The folder is the list.


def test_the_folder_holds_the_papers_losses_and_says_what_they_are() -> None:
    assert set(NAMES) >= set(PAPERS)
    assert not {"mix", "mixed", "learner", "library", "adapting", "explanation", "probabilities"} & set(NAMES)
    for name in PAPERS:
        module = losses.module(name)
        assert module.FORMULA and "\n" not in module.FORMULA and module.SOURCE
        assert module.READS in (("embedding",), ("logits",)) and module.TEACHER in ((), module.READS)
    assert [name for name in PAPERS if not losses.module(name).TEACHER] == ["ce"]


@pytest.mark.parametrize(("wrong", "right"), [("angel", "angle"), ("Area", "area"), ("hintn", "hinton")])
def test_a_misspelt_name_suggests_the_nearest(wrong, right) -> None:
    with pytest.raises(InputError, match=f"'{wrong}'.*did you mean '{right}'") as caught:
        losses.load(wrong)
    assert "\n" not in str(caught.value) and "distance" in str(caught.value)


@pytest.mark.parametrize("name", ["mix", "mixed", "learner", "os", "", "../ce", "__init__"])
def test_what_is_not_a_loss_is_refused(name) -> None:
    with pytest.raises(InputError, match="unknown loss"):
        losses.load(name)
