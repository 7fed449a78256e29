"""``comparison`` and ``local`` against plain loops written from METHODS.md, section 7.2, and its values by their own numbers."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import losses
from pipeline.losses import LossMix, Outputs, mixed_loss
from pipeline.losses.comparison import tuples
from pipeline.losses.local import constants
from pipeline.losses.needs import needs_of
from pipeline.relations import distances
from tests.losses.worked import Array, divergence, near, outputs, softmax, unit

RANDOM = np.random.default_rng


def value(name: str, student: Any, teacher: Any, labels: Any, **options: Any) -> float:
    return float(losses.load(name)(student, teacher, torch.as_tensor(labels), **options))


def circle(*degrees: float) -> Any:
    return outputs(embedding=[[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


# The oracles, for one run.


def comparison_loop(
    ours: Array, theirs: Array, labels: list[int], margin: float = 0.2, tau: float = 4, K: int = 0
) -> float:
    apart, taught = (np.array([[math.dist(unit(a), unit(b)) for b in rows] for a in rows]) for rows in (ours, theirs))
    values = []
    for a, p in itertools.permutations(range(len(labels)), 2):
        if labels[a] < 0 or labels[a] != labels[p]:
            continue
        N = [n for n in range(len(labels)) if labels[n] >= 0 and labels[n] != labels[a]]
        N = sorted((n for n in N if 0 < apart[a, n] - apart[a, p] <= margin), key=lambda n: (apart[a, n], n))
        N = N[:K] if K else N
        if N:
            members = [p, *N]
            values.append(divergence(softmax(-taught[a, members], tau), softmax(-apart[a, members], tau)))
    return sum(values) / len(values) if values else 0.0


def local_loop(
    e: Array,
    z: Array,
    own: Array,
    labels: list[int],
    centres: Array,
    T: float = 2,
    classes: str = "batch",
    adaptive: str = "batch",
    ends: tuple[float, float] = (0, 1),
) -> float:
    clips = [n for n, label in enumerate(labels) if label >= 0]
    S = sorted({labels[n] for n in clips}) if classes == "batch" else list(range(len(centres)))
    S = [c for c in S if centres[c].any()]
    doubts = {n: -math.log(softmax(own[n]).max()) for n in clips}
    low, high = (min(doubts.values()), max(doubts.values())) if adaptive == "batch" and clips else ends
    values = []
    for n in clips if len(S) > 1 else []:
        kl = divergence(softmax(np.array([e[n] @ centres[c] for c in S]), T), softmax(z[n][S]))
        share = (doubts[n] - low) / (high - low) if high > low else 0.0
        weight = 1.0 if adaptive == "off" else 2 / (1 + math.exp(min(1.0, max(0.0, share))))
        values.append(weight * kl)
    return sum(values) / len(values) if values else 0.0


LABELS = ([0, 0, 1, 1, 2, 2, 0, 1], [0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 0, -1, -1, 1], [-1] * 8)


@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("options", [{}, {"K": 1}, {"K": 2, "margin": 1.5}, {"margin": 0.6, "tau": 0.5}], ids=str)
def test_comparison_is_its_loop(labels: list[int], options: dict[str, Any]) -> None:
    for batch, seed in ((1, 0), (2, 0), (3, 1), (8, 2), (8, 3)):
        ours, theirs = RANDOM(seed).standard_normal((batch, 3)), RANDOM(seed + 9).standard_normal((batch, 5))
        ours[1:2] = ours[:1]  # equal rows, where there are two
        told = value("comparison", outputs(embedding=ours), outputs(embedding=theirs), labels[:batch], **options)
        assert told == pytest.approx(comparison_loop(ours, theirs, labels[:batch], **options), rel=1e-9, abs=2e-6)


@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"classes": "all"}, {"adaptive": "off", "T": 0.7}, {"adaptive": "set"}, {"adaptive": "set", "classes": "all"}],
    ids=str,
)
def test_local_is_its_loop(labels: list[int], options: dict[str, Any]) -> None:
    random = RANDOM(5)
    train, known = random.standard_normal((20, 5)), [*range(4)] * 5
    said = {"embedding": train, "logits": 3 * random.standard_normal((20, 7))}
    rows = outputs(**said, own=said["logits"])
    kept = constants(rows, torch.tensor(known), {"logits": (5,)})  # type: ignore[arg-type]  # class 4 has no clip
    means = np.array([unit(train[np.array(known) == c].mean(0)) if c < 4 else np.zeros(5) for c in range(5)])
    doubts = [-math.log(softmax(row).max()) for row in said["logits"]]
    np.testing.assert_allclose(kept["centres"], means, rtol=1e-12)
    np.testing.assert_allclose(kept["doubt"], [min(doubts), max(doubts)], rtol=1e-12)
    for batch in (1, 2, 3, 8):
        e, z, own = (random.standard_normal((batch, width)) for width in (5, 5, 7))
        own *= 4  # some surer, some less sure than any training clip
        teacher = SimpleNamespace(**vars(outputs(embedding=e, own=own)), constants=kept)
        expected = local_loop(e, z, own, labels[:batch], means, ends=(min(doubts), max(doubts)), **options)
        assert value("local", outputs(logits=z), teacher, labels[:batch], **options) == pytest.approx(
            expected, rel=1e-9
        )


# The worked values of METHODS.md.


def test_the_worked_tuple() -> None:
    student, teacher, labels = circle(0, 50, 55, 58), circle(0, 30, 80, 120), [0, 0, 1, 2]
    chosen = tuples(distances(student.embedding), torch.tensor(labels), 0.2, 0)
    assert chosen.nonzero().tolist() == [[0, 1, 2], [0, 1, 3]]  # the anchor 1 has none
    assert value("comparison", student, teacher, labels) == near(0.0064649472)
    assert 1000 * value("comparison", student, teacher, labels) == pytest.approx(6.4649471962, abs=6e-8)
    assert value("comparison", student, teacher, labels, K=1) == near(0.0036977764)


def test_one_negative_is_the_decomposition() -> None:
    """KL = ρ Diff + log(1 + exp(−Diff)) − H(P_t): (1 − ρ) log(1 − ρ) + ρ log ρ is the constant."""
    D_s, D_t = ([2 * math.sin(math.radians(d / 2)) for d in angles] for angles in ((50, 55), (30, 80)))
    difference, rho = (D_s[1] - D_s[0]) / 4, 1 / (1 + math.exp((D_t[1] - D_t[0]) / 4))
    constant = rho * math.log(rho) + (1 - rho) * math.log(1 - rho)
    assert rho * difference + math.log(1 + math.exp(-difference)) + constant == near(0.0036977764)


CENTRES = torch.tensor([[1.0, 0], [0, 1], [0.6, 0.8]], dtype=torch.float64)
OWN = [[3.0, 0, 0], [1.0, 0, 0], [0.0, 0, 0]]
THREE = {"embedding": [[3.0, 1], [0, 2], [1, 1]], "own": OWN}
Z = [[1.0, 0, -1], [0, 0, 1], [0.5, 0.2, 0.1]]


def taught(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(**vars(outputs(**values)), constants={"centres": CENTRES})


def test_the_worked_classes() -> None:
    twice = taught(embedding=[[3.0, 1], [3, 1]])
    same = outputs(logits=[Z[0], Z[0]])
    assert value("local", same, twice, [0, 2], adaptive="off") == near(0.3390879465)
    assert value("local", same, twice, [0, 2], adaptive="off", classes="all") == near(0.2992260753)


def test_the_worked_weights() -> None:
    from pipeline.losses.local import doubt, ends_of, weights

    w = doubt(torch.tensor(OWN))
    np.testing.assert_allclose(w, [0.0949229564, 0.5514447139, 1.0986122887], atol=6e-11)
    lam = weights(w, *ends_of(w, torch.ones(3, dtype=torch.bool)))
    np.testing.assert_allclose(lam, [1, 0.7764195098, 0.5378828427], atol=6e-11)
    each = [0.3390879465, 0.0041661253, 0.0447767814]
    for clip, expected in enumerate(each):  # of one clip among two classes: itself twice, with both labels
        one = taught(embedding=[THREE["embedding"][clip]] * 2, own=[OWN[clip]] * 2)
        assert value("local", outputs(logits=[Z[clip]] * 2), one, [0, 2]) == near(expected)
    assert value("local", outputs(logits=Z), taught(**THREE), [0, 2, 0]) == near(0.1221357567)


# Degenerate batches.


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 0, 0], [-1, -1, -1, -1], [0, 0, -1, -1]], ids=str)
def test_no_tuple_is_nothing(labels: list[int]) -> None:
    student, teacher = circle(0, 50, 55, 58), circle(0, 30, 80, 120)
    student.embedding.requires_grad_()
    result = losses.load("comparison")(student, teacher, torch.tensor(labels))
    result.backward()
    assert float(result.detach()) == 0 and not bool(student.embedding.grad.any())


@pytest.mark.parametrize("own", [[[1.0, 0, 0]] * 3, [[0.0, 0, 0]] * 3, [[5.0]] * 3], ids=str)
def test_teachers_that_are_equally_sure_weigh_nothing(own: list[list[float]]) -> None:
    plain = value("local", outputs(logits=Z), taught(**THREE), [0, 2, 0], adaptive="off")
    assert value("local", outputs(logits=Z), taught(**{**THREE, "own": own}), [0, 2, 0]) == plain > 0
    equal = taught(**{**THREE, "own": own})
    equal.constants["doubt"] = torch.tensor([0.3, 0.3], dtype=torch.float64)
    assert value("local", outputs(logits=Z), equal, [0, 2, 0], adaptive="set") == plain


@pytest.mark.parametrize("labels", [[0, 0, 0], [2, -1, -1], [-1, -1, -1]], ids=str)
def test_one_class_is_nothing(labels: list[int]) -> None:
    student = outputs(logits=Z)
    student.logits.requires_grad_()
    result = losses.load("local")(student, taught(**THREE), torch.tensor(labels))
    result.backward()
    assert float(result.detach()) == 0 and not bool(student.logits.grad.any())
    assert value("local", outputs(logits=Z[:1]), taught(embedding=[[3.0, 1]], own=OWN[:1]), [0], classes="all") == near(
        0.2992260753  # a batch of one clip: λ = 1
    )


def test_a_student_in_the_teacher_s_space_is_at_the_least() -> None:
    rows = RANDOM(1).standard_normal((12, 4))
    labels = [0, 1, 2] * 4
    assert value("comparison", outputs(embedding=rows), outputs(embedding=3 * rows), labels) == pytest.approx(
        0, abs=1e-12
    )
    for seed in range(2, 6):
        away = rows + 0.1 * RANDOM(seed).standard_normal(rows.shape)
        assert value("comparison", outputs(embedding=away), outputs(embedding=rows), labels) > 1e-6


# What it reads of a teacher of other classes.


def test_own_is_the_teacher_s_output_over_its_own_classes() -> None:
    random = torch.Generator().manual_seed(0)
    mixes = [LossMix.parse(text) for text in ("ce:1,local:2", "ce:1", "ce:1,local:3")]
    student = Outputs({"logits": torch.randn(3, 6, 3, generator=random)})
    teacher = Outputs(
        {"embedding": torch.randn(3, 6, 4, generator=random), "logits": torch.randn(3, 6, 9, generator=random)}
    )
    labels = torch.tensor([0, 1, 2, 0, 1, 2]).expand(3, 6)
    kept = [
        constants(Outputs({"own": t, "embedding": e}), labels[0], {"logits": (3,)}) for e, t in zip(*teacher.values())
    ]
    whole = {f"constants local {name}": torch.stack([one[name] for one in kept]) for name in kept[0]}
    _, raw = mixed_loss(mixes)(student, Outputs({**teacher, **whole}), labels)
    for run in (0, 2):
        seen = SimpleNamespace(embedding=teacher.embedding[run], own=teacher.logits[run], constants=kept[run])
        alone = losses.load("local")(SimpleNamespace(logits=student.logits[run]), seen, labels[run])
        torch.testing.assert_close(raw["local"][run], alone)
    assert raw["local"][1] == 0


@pytest.mark.parametrize(
    ("mix", "reads"),
    [
        ("local:1,soft:0", ("embedding", "logits")),
        ("local:1@adaptive=off@classes=batch,soft:0", ("embedding",)),
        ("local:1@adaptive=set@classes=all,soft:0", ("embedding", "logits")),
        ("comparison,soft:0", ("embedding",)),
    ],
)
def test_what_is_asked_of_a_teacher(mix: str, reads: tuple[str, ...]) -> None:
    needs = needs_of([LossMix.parse(mix)])
    assert needs.outputs == reads and not needs.single  # several teachers of the same classes may teach together


@pytest.mark.parametrize(
    ("name", "options"),
    [("comparison", {"tau": 1e-3}), ("local", {"T": 1e-3}), ("local", {"T": 1e-3, "classes": "all"})],
)
def test_what_is_not_compared_may_be_far_nearer(name: str, options: dict[str, Any]) -> None:
    """Its share among the others, of no member, would be infinite, and the gradient NaN."""
    random = torch.Generator().manual_seed(4)
    student, teacher, logits = (torch.randn(9, 5, generator=random) for _ in range(3))
    centres = torch.nn.functional.normalize(torch.randn(5, 5, generator=random).double(), dim=-1)
    centres[4] = 0
    taught_by = SimpleNamespace(embedding=teacher, own=logits, constants={"centres": centres})
    read = {"comparison": student, "local": logits}[name].requires_grad_()
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    loss = losses.load(name)(SimpleNamespace(embedding=student, logits=logits), taught_by, labels, **options)
    loss.backward()
    assert loss.isfinite() and loss > 0
    assert read.grad is not None and read.grad.isfinite().all() and read.grad.any()
