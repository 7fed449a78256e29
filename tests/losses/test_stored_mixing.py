"""METHODS2 5.3 by its numbers: mixed logits, averages of teachers, and what EfficientAT and CP-JKU compute, beside what ours does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.losses import LossMix, Outputs, mixed_loss
from pipeline.losses.mixing import Mixing
from pipeline.training.members import as_one, mean_logits
from tests.losses.worked import divergence, softmax

Z_S = np.array([1.0, 0.0, -1.0])
Q_I, Q_J = np.array([3.0, 0.0, -1.0]), np.array([-1.0, 2.0, 0.0])
SIGMOID = lambda z: 1 / (1 + np.exp(-z))


def near(value: float, expected: float, tolerance: float = 6e-10) -> None:
    """A worked value: ten decimals."""
    assert value == pytest.approx(expected, abs=tolerance)


def cross_entropy(target: np.ndarray, z: np.ndarray) -> float:
    return float(-(target * np.log(softmax(z))).sum())


def test_a_mixture_of_logits_is_something_else() -> None:
    """The target and the cost of mixed logits, which no term of ours learns from."""
    target = softmax((0.7 * Q_I + 0.3 * Q_J) / 2)
    np.testing.assert_allclose(target, [0.5448651699, 0.2990283453, 0.1561064848], atol=5e-11)
    near(cross_entropy(target, Z_S / 2), 0.9858903281)
    ours = 0.7 * cross_entropy(softmax(Q_I / 2), Z_S / 2) + 0.3 * cross_entropy(softmax(Q_J / 2), Z_S / 2)
    near(ours, 0.9711412211)


def test_the_divergences_differ_by_what_has_no_gradient() -> None:
    """T² · (the Jensen–Shannon part of both targets): 4 · 0.1639063390."""
    p_i, p_j, s = softmax(Q_I / 2), softmax(Q_J / 2), softmax(Z_S / 2)
    target = 0.7 * p_i + 0.3 * p_j
    split = 4 * (0.7 * divergence(p_i, s) + 0.3 * divergence(p_j, s))
    whole = 4 * divergence(target, s)
    near(split, 0.6918685173)
    near(whole, 0.0362431612)
    apart = 0.7 * divergence(p_i, target) + 0.3 * divergence(p_j, target)
    near(apart, 0.1639063390)
    near(split - whole, 4 * apart)


@pytest.mark.parametrize(
    ("average", "expected"),
    [
        ("probabilities", [0.4891248090, 0.4452036785, 0.0656715125]),
        ("logits", [0.4498162177, 0.4498162177, 0.1003675647]),
    ],
)
def test_the_average_of_two_teachers(average: str, expected: list[float]) -> None:
    """At T = 1, of the option ``average``; a single teacher is as it was, bit for bit."""
    both = [torch.tensor(one)[None] for one in (Q_I, Q_J)]
    np.testing.assert_allclose(mean_logits(both, average).softmax(-1)[0].numpy(), expected, atol=5e-11)
    told = as_one([Outputs({"logits": one}) for one in both], average=average)
    np.testing.assert_allclose(told.logits.softmax(-1)[0].numpy(), expected, atol=5e-11)
    assert as_one([Outputs({"logits": both[0]})], average=average).logits is both[0]


def binary(target: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Binary cross-entropy, its mean over classes."""
    return -(target * np.log(SIGMOID(z)) + (1 - target) * np.log(1 - SIGMOID(z))).mean(-1)


def efficientat(z: np.ndarray, labels: np.ndarray, known: np.ndarray, q: np.ndarray, lam: float) -> float:
    """``ex_audioset.py`` without mixing: λ on the labels; an unknown clip takes the last row, its own part becomes 0 and stays in
    the mean; λ = 0 is tested as "no distillation"."""
    label_part = binary(labels, z)
    if not lam > 0:
        return float(label_part.mean())
    rows = np.where(known, np.arange(len(z)), -1)
    distilled = binary(q[rows], z) * known
    return float((lam * label_part + (1 - lam) * distilled).mean())


