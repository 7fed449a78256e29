"""The terms on outputs: every worked value, plain loops, and what their options do."""

from __future__ import annotations

import itertools
import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy import special
from torch import Tensor
from torch.nn import functional as F

from pipeline import losses
from pipeline.losses import hinton as hinton_file
from pipeline.losses.probabilities import targets
from pipeline.losses.rows import restricted
from pipeline.losses.signature import masked
from pipeline.models import Outputs


def rows(*logits: tuple[float, ...]) -> SimpleNamespace:
    return SimpleNamespace(logits=torch.tensor(logits, dtype=torch.float64))


def term(
    name: str, student: Any, teacher: Any = None, labels: list[int] | Tensor | None = None, **options: Any
) -> float:
    wanted = torch.tensor(labels) if isinstance(labels, list) else labels
    return float(losses.load(name)(student, teacher, wanted, **options))


def near(value: float) -> Any:
    """A worked value: ten decimals."""
    return pytest.approx(value, abs=5e-10)


# The worked values.


def test_ce_leaves_clips_without_a_label_out() -> None:
    student = rows((1, 0), (0, 2), (3, 0))
    assert term("ce", student, labels=[0, -1, 1]) == near(1.6809245195)
    each = [term("ce", rows(z), labels=[y]) for z, y in (((1, 0), 0), ((3, 0), 1))]
    assert each == [near(0.3132616875), near(3.0485873516)]


def test_conditional_teacher_student() -> None:
    student, teacher = rows((1, 0, -1), (0, 2, 0)), rows((3, 1, 0), (1, 0, 2))
    assert term("soft", student, teacher, [0, 1], wrong="label") == near(0.4226830312)
    each = [
        term("soft", rows(z_s), rows(z_t), [y], wrong="label")
        for z_s, z_t, y in (((1, 0, -1), (3, 1, 0), 0), ((0, 2, 0), (1, 0, 2), 1))
    ]
    assert each == [near(0.6058212961), near(0.2395447662)]


def test_knowledge_adjustment() -> None:
    student, teacher, label = rows((0.5, 0.2, -0.1)), rows((2, 1, 0)), torch.tensor([1])
    kept, swapped = (targets(teacher.logits, label, wrong=wrong)[0].tolist() for wrong in ("keep", "swap"))  # type: ignore[arg-type]
    assert kept == [near(0.6652409558), near(0.2447284711), near(0.0900305732)]
    assert swapped == [near(0.2447284711), near(0.6652409558), near(0.0900305732)]
    assert term("hinton", student, teacher, [1], T=1.0, wrong="swap") == near(0.2495852187)
    assert term("hinton", student, teacher, [1], T=1.0, wrong="smooth") == near(0.8952175675)


def test_dynamic_temperature() -> None:
    student, teacher = rows((2, 0, 0), (0, 1, 1)), rows((2, 0, 0), (1, 0, 0))
    options = {"T": 4.0, "vary": "angle", "beta": 2.0}
    assert term("hinton", student, teacher, **options) == near(0.2289364379)
    taus = hinton_file.temperatures(student.logits, teacher.logits, 4.0, "angle", 2.0, 1.0)
    assert taus.tolist() == [5, 3]
    each = [
        9 * term("hinton", rows((0, 1, 1)), rows((1, 0, 0)), T=3.0) / 9,
        term("hinton", rows((2, 0, 0)), rows((2, 0, 0)), T=5.0),
    ]
    assert each == [near(0.4578728759), 0]
    taus = hinton_file.temperatures(student.logits, teacher.logits, 4.0, "confidence", 2.0, 1.0)
    assert taus.tolist() == [near(5.0972088747), near(2.9027911253)]
    assert (1 / student.logits.softmax(-1).amax(-1)).tolist() == [near(1.2706705665), near(2.3678794412)]


def test_tolerance() -> None:
    student = rows((2, 1, 0, -1))
    p = [0.6439142599, 0.2368828181, 0.0871443187, 0.0320586033]
    assert student.logits.softmax(-1)[0].tolist() == list(map(near, p))
    assert term("tolerance", student, K=3) == near(0.4819006915)
    assert term("tolerance", student, K=4) == near(0.5252190132)
    assert term("tolerance", student, K=3, on="outputs") == near(1.5)
    assert p[0] - (p[1] + p[2]) / 3 == near(0.5359052143)  # the re-use divides by K
    mixed = 0.9 * term("ce", student, labels=[0]) + 0.1 * term("tolerance", student, K=3)
    assert mixed == near(0.4443607979)


