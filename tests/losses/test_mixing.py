"""Mixed targets: the worked values of the specification, plain loops, and what cannot be mixed."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config import InputError, TrainSettings
from pipeline.losses import LossMix, Outputs, mixed_loss
from pipeline.losses.mixable import needs_one_label, taught_live
from pipeline.losses.mixing import Mixing, mixed_inputs

MIXUP = TrainSettings(mixup=0.4, batch=8, epochs=5)


def softmax(z: np.ndarray, T: float = 1.0) -> np.ndarray:
    e = np.exp((z - z.max()) / T)
    return e / e.sum()


def value(
    text: str, z_s: Tensor, z_t: Tensor | None, labels: Tensor, mixing: Mixing | None, **options: object
) -> float:
    """Of a mix of one term with the weight 1; one run."""
    loss = mixed_loss([LossMix.parse(text)], "cpu", options)
    total, _ = loss(
        Outputs({"logits": z_s[None]}),
        None if z_t is None else Outputs({"logits": z_t[None]}),
        labels[None],
        None,
        mixing,
    )
    return float(total)


def pairs(partners: list[int], shares: list[float], live: bool = False) -> Mixing:
    return Mixing(torch.tensor([partners]), torch.tensor([shares], dtype=torch.float64), live)


#: Both clips of a batch are the mixture 0.7 of the first and 0.3 of the second.
BOTH = pairs([1, 0], [0.7, 0.3])
Z_S = torch.tensor([[1.0, 0.0, -1.0]] * 2, dtype=torch.float64)
Z_T = torch.tensor([[3.0, 0.0, -1.0], [-1.0, 2.0, 0.0]], dtype=torch.float64)
NONE = torch.tensor([-1, -1])


def test_the_worked_values() -> None:
    """METHODS2 5.3: T = 2, z_s (1, 0, −1), teachers (3, 0, −1) and (−1, 2, 0), m = 0.7."""
    assert value("soft:1", Z_S / 2, Z_T / 2, NONE, BOTH) == pytest.approx(0.9711412211, abs=1e-9)
    mixture = 0.7 * softmax(Z_T[0].numpy(), 2) + 0.3 * softmax(Z_T[1].numpy(), 2)
    np.testing.assert_allclose(mixture, [0.5573606220, 0.3035356551, 0.1391037229], atol=1e-9)
    assert -(mixture * np.log(softmax(Z_S[0].numpy(), 2))).sum() == pytest.approx(0.9711412211, abs=1e-9)
    assert value("hinton:1@T=2,soft:0", Z_S, Z_T, NONE, BOTH) == pytest.approx(0.6918685173, abs=1e-9)
    divergence = sum(p * np.log(p / q) for p, q in zip(mixture, softmax(Z_S[0].numpy(), 2)))
    assert 4 * divergence == pytest.approx(0.0362431612, abs=1e-9)  # on the mixed target: another number,
    gradients = []
    for text, target in (
        ("hinton:1@T=2,soft:0", Z_T),
        ("hinton:1@T=2,soft:0", torch.tensor(2 * np.log([mixture] * 2))),
    ):
        z = Z_S.clone().requires_grad_()
        loss = mixed_loss([LossMix.parse(text)])
        mixing = BOTH if target is Z_T else None
        total, _ = loss(Outputs({"logits": z[None]}), Outputs({"logits": target[None]}), NONE[None], None, mixing)
        gradients.append(torch.autograd.grad(total.sum(), z)[0])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)  # and the same gradient


def test_the_mix_of_the_dcase_students() -> None:
    """METHODS2 5.3, CP-JKU: 0.02 · ce + 0.98 · T² · the mean over clips and classes, on the specification's logits."""
    n, j = np.arange(3)[:, None], np.arange(4)
    z_s, z_t = 2 * np.sin((n + 1) * (j + 1)), 3 * np.cos((n + 1) * (j + 2))
    tensors = torch.tensor(z_s), torch.tensor(z_t)
    assert value("ce:1", tensors[0], None, torch.arange(3), None) == pytest.approx(1.9130989630, abs=1e-9)
    kl = value("hinton:1@T=2,soft:0", *tensors, torch.arange(3), None)
    published = 0.98 * kl / 4  # of C = 4 classes
    total = value("ce:0.02,hinton:0.245@T=2", *tensors, torch.arange(3), None)
    assert total == pytest.approx(0.02 * 1.9130989630 + published, abs=1e-7)  # weights are float32


