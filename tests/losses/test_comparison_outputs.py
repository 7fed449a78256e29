"""Output terms of the comparison libraries: every worked value of METHODS2 4 and 6, plain loops, relations to published code."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import losses
from pipeline.config import InputError, TrainSettings
from pipeline.losses import LossMix, decoupled, hinton, levels, pearson
from pipeline.losses.probabilities import standardised
from tests.losses.worked import LABELS, Z_S, Z_T, Array, cosines, divergence, near, outputs, sines, softmax


def value(name: str, z_s: Array, z_t: Array, labels: list[int] | None = None, **options: Any) -> float:
    wanted = None if labels is None else torch.tensor(labels)
    return float(losses.load(name)(outputs(logits=z_s), outputs(logits=z_t), wanted, **options))


def of_parts(z_s: Array, z_t: Array, T: float) -> tuple[float, ...]:
    """The parts of ``levels`` without the factors of B."""
    both = [torch.as_tensor(z, dtype=torch.float64) for z in (z_s, z_t)]
    return tuple(float(part) for part in levels.parts(both[0], both[1], T, torch.ones(len(z_s), dtype=torch.bool)))


def both_ways(z_s: Array, z_t: Array, T: float) -> list[float]:
    return [value("pearson", z_s, z_t, T=T, beta=b, gamma=c) for b, c in ((1, 0), (0, 1))]


# Plain loops.


def loop_parts(z_s: Array, z_t: Array, y: int, T: float) -> tuple[float, float, float]:
    q, p = softmax(z_s, T), softmax(z_t, T)
    a, b = p[y], q[y]
    others = [c for c in range(len(p)) if c != y]
    first = T * T * divergence(np.array([a, 1 - a]), np.array([b, 1 - b]))
    return first, T * T * divergence(p[others] / (1 - a), q[others] / (1 - b)), float(a)


def loop_dkd(z_s: Array, z_t: Array, labels: list[int], T: float = 4, alpha: float = 1, beta: float = 8) -> float:
    each = [loop_parts(a, b, y, T) for a, b, y in zip(z_s, z_t, labels) if y >= 0]
    return float(np.mean([alpha * u + beta * v for u, v, _ in each])) if each else 0.0


def loop_nkd(z_s: Array, z_t: Array, labels: list[int], T: float = 1, gamma: float = 1.5) -> float:
    each = []
    for a, b, y in zip(z_s, z_t, labels):
        if y >= 0:
            o = [c for c in range(len(a)) if c != y]
            second = sum(softmax(b[o], T) * np.log(softmax(a[o], T)))
            each.append(-softmax(b)[y] * np.log(softmax(a)[y]) - gamma * T * T * second)
    return float(np.mean(each)) if each else 0.0


def loop_rho(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / (max(np.sqrt(a @ a), 1e-4) * max(np.sqrt(b @ b), 1e-4)))


def loop_pearson(z_s: Array, z_t: Array, T: float = 1, beta: float = 1, gamma: float = 1) -> float:
    p, q = (np.array([softmax(z, T) for z in x]) for x in (z_s, z_t))
    inter = 1 - np.mean([loop_rho(a, b) for a, b in zip(p, q)])
    intra = 1 - np.mean([loop_rho(a, b) for a, b in zip(p.T, q.T)]) if len(p) > 2 else 0.0
    return float(T * T * (beta * inter + gamma * intra))


def loop_standard(z: Array) -> Array:
    d = z - z.mean()
    return np.asarray(d / max(np.sqrt(d @ d / (len(z) - 1)), 1e-3))


def loop_level(z_s: Array, z_t: Array, T: float) -> tuple[float, float, float]:
    P, Q = (np.array([softmax(z, T) for z in x]) for x in (z_s, z_t))
    B, C = P.shape
    instance = T * T * np.mean([divergence(q, p) for p, q in zip(P, Q)])
    return float(instance), float(((P.T @ P - Q.T @ Q) ** 2).sum() / C), float(((P @ P.T - Q @ Q.T) ** 2).sum() / B)


def loop_levels(z_s: Array, z_t: Array) -> float:
    share = 64 / len(z_s)
    each = [loop_level(z_s, z_t, T) for T in (2, 3, 4, 5, 6)]
    return sum(a + share**2 * b + share * c for a, b, c in each)


def loop_weights(z_s: Array, z_t: Array, labels: list[int]) -> list[float]:
    def cost(z: Array, y: int) -> float:
        return float(-np.log(softmax(z)[y]))

    each = zip(z_s, z_t, labels)
    return [1 - np.exp(-cost(a, y) / (cost(b, y) + 1e-7)) if y >= 0 else 1.0 for a, b, y in each]


def loop_weighted(z_s: Array, z_t: Array, labels: list[int], T: float = 1.5) -> float:
    weights = loop_weights(z_s, z_t, labels)
    each = [w * T * T * divergence(softmax(b, T), softmax(a, T)) for w, a, b in zip(weights, z_s, z_t)]
    return float(np.mean(each))


def standard_of(loop: Callable[..., float]) -> Callable[..., float]:
    return lambda z_s, z_t, *more: loop(*(np.array([loop_standard(z) for z in x]) for x in (z_s, z_t)), *more)


def loop_hinton(z_s: Array, z_t: Array, T: float = 1.5) -> float:
    return float(np.mean([T * T * divergence(softmax(b, T), softmax(a, T)) for a, b in zip(z_s, z_t)]))


#: Name, options, loop, whether it is given labels.
LOOPS: list[tuple[str, dict[str, Any], Callable[..., float], bool]] = [
    ("decoupled", {}, loop_dkd, True),
    ("decoupled", {"logits": "standard"}, standard_of(loop_dkd), True),
    ("decoupled", {"form": "nkd", "T": 1.0}, loop_nkd, True),
    ("decoupled", {"form": "nkd", "T": 3.0, "gamma": 3.5}, lambda s, t, y: loop_nkd(s, t, y, 3, 3.5), True),
    ("pearson", {}, loop_pearson, False),
    ("pearson", {"T": 4.0, "beta": 0.5}, lambda s, t: loop_pearson(s, t, 4, 0.5), False),
    ("levels", {}, loop_levels, False),
    ("levels", {"logits": "standard"}, standard_of(loop_levels), False),
    ("hinton", {"logits": "standard"}, standard_of(loop_hinton), False),
    ("hinton", {"weigh": "wsld"}, loop_weighted, True),
]


@pytest.mark.parametrize(("name", "options", "loop", "labelled"), LOOPS)
def test_equals_the_plain_loop(name: str, options: dict[str, Any], loop: Callable[..., float], labelled: bool) -> None:
    random = np.random.default_rng(1)
    for batch, lead in itertools.product((1, 2, 3, 8), ((), (3,))):
        z_s, z_t = 2 * random.normal(size=(*lead, batch, 5)), 3 * random.normal(size=(*lead, batch, 5))
        labels = random.integers(-1, 5, (*lead, batch))
        given = torch.from_numpy(labels) if labelled else None
        values = losses.load(name)(outputs(logits=z_s), outputs(logits=z_t), given, **options)
        assert values.shape == lead
        for run in itertools.product(*map(range, lead)):
            more = (labels[run].tolist(),) if labelled else ()
            assert float(values[run]) == pytest.approx(loop(z_s[run], z_t[run], *more), rel=1e-9, abs=1e-12)


# The worked values.


def test_decoupled() -> None:
    for T, first, second, whole in (
        (4.0, 2.0273044679, 2.9500196569, 25.6274617229),
        (1.0, 1.3467061985, 1.7970873332, 15.7234048639),
    ):
        parts = [value("decoupled", Z_S, Z_T, LABELS, T=T, alpha=a, beta=b) for a, b in ((1, 0), (0, 1))]
        assert parts == [near(first), near(second)]
        assert value("decoupled", Z_S, Z_T, LABELS, T=T) == near(whole)
    assert value("hinton", Z_S, Z_T, T=1.0) == near(2.3897357415)
    z_s, z_t = np.array([[1.0, 0, -1]]), np.array([[2.0, 1, -2]])
    parts = [value("decoupled", z_s, z_t, [0], T=1.0, alpha=a, beta=b) for a, b in ((1, 0), (0, 1), (1, 8))]
    assert parts == [near(0.0073048373), near(0.1698225896), near(1.3658855540)]
    assert value("hinton", z_s, z_t, T=1.0) == near(0.0546175493)


def test_decoupled_as_nkd() -> None:
    assert value("decoupled", Z_S, Z_T, LABELS, form="nkd", T=1.0) == near(4.6971368075)
    assert value("decoupled", Z_S, Z_T, LABELS, form="nkd", T=3.0, gamma=3.5) == near(40.1954631046)


def test_decoupled_parts_are_those_of_the_whole_divergence() -> None:
    """Per clip T² KL(p_t ‖ p_s) = TCKD + (1 − p_t,y) NCKD; alpha = beta = 1 is larger by mean p_t,y NCKD."""
    for z_s, z_t, y in zip(Z_S, Z_T, LABELS):
        label = torch.tensor([[y]])
        both = [torch.from_numpy(z[None]) for z in (z_s, z_t)]
        first, second = (float(part) for part in decoupled.parts(both[0], both[1], label, 4.0))
        sure = softmax(z_t, 4.0)[y]
        assert value("hinton", z_s[None], z_t[None], T=4.0) == pytest.approx(first + (1 - sure) * second, rel=1e-12)
        assert (first, second, sure) == pytest.approx(loop_parts(z_s, z_t, y, 4.0), rel=1e-12)
        again = value("decoupled", z_s[None], z_t[None], [y], T=4.0, alpha=0.7, beta=0.7 * (1 - sure))
        assert again == pytest.approx(0.7 * value("hinton", z_s[None], z_t[None], T=4.0), rel=1e-12)
    assert value("decoupled", Z_S, Z_T, LABELS, beta=1.0) == near(4.9773241247)
    assert value("hinton", Z_S, Z_T, T=4.0) == near(3.9864326038)


def test_decoupled_of_a_student_that_is_sure_stays_a_number() -> None:
    """The published logarithm of a summed probability is infinite there, in float32."""
    z_s, z_t = torch.tensor([[120.0, 0, 0]]), torch.tensor([[2.0, 1, -2]])
    theirs = 1 - z_s.softmax(-1)[0, 0]
    assert theirs.log().isinf()
    student, teacher = outputs(logits=z_s), outputs(logits=z_t)
    student.logits, teacher.logits = z_s.requires_grad_(), z_t
    options = {"T": 1.0, "beta": 0.0}
    result = losses.load("decoupled")(student, teacher, torch.tensor([0]), **options)
    result.backward()
    expected = loop_parts(np.array([12.0, 0, 0]), np.array([2.0, 1, -2]), 0, 1.0)[0]
    assert result.isfinite() and z_s.grad is not None and bool(z_s.grad.isfinite().all())
    shorter = value("decoupled", np.array([[12.0, 0, 0]]), np.array([[2.0, 1, -2]]), [0], **options)
    assert shorter == pytest.approx(expected)
    wrong = 1 - softmax(np.array([2.0, 1, -2]))[0]
    assert float(result.detach()) == pytest.approx(expected + wrong * (120 - 12), rel=1e-5)


def test_pearson() -> None:
    assert both_ways(Z_S, Z_T, 1.0) == [near(1.1871064718), near(1.3180736585)]
    assert both_ways(Z_S, Z_T, 4.0) == [near(20.0818372013), near(21.9235929621)]
    z_s, z_t = np.array([[1.0, 0, -1], [0, 2, 0], [1, 1, 0]]), np.array([[2.0, 1, -2], [1, 0, 2], [0, 3, 0]])
    assert both_ways(z_s, z_t, 1.0) == [near(0.7374908022), near(0.9979990531)]


def test_pearson_of_probabilities_that_are_stretched_and_moved() -> None:
    """inter: p → a p + c of a row; intra: of a column. A factor on the outputs changes both."""
    random = np.random.default_rng(2)
    p, q = (torch.from_numpy(random.dirichlet(np.ones(4), 5)) for _ in range(2))
    a, c = 0.2 + torch.rand(5, 4, dtype=torch.float64), torch.rand(5, 4, dtype=torch.float64)
    torch.testing.assert_close(pearson.inter(a[:, :1] * p + c[:, :1], q), pearson.inter(p, q))
    torch.testing.assert_close(pearson.intra(a[:1] * p + c[:1], q, None), pearson.intra(p, q, None))
    assert value("pearson", 2 * Z_S, Z_T) != pytest.approx(value("pearson", Z_S, Z_T), rel=1e-3)
    for T in (1.0, 4.0):
        assert 0 <= value("pearson", Z_S, Z_T, T=T) <= 4 * T**2 and value("pearson", Z_S, -Z_S, T=T) <= 4 * T**2


def test_pearson_of_one_and_two_clips_has_no_part_between_clips() -> None:
    """Published code: the constant 1 of one clip, and ±1 of two, 1.5 on the first two of Z: neither teaches."""
    for batch in (1, 2):
        given = outputs(logits=Z_S[:batch])
        given.logits.requires_grad_()
        result = losses.load("pearson")(given, outputs(logits=Z_T[:batch]), None, beta=0.0)
        result.backward()
        assert result.item() == 0 and not bool(given.logits.grad.any())
    p, q = (np.array([softmax(z) for z in x[:2]]) for x in (Z_S, Z_T))
    assert 1 - np.mean([loop_rho(a, b) for a, b in zip(p.T, q.T)]) == near(1.5)


def test_standardised_outputs() -> None:
    z = standardised(torch.tensor([[2.0, 1, -2]], dtype=torch.float64))[0].tolist()
    assert z == [near(0.8006407690), near(0.3202563076), near(-1.1208970766)]
    assert value("hinton", Z_S, Z_T, T=1.0, logits="standard") == near(0.9680681939)
    assert value("hinton", Z_S, Z_T, T=2.0, logits="standard") == near(1.0182932979)


def test_standardised_with_the_populations_deviation_is_another_temperature() -> None:
    """sd with C in place of C − 1: the paper's T is the code's T √(C / (C − 1)), T² apart."""
    C, T = 4, 2.0
    population = [x * np.sqrt(C / (C - 1)) for x in (np.array([loop_standard(z) for z in x]) for x in (Z_S, Z_T))]
    assert loop_hinton(*population, T) == near(1.3562366608)
    other = T / np.sqrt(C / (C - 1))
    ours = value("hinton", Z_S, Z_T, T=other, logits="standard")
    assert ours * (T / other) ** 2 == near(1.3562366608)


@pytest.mark.parametrize("name", ["hinton", "decoupled", "levels"])
def test_standardised_outputs_may_be_stretched_and_moved(name: str) -> None:
    """z → a z + b of each clip changes nothing; the gradient is at right angles to 1 and to z."""
    random = np.random.default_rng(3)
    a, b = 0.1 + 3 * random.random((3, 1)), random.normal(size=(3, 1))
    labels, plain = (LABELS if name == "decoupled" else None), value(name, Z_S, Z_T, LABELS, logits="standard")
    for sides in ((a * Z_S + b, Z_T), (Z_S, a * Z_T + b)):
        assert value(name, *sides, labels, logits="standard") == pytest.approx(plain, rel=1e-9)
    student = outputs(logits=Z_S)
    student.logits.requires_grad_()
    losses.load(name)(student, outputs(logits=Z_T), torch.tensor(LABELS), logits="standard").backward()
    gradient = student.logits.grad.numpy()
    assert np.abs(gradient).max() > 1e-3
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-12)
    np.testing.assert_allclose((gradient * Z_S).sum(-1), 0, atol=1e-12)


def test_equal_outputs_are_standardised_to_nothing() -> None:
    """Uniform probabilities; the gradient stays below √2 T / (B 10⁻³), where published code gives 3.9 · 10⁶."""
    student = outputs(logits=np.full((1, 4), 0.3))
    student.logits.requires_grad_()
    result = losses.load("hinton")(student, outputs(logits=Z_T[:1]), None, T=1.0, logits="standard")
    result.backward()
    expected = loop_hinton(np.zeros((1, 4)), np.array([loop_standard(Z_T[0])]), 1.0)
    assert result.item() == pytest.approx(expected, rel=1e-12)
    assert 0 < float(student.logits.grad.abs().max()) <= 2**0.5 / 1e-3


def test_levels() -> None:
    assert of_parts(Z_S, Z_T, 4.0) == (near(3.9864326038), near(0.0070760575), near(0.0046688368))
    sums = np.sum([of_parts(Z_S, Z_T, T) for T in levels.TEMPERATURES], 0)
    assert sums.tolist() == [near(19.4546259791), near(0.0846005304), near(0.0667813580)]
    share = 64 / 3
    assert value("levels", Z_S, Z_T) == pytest.approx(sums @ [1, share**2, share], rel=1e-12)


def test_levels_at_the_authors_batch_is_their_equation() -> None:
    z_s, z_t = 2 * sines(64, 4), 3 * cosines(64, 4)
    theirs = sum(sum(loop_level(z_s, z_t, T)) for T in (2, 3, 4, 5, 6))
    assert value("levels", z_s, z_t) == pytest.approx(theirs, rel=1e-12)


def test_weighted_soft_labels() -> None:
    both = [torch.from_numpy(z) for z in (Z_S, Z_T)]
    weights = hinton.unsure(both[0], both[1], torch.tensor(LABELS)).tolist()
    assert weights == [near(0.3222365644), near(1.0), near(0.5371573715)]
    assert value("hinton", Z_S, Z_T, LABELS, T=2.0, weigh="wsld") == near(2.5801567835)


def test_weighted_soft_labels_as_published_are_cross_entropies() -> None:
    """Theirs = ours + mean w T² H(p_t): the same gradient."""
    soft = [(softmax(b, 2.0), softmax(a, 2.0)) for a, b in zip(Z_S, Z_T)]
    weights = loop_weights(Z_S, Z_T, LABELS)
    theirs = np.mean([-w * 4 * (p * np.log(q)).sum() for w, (p, q) in zip(weights, soft)])
    entropy = np.mean([-w * 4 * (p * np.log(p)).sum() for w, (p, _) in zip(weights, soft)])
    assert theirs == near(4.8396000471)
    assert value("hinton", Z_S, Z_T, LABELS, T=2.0, weigh="wsld") == pytest.approx(theirs - entropy, rel=1e-9)


def test_weights_of_soft_labels_at_their_ends() -> None:
    """Student right and sure: 0; teacher right and sure: 1; equal networks: 1 − 1/e; no label: 1, as without them."""
    sure, unsure, none = [[60.0, 0, 0]], [[1.0, 0.5, 0]], [-1, -1, -1]
    of = lambda a, b: hinton.unsure(torch.tensor(a), torch.tensor(b), torch.tensor([0])).item()
    assert of(sure, unsure) == pytest.approx(0, abs=1e-6) and of(unsure, sure) == 1
    assert of(unsure, unsure) == pytest.approx(1 - 1 / np.e, rel=1e-6)
    assert value("hinton", Z_S, Z_T, none, T=2.0, weigh="wsld") == value("hinton", Z_S, Z_T, T=2.0)


def test_weighted_soft_labels_of_mixed_inputs_are_refused_where_the_teacher_hears_the_mixture() -> None:
    how = TrainSettings(mixup=0.4, batch=8, epochs=5)
    LossMix.parse("ce,hinton:2.5@T=2@weigh=wsld").require(how)
    for mix, more in (("hinton@weigh=wsld,hint", {}), ("hinton@weigh=wsld,ce", {"augment": "shift"})):
        with pytest.raises(
            InputError, match=r"weigh=wsld of hinton@weigh=wsld .* hears mixtures of two clips; expected"
        ):
            LossMix.parse(mix).require(TrainSettings(mixup=0.4, batch=8, epochs=5, **more))


# METHODS2 6: small batches and special rows.

SMALL: list[tuple[str, Callable[[Array, Array, list[int]], float], tuple[float, ...]]] = [
    (
        "decoupled",
        lambda s, t, y: value("decoupled", s, t, y),
        (36.300349, 29.335716, 25.627462, 15.9105, 19.8211, 6.1762),
    ),
    ("inter", lambda s, t, y: value("pearson", s, t, gamma=0), (1.690580, 1.659045, 1.187106, 1, 0.8357, 1)),
    ("intra", lambda s, t, y: value("pearson", s, t, beta=0), (0, 0, 1.318074, 1, 1, 1)),
    (
        "standard",
        lambda s, t, y: value("hinton", s, t, T=2.0, logits="standard"),
        (1.452291, 1.491221, 1.018293, 0.3749, 0.6922, 0.3703),
    ),
    (
        "nkd",
        lambda s, t, y: value("decoupled", s, t, y, form="nkd", T=1.0),
        (5.173697, 6.503748, 4.697137, 2.2269, 3.0952, 3.1211),
    ),
    ("class", lambda s, t, y: of_parts(s, t, 4.0)[1], (0.013157, 0.014496, 0.007076, 0.0140, 0.0367, 0.0059)),
    ("batch", lambda s, t, y: of_parts(s, t, 4.0)[2], (0.000171, 0.002560, 0.004669, 0.0090, 0.0105, 0.0012)),
    (
        "weighted",
        lambda s, t, y: value("hinton", s, t, y, T=2.0, weigh="wsld"),
        (1.162119, 3.623706, 2.580157, 1.2154, 1.3796, 0.5837),
    ),
]


@pytest.mark.parametrize(("name", "of", "expected"), SMALL, ids=[row[0] for row in SMALL])
def test_small_batches_and_special_rows(
    name: str, of: Callable[[Array, Array, list[int]], float], expected: tuple[float, ...]
) -> None:
    z_s, z_t, labels = 2 * sines(4, 4), 3 * cosines(4, 4), [0, 1, 2, 3]
    small = [of(z_s[:batch], z_t[:batch], labels[:batch]) for batch in (1, 2, 3)]
    assert small == [pytest.approx(one, abs=6e-7) for one in expected[:3]]
    special = [of(0 * z_s, z_t, labels), of(z_s[:1].repeat(4, 0), z_t, labels), of(z_s, 0 * z_t, labels)]
    assert special == [pytest.approx(one, abs=6e-5) for one in expected[3:]]


@pytest.mark.parametrize(
    ("options", "student", "teacher"),
    [({"gamma": 0.0}, 1, 0), ({"beta": 0.0}, 1, 0)],
    ids=["inter", "intra"],
)
def test_a_teacher_of_equal_probabilities_does_not_move_the_student(
    options: dict[str, float], student: float, teacher: float
) -> None:
    """0g of METHODS2 6."""
    given = outputs(logits=student * 2 * sines(4, 4))
    given.logits.requires_grad_()
    losses.load("pearson")(given, outputs(logits=teacher * 3 * cosines(4, 4)), None, **options).backward()
    assert not bool(given.logits.grad.any())


@pytest.mark.parametrize(
    "mix",
    [
        "decoupled",
        "decoupled@form=nkd",
        "pearson",
        "hinton@logits=standard",
        "levels@logits=standard",
        "decoupled@logits=standard",
    ],
)
def test_two_classes_are_refused_where_they_teach_nothing(mix: str) -> None:
    LossMix.parse(mix).require_classes(3)
    with pytest.raises(InputError, match="needs at least 3 classes, and there are 2 classes; expected more"):
        LossMix.parse(mix).require_classes(2)


def test_levels_and_plain_hinton_take_two_classes() -> None:
    LossMix.parse("ce,levels,hinton@weigh=wsld").require_classes(2)


def test_parts_that_leave_nothing_to_learn_are_refused() -> None:
    for mix in ("decoupled@alpha=0@beta=0", "pearson@beta=0@gamma=0"):
        with pytest.raises(InputError, match="= 0 leave nothing to learn; expected one of them above 0"):
            LossMix.parse(mix)