def test_virtual() -> None:
    student = rows((2, 0, -1, 0.5))
    assert term("virtual", student, labels=[0]) == near(0.5609993535)
    assert term("virtual", student, labels=[0]) / 4 == near(0.1402498384)  # the authors' mean over classes too
    assert term("virtual", student, labels=[0], T=1.0, target="tempered") == near(0.2970285918)
    for target, q in (
        ("code", [0.2593635852, 0.2468788049, 0.2468788049, 0.2468788049]),
        ("tempered", [0.3070545882, 0.2309818039, 0.2309818039, 0.2309818039]),
    ):
        log_p = student.logits.log_softmax(-1)[0].tolist()
        expected = sum(a * (math.log(a) - b) for a, b in zip(q, log_p))
        assert term("virtual", student, labels=[0], target=target) == pytest.approx(expected, abs=1e-8)


def test_virtual_teachers_of_ten_classes() -> None:
    """Where the student is q the divergence is 0: ten classes, T = 20, as METHODS states both forms."""
    for target, on, off in (("code", 0.10454, 0.09950), ("tempered", 0.13498, 0.09611)):
        q = torch.tensor([[on] + [off] * 9], dtype=torch.float64)
        assert term("virtual", SimpleNamespace(logits=q.log()), labels=[0], target=target) == pytest.approx(0, abs=1e-9)


def test_a_teacher_of_smoothed_labels() -> None:
    """Two conventions of ε: ours, and that of ε / (C − 1) on the wrong classes alone."""
    student, label = rows((2, 0, -1, 0.5)), [0]
    assert term("ce", student, labels=label, label_smoothing=0.1) == near(0.5048495824)
    assert term("ce", student, labels=label, label_smoothing=0.1 * 4 / 3) == near(0.5590162491)
    costs = (-student.logits.log_softmax(-1))[0].tolist()
    assert 0.9 * costs[0] + 0.1 / 3 * sum(costs[1:]) == near(0.5590162491)
    theirs = 0.1 * 3 / 4
    assert (1 - theirs) * costs[0] + theirs / 3 * sum(costs[1:]) == near(0.5048495824)


def test_dirichlet() -> None:
    student = rows((1, 0, -1))
    members = torch.tensor([[[2.0, 0, 0], [0, 1, 0]]], dtype=torch.float64)
    teacher = SimpleNamespace(members=members)
    smoothed = (1 - 1e-3) * members.softmax(-1) + 1e-3 / 3
    assert smoothed.log().mean(-2)[0].tolist() == [near(-0.8954967464), near(-1.3946417809), near(-1.8941447314)]
    assert term("dirichlet", student, teacher) == near(-0.2272902631)
    assert term("dirichlet", student, teacher, T=2.0) == near(-2.4771261874)


def test_asymmetric_distillation() -> None:
    student, teacher = rows((1, 0, -1)), rows((2, 1, -2))
    soft = term("soft", student, teacher, T=2.0)
    ce = term("ce", student, labels=[1])
    assert (soft, ce) == (near(0.9112045506), near(1.4076059644))
    assert (1 + 1 / 2) * ce + soft == near(3.0226134973)
    assert term("hinton", student, teacher, T=2.0) == near(0.1904686874)  # the symmetric T^2 KL


# Plain loops.


def softmax(z: list[float], T: float = 1.0) -> list[float]:
    powers = [math.exp((x - max(z)) / T) for x in z]
    return [p / sum(powers) for p in powers]


def loop_targets(z: list[float], label: int, T: float, wrong: str, epsilon: float) -> list[float]:
    p, top = softmax(z, T), z.index(max(z))
    if label in (-1, top) or wrong == "keep":
        return p
    if wrong == "swap":
        p[top], p[label] = p[label], p[top]
        return p
    share = 1.0 if wrong == "label" else epsilon
    return [share if c == label else (1 - share) / (len(z) - 1) for c in range(len(z))]


def divergence(q: list[float], p: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(q, p) if a > 0)


Z = list[list[float]]