RNG = np.random.default_rng(3)
LOGITS, TAUGHT = RNG.normal(size=(2, 6, 4)), RNG.normal(size=(2, 6, 4)) * 2
LABELS = RNG.integers(0, 4, (2, 6))
PARTNERS = np.stack([RNG.permutation(6), RNG.permutation(6)])
SHARES = RNG.uniform(0.5, 1, (2, 6)).astype(np.float32)


def cost(term: str, z: np.ndarray, q: np.ndarray, label: int, weights: np.ndarray) -> tuple[float, float]:
    """Cost of one clip, and by how much it counts."""
    log_p = np.log(softmax(z))
    if term == "ce":
        smooth = 0.9 * -log_p[label] * weights[label] + 0.1 * (-log_p * weights).mean()
        return smooth / weights[label], weights[label]
    if term.startswith("soft"):
        target = softmax(q)
        if "hard" in term:
            target = np.eye(4)[q.argmax()]
        return -(target * log_p).sum(), 1.0
    T = 3.0
    p, s = softmax(q, T), softmax(z, T)
    return T * T * (p * np.log(p / s)).sum(), 1.0


@pytest.mark.parametrize("unlabelled", [(), (1, 4)])
@pytest.mark.parametrize(
    "text",
    [
        "ce",
        "soft",
        "soft@hard=true",
        "hinton:1@T=3,soft:0",
        "soft:1@rows=labelled",
        "hinton:1@T=3@rows=unlabelled,soft:0",
    ],
)
def test_a_mixed_term_is_the_mean_of_both_costs_by_their_shares(text: str, unlabelled: tuple[int, ...]) -> None:
    """Two runs, plain loops; what has a part without its target is in neither sum."""
    labels = LABELS.copy()
    labels[:, unlabelled] = -1
    weights = np.array([[1.0, 2.0, 0.5, 1.0], [1.0, 1.0, 3.0, 0.7]])
    term = text.partition(",")[0]
    expected = []
    for run in range(2):
        above = below = 0.0
        for i in range(6):
            j = int(PARTNERS[run, i])
            known = [labels[run, i] >= 0, labels[run, j] >= 0]
            if (("=labelled" in term or term == "ce") and not all(known)) or ("unlabelled" in term and any(known)):
                continue
            for place, share in ((i, float(SHARES[run, i])), (j, 1 - float(SHARES[run, i]))):
                one, counts = cost(term, LOGITS[run, i], TAUGHT[run, place], labels[run, place], weights[run])
                above, below = above + share * counts * one, below + share * counts
        expected.append(above / below if below else 0.0)
    options = {"label_smoothing": 0.1, "class_weights": torch.tensor(weights)}
    loss = mixed_loss([LossMix.parse(text)] * 2, "cpu", options)
    student = torch.tensor(LOGITS, requires_grad=True)
    mixing = Mixing(torch.tensor(PARTNERS), torch.tensor(SHARES), False)
    total, _ = loss(
        Outputs({"logits": student}), Outputs({"logits": torch.tensor(TAUGHT)}), torch.tensor(labels), None, mixing
    )
    assert total.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert torch.isfinite(torch.autograd.grad(total.sum(), student)[0]).all()


def test_a_teacher_that_hears_the_mixture_gives_one_target_and_the_labels_stay_two() -> None:
    mixing = Mixing(torch.tensor(PARTNERS), torch.tensor(SHARES), True)
    sides = Outputs({"logits": torch.tensor(LOGITS)}), Outputs({"logits": torch.tensor(TAUGHT)})
    labels = torch.tensor(LABELS)
    for text in ("soft", "hinton:1@T=3,soft:0"):
        loss = mixed_loss([LossMix.parse(text)] * 2)
        assert torch.equal(loss(*sides, labels, None, mixing)[0], loss(*sides, labels)[0])
    loss = mixed_loss([LossMix.parse("ce")] * 2)
    two = loss(*sides, labels, None, mixing)[0]
    assert torch.equal(two, loss(*sides, labels, None, mixing._replace(live=False))[0])
    assert not torch.equal(two, loss(*sides, labels)[0])