def test_what_efficientat_computes() -> None:
    z, q, y = np.array([[1.0, -2.0, 0.5]]), SIGMOID(np.array([[2.0, -1.0, 0.0]])), np.array([[1.0, 0.0, 0.0]])
    near(float(binary(y, z)[0]), 0.4714222276)
    near(float(binary(q, z)[0]), 0.6071174825)
    near(efficientat(z, y, np.array([True]), q, 0.1), 0.5935479570)


def value(text: str, z: np.ndarray, q: np.ndarray, labels: list[int], mixing: Mixing | None = None) -> float:
    loss = mixed_loss([LossMix.parse(text)])
    told = [Outputs({"logits": torch.tensor(one)[None]}) for one in (z, q)]
    return float(loss(told[0], told[1], torch.tensor(labels)[None], None, mixing)[0])


def test_where_efficientat_goes_wrong() -> None:
    """λ = 0 turns distillation off, and an unknown clip dilutes the mean and lends its row to the clip mixed with it."""
    z, y = np.array([[1.0, -2.0, 0.5], [0.3, 0.2, -1.0]]), np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    q = SIGMOID(np.array([[2.0, -1.0, 0.0], [0.5, 1.5, -2.0]]))
    both, one = np.array([True, True]), np.array([True, False])
    near(efficientat(z, y, both, q, 0.0), float(binary(y, z).mean()))  # labels alone, where λ → 0 is the teacher alone
    near(efficientat(z, y, both, q, 1e-12), float(binary(q, z).mean()), 1e-9)
    near(efficientat(z, y, one, q, 1e-12), float(binary(q, z)[0]) / 2, 1e-9)  # the mean is over the unknown clip too
    logits = np.array([[2.0, -1.0, 0.0], [0.5, 1.5, -2.0]])
    teacher_alone = np.mean([cross_entropy(softmax(t), s) for s, t in zip(z, logits)])
    near(value("ce:0,soft:1", z, logits, [0, 1]), float(teacher_alone))  # ours: a weight of 0 on labels is no switch
    # Ours leaves what has no target out of sum and count: of the labels of a pair of which one is unknown both.
    swapped = Mixing(torch.tensor([[1, 0, 2]]), torch.tensor([[0.7, 0.6, 1.0]]), False)
    three = np.concatenate([z, [[0.0, 1.0, 0.0]]])
    alone = cross_entropy(np.eye(3)[1], three[2])
    near(value("ce", three, np.zeros((3, 3)), [0, -1, 1], swapped), alone, 1e-6)
    # With ``wavmix`` their wave is a mixture and q the first clip's: ours has both clips' targets.
    pair = Mixing(torch.tensor([[1, 0]]), torch.tensor([[0.7, 0.6]], dtype=torch.float64), False)
    costs = [[cross_entropy(softmax(t), s) for t in logits] for s in z]
    expected = (0.7 * costs[0][0] + 0.3 * costs[0][1] + 0.6 * costs[1][1] + 0.4 * costs[1][0]) / 2
    near(value("soft:1", z, logits, [-1, -1], pair), expected, 1e-6)


def test_what_cp_jku_computes() -> None:
    """0.02 · ce + 0.98 · T² · the mean over clips and classes of the KL terms, T = 2, which at C = 4 is 0.98 / 4 of ours."""
    n, j = np.arange(3)[:, None], np.arange(4)
    z, q = 2 * np.sin((n + 1) * (j + 1)), 3 * np.cos((n + 1) * (j + 2))
    parts = [softmax(t / 2) * np.log(softmax(t / 2) / softmax(s / 2)) for s, t in zip(z, q)]
    kl = 4 * float(np.mean(parts))
    near(kl, 0.8841343622)
    ce = float(np.mean([cross_entropy(np.eye(4)[i], z[i]) for i in range(3)]))
    near(ce, 1.9130989630)
    near(0.02 * ce + 0.98 * kl, 0.9047136542)
    near(
        value("ce:0.02,hinton:0.245@T=2", z, q, [0, 1, 2]), 0.9047136542, 1e-7
    )  # 0.98 / 4 classes; weights are float32