def loop_soft(s: Z, t: Z, labels: list[int], T: float = 1.0, wrong: str = "keep", epsilon: float = 0.95) -> float:
    total = 0.0
    for z_s, z_t, y in zip(s, t, labels):
        q = loop_targets(z_t, y, T, wrong, epsilon)
        total -= sum(a * math.log(b) for a, b in zip(q, softmax(z_s)))
    return total / len(s)


def loop_hinton(
    s: Z,
    t: Z,
    labels: list[int],
    T: float = 1.5,
    wrong: str = "keep",
    epsilon: float = 0.95,
    vary: str = "off",
    beta: float = 1.0,
    gamma: float = 1.0,
) -> float:
    doubts = [0.0] * len(s)
    for n, (z_s, z_t) in enumerate(zip(s, t)):
        if vary == "angle":
            lengths = math.dist(z_s, [0.0] * len(z_s)) * math.dist(z_t, [0.0] * len(z_t))
            cosine = sum(a * b for a, b in zip(z_s, z_t)) / lengths if lengths else 0.0
            doubts[n] = (1 - cosine) ** gamma
        elif vary == "confidence":
            doubts[n] = 1 / max(softmax(z_s))
    total = 0.0
    for z_s, z_t, y, doubt in zip(s, t, labels, doubts):
        tau = T if vary == "off" else max(T + (sum(doubts) / len(s) - doubt) * beta, 1)
        total += tau**2 * divergence(loop_targets(z_t, y, tau, wrong, epsilon), softmax(z_s, tau))
    return total / len(s)


def loop_tolerance(s: Z, t: Z, labels: list[int], K: int = 5, on: str = "probabilities") -> float:
    total = 0.0
    for z in s:
        ordered = sorted(softmax(z) if on == "probabilities" else z, reverse=True)
        total += ordered[0] - sum(ordered[1:K]) / (K - 1)
    return total / len(s)


def loop_virtual(s: Z, t: Z, labels: list[int], a: float = 0.99, T: float = 20.0, target: str = "code") -> float:
    values = []
    for z, y in zip(s, labels):
        if y >= 0:
            u = [a if c == y else (1 - a) / (len(z) - 1) for c in range(len(z))]
            q = softmax(u, T) if target == "code" else [x ** (1 / T) for x in u]
            values.append(divergence([x / sum(q) for x in q], softmax(z)))
    return sum(values) / max(len(values), 1)


def loop_dirichlet(s: Z, members: list[Z], labels: list[int], T: float = 1.0, gamma: float = 1e-3) -> float:
    total = 0.0
    for z, answers in zip(s, members):
        alpha = [math.exp(x / T) for x in z]
        smoothed = [[(1 - gamma) * p + gamma / len(z) for p in softmax(answer, T)] for answer in answers]
        g = [sum(math.log(p[c]) for p in smoothed) / len(answers) for c in range(len(z))]
        total += sum(map(math.lgamma, alpha)) - math.lgamma(sum(alpha))
        total -= sum((x - 1) * y for x, y in zip(alpha, g))
    return T**2 * total / len(s)


LOOPS = {
    "soft": loop_soft,
    "hinton": loop_hinton,
    "tolerance": loop_tolerance,
    "virtual": loop_virtual,
    "dirichlet": loop_dirichlet,
}

#: Every word of every option, and some numbers.
CASES: list[tuple[str, dict[str, Any]]] = [
    *(("soft", {"wrong": wrong, "T": T}) for wrong in ("keep", "label", "swap", "smooth") for T in (1.0, 2.5)),
    ("soft", {"wrong": "smooth", "epsilon": 0.6}),
    *(
        ("hinton", {"wrong": wrong, "vary": vary, "T": 3.0})
        for wrong in ("keep", "label", "swap", "smooth")
        for vary in ("off", "angle", "confidence")
    ),
    ("hinton", {"vary": "angle", "beta": 30.0, "gamma": 0.5}),
    ("hinton", {"vary": "confidence", "beta": 30.0}),
    *(("tolerance", {"K": K, "on": on}) for K in (2, 4, 6) for on in ("probabilities", "outputs")),
    *(("virtual", {"target": target, "T": T, "a": 0.7}) for target in ("code", "tempered") for T in (1.0, 20.0)),
    *(("dirichlet", {"T": T, "gamma": gamma}) for T in (1.0, 5.0) for gamma in (1e-3, 0.2)),
]