def test_terms_of_some_runs_take_their_own_partners() -> None:
    mixing = Mixing(torch.tensor(PARTNERS), torch.tensor(SHARES), False)
    sides = Outputs({"logits": torch.tensor(LOGITS)}), Outputs({"logits": torch.tensor(TAUGHT)})
    together = mixed_loss([LossMix.parse("ce"), LossMix.parse("soft,ce")])(*sides, torch.tensor(LABELS), None, mixing)[
        0
    ]
    for run, text in enumerate(("ce", "soft,ce")):
        alone = Outputs({"logits": sides[0].logits[run : run + 1]}), Outputs({"logits": sides[1].logits[run : run + 1]})
        one = Mixing(mixing.partners[run : run + 1], mixing.shares[run : run + 1], False)
        assert (
            mixed_loss([LossMix.parse(text)])(*alone, torch.tensor(LABELS[run : run + 1]), None, one)[0]
            == together[run]
        )


def test_inputs_are_mixed_clip_by_clip() -> None:
    x = torch.tensor(RNG.normal(size=(6, 2, 3, 2, 5)).astype(np.float32))
    mixing = Mixing(torch.tensor(PARTNERS), torch.tensor(SHARES), False)
    mixed = mixed_inputs(x, mixing, slice(None))
    for run in range(2):
        for i in range(6):
            m = SHARES[run, i]
            torch.testing.assert_close(mixed[i, run], m * x[i, run] + (1 - m) * x[PARTNERS[run, i], run])
    assert torch.equal(mixed_inputs(x[:, 1:], mixing, slice(1, 2)), mixed[:, 1:])
    assert mixed_inputs(x.bfloat16(), mixing, slice(None)).dtype == torch.bfloat16


REFUSED = {
    "triplet,ce": "triplet of mix .* needs one label of each clip, and a mixed input has two",
    "margin,ce": "margin.* needs one label of each clip",
    "virtual,ce": "virtual.* needs one label of each clip",
    "hinton@wrong=swap": "hinton@wrong=swap .* needs one label of each clip.*expected 0, or terms such as ce, hinton, soft",
    "soft@wrong=label": "soft@wrong=label .* needs one label",
    "angle@rows=labelled,ce": "chooses clips by their label, and a mixed input is of two clips",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_mixed_is_one_line(text: str) -> None:
    mix = LossMix.parse(text)
    with pytest.raises(InputError, match=f"student.mixup = 0.4: .*{REFUSED[text]}") as caught:
        mix.require(MIXUP, "student")
    assert "\n" not in str(caught.value)
    mix.require(dataclasses.replace(MIXUP, mixup=0.0), "student")


def test_what_can_be_mixed_and_by_whom() -> None:
    for text in ("ce", "ce,hinton@T=4", "soft", "soft@hard=true@rows=unlabelled,ce"):
        LossMix.parse(text).require(MIXUP)
        assert not taught_live(LossMix.parse(text)), text
    for text in ("angle,area", "distance,hinton", "attention,ce", "hint,ce", "darkrank"):
        LossMix.parse(text).require(MIXUP)
        assert taught_live(LossMix.parse(text)), text
    assert not taught_live(LossMix.parse("tolerance,ce"))  # no teacher
    assert not any(needs_one_label(term) for term in LossMix.parse("tolerance,ce,angle").terms)
    with pytest.raises(
        InputError, match=re.escape("mixup = 0.4: a batch of 1 has nothing to mix; expected a batch of 2")
    ):
        LossMix.parse("ce").require(dataclasses.replace(MIXUP, batch=1))
    for wrong in (-0.1, float("nan"), 1001.0):
        with pytest.raises(InputError, match=r"mixup = .*expected"):
            TrainSettings(mixup=wrong)