def clips(*lead: int, batch: int, classes: int = 6, seed: int = 0) -> tuple[SimpleNamespace, SimpleNamespace, Tensor]:
    """Student, teacher with three members, and labels, some of them absent; half of the teacher's answers are right."""
    random = torch.Generator().manual_seed(seed)
    student = 2 * torch.randn(*lead, batch, classes, generator=random, dtype=torch.float64)
    teacher = 3 * torch.randn(*lead, batch, classes, generator=random, dtype=torch.float64)
    members = teacher[..., None, :] + torch.randn(*lead, batch, 3, classes, generator=random, dtype=torch.float64)
    labels = torch.randint(-1, classes, (*lead, batch), generator=random)
    labels[..., ::2] = teacher.argmax(-1)[..., ::2]
    return SimpleNamespace(logits=student), SimpleNamespace(logits=teacher, members=members), labels


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_equals_the_plain_loop(name: str, options: dict[str, Any], lead: tuple[int, ...], batch: int) -> None:
    student, teacher, labels = clips(*lead, batch=batch, seed=batch)
    values = losses.load(name)(student, teacher, labels, **options)
    assert values.shape == lead
    taught = teacher.members if name == "dirichlet" else teacher.logits
    for run in itertools.product(*map(range, lead)):
        expected = LOOPS[name](student.logits[run].tolist(), taught[run].tolist(), labels[run].tolist(), **options)
        assert float(values[run]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_number_per_run_is_that_of_the_run_alone() -> None:
    """A ramp gives a term its number as a tensor with one of each run."""
    student, teacher, labels = clips(3, batch=4)
    numbers = {
        "T": (1.0, 2.0, 7.0),
        "epsilon": (0.6, 0.9, 0.95),
        "beta": (1.0, 5.0, 20.0),
        "gamma": (0.1, 0.5, 0.9),
        "a": (0.5, 0.9, 0.99),
    }
    words = {
        "soft": {"wrong": "smooth"},
        "hinton": {"wrong": "smooth", "vary": "angle"},
        "virtual": {"target": "tempered"},
        "dirichlet": {},
    }
    for name, fixed in words.items():
        of_runs = {k: v for k, v in numbers.items() if k in losses.load(name).__kwdefaults__}
        packed = losses.load(name)(
            student, teacher, labels, **fixed, **{k: torch.tensor(v) for k, v in of_runs.items()}
        )
        for run in range(3):
            parts = [SimpleNamespace(**{k: v[run] for k, v in vars(o).items()}) for o in (student, teacher)]
            alone = losses.load(name)(*parts, labels[run], **fixed, **{k: v[run] for k, v in of_runs.items()})
            torch.testing.assert_close(packed[run], alone, rtol=1e-6, atol=1e-7)


def test_ce_without_labels_of_some_clips_is_torchs() -> None:
    student, _, _ = clips(batch=8)
    labels = torch.tensor([0, -1, 3, 5, -1, 1, 2, -1])
    weights = torch.tensor([0.5, 1, 2, 3, 0.1, 1], dtype=torch.float64)
    for smoothing, balance in itertools.product((0.0, 0.1), (None, weights)):
        value = losses.load("ce")(student, None, labels, label_smoothing=smoothing, class_weights=balance)
        expected = F.cross_entropy(student.logits, labels, weight=balance, label_smoothing=smoothing, ignore_index=-1)
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("name", ["ce", "virtual"])
def test_without_any_label_there_is_nothing_to_learn(name: str) -> None:
    student, _, _ = clips(3, batch=4)
    logits = student.logits.requires_grad_()
    labels = torch.full((3, 4), -1)
    labels[1, 2] = 0
    value = losses.load(name)(student, None, labels)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value[[0, 2]].tolist() == [0, 0] and value[1] > 0
    assert gradient.abs().sum(-1).nonzero().tolist() == [[1, 2]]


def test_a_clip_without_a_label_keeps_its_teacher() -> None:
    student, teacher, _ = clips(batch=5)
    for name, wrong in itertools.product(("soft", "hinton"), ("label", "swap", "smooth")):
        nobody = torch.full((5,), -1)
        assert term(name, student, teacher, nobody, wrong=wrong) == term(name, student, teacher, None)


def test_of_equal_outputs_the_first_is_the_teachers_answer() -> None:
    tied, labels = torch.tensor([[1.0, 3, 3], [3, 3, 1]]), torch.tensor([1, 1])
    assert targets(tied, labels, wrong="label").tolist()[0] == pytest.approx(tied[0].softmax(-1).tolist())
    assert targets(tied, labels, wrong="label").tolist()[1] == [0, 1, 0]


def test_tolerance_moves_the_first_of_equal_classes() -> None:
    """Ties by index, and at most ½ per clip."""
    logits = torch.tensor([[1.0, 1, 1, 0, 0]], requires_grad=True)
    losses.load("tolerance")(SimpleNamespace(logits=logits), None, None, on="outputs", K=4).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[1, -1 / 3, -1 / 3, -1 / 3, 0]]))
    worst = torch.tensor([[40.0, 40, -40, -40, -40]], dtype=torch.float64, requires_grad=True)
    losses.load("tolerance")(SimpleNamespace(logits=worst), None, None, K=2).backward()
    assert worst.grad is not None and worst.grad.abs().max() <= 0.5 + 1e-12


def test_dynamic_temperature_of_one_clip_and_of_nothing() -> None:
    """One clip: T. Zero outputs: cosine 0, so w = 1. Never below 1."""
    student, teacher, _ = clips(batch=1)
    for vary in ("angle", "confidence"):
        assert hinton_file.temperatures(student.logits, teacher.logits, 4.0, vary, 50.0, 1.0).tolist() == [4]
    zero, some = torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]])
    taus = hinton_file.temperatures(torch.cat([zero, some]), torch.cat([some, some]), 4.0, "angle", 2.0, 0.5)
    assert taus.tolist() == [3, 5]
    taus = hinton_file.temperatures(torch.cat([zero, some]), torch.cat([some, some]), 4.0, "angle", 80.0, 1.0)
    assert taus.tolist() == [1, 44]


def test_dirichlet_is_its_density() -> None:
    """Minus the mean log-density of the members' smoothed answers, by scipy; least where the ensemble's own is fitted."""
    student, teacher, _ = clips(batch=8, classes=4)
    alpha = student.logits.exp().numpy()
    p = ((1 - 1e-3) * teacher.members.softmax(-1) + 1e-3 / 4).numpy()
    log_density = special.gammaln(alpha.sum(-1)) - special.gammaln(alpha).sum(-1)
    log_density = log_density + ((alpha - 1)[:, None] * special.xlogy(1, p)).sum(-1).mean(-1)
    assert term("dirichlet", student, teacher) == pytest.approx(-log_density.mean(), rel=1e-12)


def test_dirichlet_pulls_with_the_gradient_of_the_paper() -> None:
    """α_c (ψ(α_c) − ψ(α_0) − ḡ_c) / T, and none above z / T = 9.2."""
    logits = torch.zeros(1, 10, dtype=torch.float64, requires_grad=True)
    members = torch.tensor([[[9.0] + [0] * 9, [6.0] + [0] * 9]], dtype=torch.float64)
    losses.load("dirichlet")(SimpleNamespace(logits=logits), SimpleNamespace(members=members), None).backward()
    g = ((1 - 1e-3) * members.softmax(-1) + 1e-4).log().mean(-2)[0].numpy()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx((special.digamma(1) - special.digamma(10) - g).tolist())
    logits = torch.tensor([[9.3, 0, 30]], requires_grad=True)
    value = losses.load("dirichlet")(SimpleNamespace(logits=logits), SimpleNamespace(members=members[..., :3]), None)
    value.backward()
    assert logits.grad is not None and bool(value.isfinite())
    assert logits.grad[0, [0, 2]].tolist() == [0, 0] and logits.grad[0, 1] != 0


def test_dirichlet_of_outputs_that_are_far_apart_is_precise() -> None:
    """Differences of lnΓ at z = 11: in float32 the second decimal is lost."""
    z, members = [11.0, 1.0, 0.0], [[3.0, 0, 0], [2.0, 1, 0]]
    student = SimpleNamespace(logits=torch.tensor([z], dtype=torch.float32) * 0.8)
    teacher = SimpleNamespace(members=torch.tensor([members], dtype=torch.float32))
    value = losses.load("dirichlet")(student, teacher, None)
    assert value.dtype == torch.float32
    expected = loop_dirichlet([[float(x) for x in student.logits[0]]], [members], [0])
    assert float(value) == pytest.approx(expected, rel=1e-6)


HOSTILE = {
    "zero": torch.zeros_like,
    "equal": lambda v: torch.full_like(v, 0.7),
    "1e-8": lambda v: v * 1e-8,
    "1e+8": lambda v: v * 1e8,
    "float16": lambda v: v.half(),
}


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_option_stays_finite_and_in_float32(name: str, options: dict[str, Any]) -> None:
    """What ``test_every_term`` holds at the defaults."""
    student, teacher, labels = (
        SimpleNamespace(**{k: v.float() for k, v in vars(part).items()}) if isinstance(part, SimpleNamespace) else part
        for part in clips(batch=4)
    )
    for spoil, who in itertools.product(HOSTILE.values(), ("student", "teacher", "both")):
        logits = (spoil(student.logits) if who != "teacher" else student.logits.clone()).requires_grad_()
        taught = {k: spoil(v) if who != "student" else v for k, v in vars(teacher).items()}
        value = losses.load(name)(SimpleNamespace(logits=logits), SimpleNamespace(**taught), labels, **options)
        value.backward()
        assert value.dtype == torch.float32 and bool(value.isfinite())
        assert logits.grad is not None and bool(logits.grad.isfinite().all())


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_option_has_the_gradient_of_its_value(name: str, options: dict[str, Any]) -> None:
    """With ``vary`` that of fixed temperatures: they are moved without gradient."""
    student, teacher, labels = clips(2, batch=3)
    logits = student.logits.requires_grad_()
    if options.get("vary", "off") == "off":

        def loss(outputs: Tensor) -> Tensor:
            return losses.load(name)(SimpleNamespace(logits=outputs), teacher, labels, **options)  # type: ignore[no-any-return]

        assert torch.autograd.gradcheck(loss, [logits], fast_mode=True)
        return
    (gradient,) = torch.autograd.grad(losses.load(name)(student, teacher, labels, **options).sum(), logits)
    extra = [options.get("beta", 1.0), options.get("gamma", 1.0)]
    taus = hinton_file.temperatures(logits, teacher.logits, options.get("T", 1.5), options["vary"], *extra)
    fixed = options | {"vary": "off"}
    for run, clip in itertools.product(range(2), range(3)):
        part = SimpleNamespace(logits=student.logits[run, clip : clip + 1])
        taught = SimpleNamespace(logits=teacher.logits[run, clip : clip + 1])
        label = labels[run, clip : clip + 1]
        fixed["T"] = float(taus[run, clip])
        alone = {k: v for k, v in fixed.items() if k not in ("beta", "gamma")}
        (expected,) = torch.autograd.grad(losses.load(name)(part, taught, label, **alone) / 3, logits)
        torch.testing.assert_close(gradient[run, clip], expected[run, clip])


@pytest.mark.parametrize("similarity", ["ce", "l1", "l2"])
def test_pooled_of_some_clips_keeps_one_teacher_of_the_step(similarity: str) -> None:
    """``@rows``: the member that the first clip's number names, whatever the numbers of the others."""
    random = torch.Generator().manual_seed(2)
    logits, members = torch.randn(1, 3, 4, generator=random), torch.randn(1, 3, 2, 4, generator=random)
    student = Outputs(logits=logits, draws=torch.tensor([[[0.7], [0.1], [0.9]]]))
    teacher, labels = Outputs(members=members), torch.tensor([[0, 1, -1]])
    function = partial(losses.load("pooled"), layer="logits", similarity=similarity)
    (value,) = restricted(function, "labelled", masked("pooled"), student, teacher, labels)
    each = []
    for clip in (0, 1):
        s, t = logits[0, clip], members[0, clip, 1]
        apart = {
            "ce": -(t.softmax(0) * s.log_softmax(0)).sum(),
            "l1": (s - t).abs().mean(),
            "l2": (s - t).square().mean(),
        }
        each.append(apart[similarity])
    torch.testing.assert_close(value, sum(each) / 2)
    everyone = restricted(function, "labelled", masked("pooled"), student, teacher, labels.clamp_min(0))
    torch.testing.assert_close(everyone, function(student, teacher, labels))
