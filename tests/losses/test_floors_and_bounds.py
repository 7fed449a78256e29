"""METHODS2: lengths below their floor, and how large a gradient can be. Loops in torch's scalars, so that gradients are compared too.

Rows are dead, nearly dead, opposite to each other and nearly equal, at scales from 10⁻¹⁰ to 10¹⁰: where a floor counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import losses
from pipeline.losses import contrast, levels

Rows = Iterable[Tensor]
Loop = Callable[[Tensor, Tensor], Tensor]
CLIPS = 6
LABELS = torch.tensor([0, 1, 2, 0, -1, 1])


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CENTRES = torch.cat([random(2, 4, seed=9), torch.zeros(1, 4, dtype=torch.float64)])


def hostile(rows: Tensor) -> dict[str, Tensor]:
    """The same clips in several ways."""
    mixed = rows.clone()
    mixed[1], mixed[3], mixed[5] = 1e-9 * rows[1], -rows[2], rows[4] + 1e-9 * rows[5]
    one_dead, faint = rows.clone(), rows.clone()
    one_dead[0], faint[1] = 0, 5e-4 * rows[1]
    scaled = {f"1e{exponent}": 10.0**exponent * mixed for exponent in (-8, 10)}
    return {"generic": rows, "hostile": mixed, "dead": 0 * rows, "one dead": one_dead, "faint": faint, **scaled}


# Loops, as the text has them.


def length(v: Tensor) -> Tensor:
    squares = (v * v).sum()
    return squares.sqrt() if squares.item() > 0 else 0 * squares


def floored(rows: Rows, least: float | None = None) -> list[Tensor]:
    """Each over max(|v|, φ), φ = max(10⁻³ · mean |v|, 10⁻⁶), or ``least``: a number, so that it has no gradient."""
    rows = list(rows)
    floor = max(1e-3 * sum(length(v).item() for v in rows) / len(rows), 1e-6) if least is None else least
    return [v / (length(v) if length(v).item() > floor else floor) for v in rows]


def similarity(S: Tensor, T: Tensor) -> Tensor:
    s, t = (floored(torch.stack([(x * y).sum() for y in X]) for x in X) for X in (S, T))
    return torch.stack([((a - b) ** 2).mean() for a, b in zip(s, t)]).mean()


def of_kernel(k: Callable[[Tensor, Tensor], Tensor]) -> Loop:
    def congruence(S: Tensor, T: Tensor) -> Tensor:
        s, t = floored(S), floored(T)
        pairs = [(i, j) for i in range(len(s)) for j in range(len(s))]
        return torch.stack([(k(s[i], s[j]) - k(t[i], t[j])) ** 2 for i, j in pairs]).mean()

    return congruence


def gaussian(x: Tensor, y: Tensor) -> Tensor:
    return math.exp(-0.8) * torch.stack([(0.8 * (x * y).sum()) ** p / math.factorial(p) for p in range(3)]).sum()


def affinity(S: Tensor, T: Tensor) -> Tensor:
    each = []
    for i in range(len(S)):
        likeness = [torch.stack([((x[i] * y).sum() + 1) / 2 for y in x]) for x in (floored(S), floored(T))]
        q, p = (k / k.sum() for k in likeness)
        each.append((p * ((p + 1e-7) / (q + 1e-7)).log()).sum())
    return torch.stack(each).mean()


def projector(P: Tensor, T: Tensor) -> Tensor:
    return torch.stack([1 - (p * t).sum() for p, t in zip(floored(P), floored(T))]).mean()


def direction(S: Tensor, T: Tensor) -> Tensor:
    floor, each = max(1e-3 * sum(length(t).item() for t in T) / len(T), 1e-6), []
    for s, t, y in zip(S, T, LABELS.tolist()):
        if y >= 0:
            centre = CENTRES[y] / max(length(CENTRES[y]).item(), 1e-300)
            least = max(length(t).item(), floor)
            each.append(1 - (s * centre).sum() / (length(s) if length(s).item() > least else least))
    return torch.stack(each).mean()


def pearson(z_s: Tensor, z_t: Tensor) -> Tensor:
    p, q = ((z / 4).softmax(-1) for z in (z_s, z_t))

    def apart(one: Tensor, other: Tensor) -> Tensor:
        a, b = (floored([v - v.mean() for v in x], 1e-4) for x in (one, other))
        return 1 - torch.stack([(x * y).sum() for x, y in zip(a, b)]).mean()

    return torch.as_tensor(16.0 * (apart(p, q) + 2 * apart(p.T, q.T)))


def standard(z_s: Tensor, z_t: Tensor) -> Tensor:
    """sd with C − 1, which is the length over √(C − 1), 10⁻³ at least."""
    root = (z_s.shape[-1] - 1) ** 0.5
    s, t = (floored([z - z.mean() for z in Z], 1e-3 * root) for Z in (z_s, z_t))
    each = [(b * root / 2).log_softmax(0) for b in t], [(a * root / 2).log_softmax(0) for a in s]
    return torch.stack([4 * (p.exp() * (p - q)).sum() for p, q in zip(*each)]).mean()


def called(name: str, seen: str, taught: str = "embedding", **options: Any) -> Loop:
    """The loss of one output of each side."""
    labels = LABELS if name == "direction" else None

    def function(s: Tensor, t: Tensor) -> Tensor:
        teacher = SimpleNamespace(**{taught: t, "constants": {"centres": CENTRES}})
        value: Tensor = losses.load(name)(SimpleNamespace(**{seen: s}), teacher, labels, **options)
        return value

    return function


FLOORED: dict[str, tuple[Loop, Loop]] = {
    "similarity": (similarity, called("similarity", "embedding")),
    "congruence": (of_kernel(gaussian), called("congruence", "embedding")),
    "exact": (
        of_kernel(lambda x, y: (-0.4 * ((x - y) ** 2).sum()).exp()),
        called("congruence", "embedding", kernel="exact"),
    ),
    "bilinear": (of_kernel(lambda x, y: (x * y).sum()), called("congruence", "embedding", kernel="bilinear")),
    "affinity": (affinity, called("affinity", "embedding")),
    "projector": (projector, called("projector", "adapted")),
    "direction": (direction, called("direction", "hidden")),
    "pearson": (pearson, called("pearson", "logits", "logits", T=4.0, gamma=2.0)),
    "standard": (standard, called("hinton", "logits", "logits", T=2.0, logits="standard")),
}


def descent(function: Loop, s: Tensor, t: Tensor) -> tuple[float, Tensor]:
    leaf = s.clone().requires_grad_()
    value = function(leaf, t)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.item(), gradient


@pytest.mark.parametrize("name", FLOORED)
def test_value_and_gradient_of_rows_below_the_floor(name: str) -> None:
    loop, ours = FLOORED[name]
    teachers = {key: rows for key, rows in hostile(random(CLIPS, 4, seed=2)).items() if key in ("hostile", "one dead")}
    for kind, s in hostile(random(CLIPS, 4, seed=1)).items():
        if name in ("pearson", "standard") and kind == "1e10":
            continue  # no probability of a loop is left
        for whose, t in teachers.items():
            expected, slope = descent(loop, s, t)
            value, gradient = descent(ours, s, t)
            assert value == pytest.approx(expected, rel=1e-8, abs=1e-9), (kind, whose)
            tolerance = 1e-8 * slope.abs().max().item() + 1e-14
            torch.testing.assert_close(gradient, slope, rtol=1e-8, atol=tolerance, msg=f"{kind} {whose}")


# Bounds of the gradients, each by its number.

SCALES = [10.0**exponent for exponent in (-10, -6, -3, 0, 3, 10)]
TEACHER, ROWS = 3 * random(CLIPS, 4, seed=4), hostile(random(CLIPS, 4, seed=3))["hostile"]


def steepest(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """|∂L/∂row| of each clip, finite."""
    leaf = rows.clone().requires_grad_()
    function(leaf).backward()
    assert leaf.grad is not None and bool(leaf.grad.isfinite().all())
    return leaf.grad.norm(dim=-1)


def outputs_term(name: str, **options: Any) -> Callable[[Tensor], Tensor]:
    labels = LABELS.clamp_min(0)
    return lambda z: losses.load(name)(SimpleNamespace(logits=z), SimpleNamespace(logits=TEACHER), labels, **options)


B, ROOT = CLIPS, 2**0.5
OUTPUTS: list[tuple[str, dict[str, Any], float]] = [
    ("decoupled", {"T": 4.0, "alpha": 1.0, "beta": 8.0}, ROOT * 4 * 9 / B),
    ("decoupled", {"T": 1.0, "alpha": 3.0, "beta": 0.5}, ROOT * 3.5 / B),
    ("pearson", {"T": 4.0, "gamma": 0.0}, 5000 * 4 / B),
    ("pearson", {"T": 1.0, "beta": 0.0}, 5000 / 4**0.5),
    ("hinton", {"T": 2.0, "logits": "standard"}, ROOT * 2 / (B * 1e-3)),
    ("hinton", {"T": 4.0, "weigh": "wsld"}, ROOT * 4 / B),
]


@pytest.mark.parametrize(("name", "options", "bound"), OUTPUTS)
def test_output_terms(name: str, options: dict[str, Any], bound: float) -> None:
    for scale in SCALES:
        assert steepest(outputs_term(name, **options), scale * ROWS).max() <= bound * (1 + 1e-9)


def test_levels() -> None:
    """Instance √2 (2 + … + 6) / B = 28.3 / B a clip; class 8 B^1.5 / (2 T C) and batch 8 B^1.5 / (2 T B), before the factors of B."""
    counted = torch.ones(B, dtype=torch.bool)
    for scale in SCALES:
        whole = torch.zeros(B, dtype=torch.float64)
        for T in levels.TEMPERATURES:
            instance, of_classes, of_batch = (
                steepest(lambda z: levels.parts(z, TEACHER, T, counted)[part], scale * ROWS)  # noqa: B023
                for part in range(3)
            )
            whole += instance
            assert of_classes.norm() <= 8 * B**1.5 / (2 * T * 4) and of_batch.norm() <= 8 * B**1.5 / (2 * T * B)
        assert whole.max() <= 28.3 / B
    assert sum(levels.TEMPERATURES) * ROOT == pytest.approx(28.3, abs=0.05)


def test_the_hottest_learned_temperature() -> None:
    """√2 T / B ≤ 29.7 / B."""
    function = losses.load("hinton")
    for scale in SCALES:
        for theta in (-50.0, 1.0, 50.0):
            adapted = torch.full((B,), theta, dtype=torch.float64)
            one = lambda z: function(
                SimpleNamespace(logits=z, adapted=adapted),  # noqa: B023
                SimpleNamespace(logits=TEACHER),
                None,
                reversal=-1.0,
                T="learned",
            )
            assert steepest(one, scale * ROWS).max() <= 29.7 / B


def test_projector() -> None:
    """mean |W| / (B φ) in hidden, φ of p."""
    heads = random(3, 4, 4, seed=5)
    most = torch.linalg.matrix_norm(heads, ord=2).mean()
    for scale in SCALES:
        p = (scale * ROWS @ heads.mT).relu().mean(0)
        floor = max(1e-3 * p.norm(dim=-1).mean().item(), 1e-6)
        of_hidden = lambda x: called("projector", "adapted")((x @ heads.mT).relu().mean(0), TEACHER)
        assert steepest(of_hidden, scale * ROWS).max() <= most / (B * floor)


def test_direction() -> None:
    """2 / (B max(|t|, φ))."""
    for scale in SCALES:
        teacher = hostile(TEACHER)["one dead"] * scale**0.5
        floor = max(1e-3 * teacher.norm(dim=-1).mean().item(), 1e-6)
        told = steepest(lambda s: called("direction", "hidden")(s, teacher), scale * ROWS)  # noqa: B023
        assert bool((told <= 2 / (5 * teacher.norm(dim=-1).clamp_min(floor))).all())  # five clips have a label


def test_reuse() -> None:
    """2 |p − t| / N + 2 |W_T| |Δz| / N, each N of its own part."""
    head, bias = random(3, 4, seed=6), random(3, seed=7)
    answers = TEACHER @ head.T + bias
    taught = SimpleNamespace(embedding=TEACHER, logits=answers, constants={"weight": head, "bias": bias})
    for scale in SCALES:
        p = scale * ROWS
        told = steepest(lambda x: losses.load("reuse")(SimpleNamespace(adapted=x), taught, None), p)
        missed = (p @ head.T + bias - answers).norm(dim=-1)
        bound = 2 * (p - TEACHER).norm(dim=-1) / (4 * B) + 2 * torch.linalg.matrix_norm(head, 2) * missed / (3 * B)
        assert bool((told <= bound * (1 + 1e-9)).all())


def test_variational() -> None:
    """|t − μ| / (ε N) in μ, however sure it is."""
    for scale in SCALES[:-1]:
        mu, t = scale * random(2, 3, 2, 4, seed=8), random(2, 3, 2, 4, seed=9).relu()
        adapted = {"map1": mu.clone().requires_grad_(), "map1 variance": torch.full((2, 3), 1e-5, dtype=torch.float64)}
        losses.load("variational")(
            SimpleNamespace(adapted=adapted), SimpleNamespace(reduced={"map1": t}), None
        ).backward()
        assert bool((adapted["map1"].grad.abs() <= (t - mu).abs() / (1e-5 * t.numel()) * (1 + 1e-9)).all())


@pytest.mark.parametrize("tau", [0.07, 1.0])
def test_contrast(tau: float) -> None:
    """(K + 1) / (τ B) in v, over φ."""
    K = 5
    for scale in SCALES:
        views = random(4, 128, seed=10) * scale
        views[1] = 1e-9 * views[2]
        floor = max(1e-3 * views.norm(dim=-1).mean().item(), 1e-6)
        memory = contrast.memory(torch.arange(8) // 2, 4)
        draws = torch.rand(4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

        def of_view(v: Tensor) -> Tensor:
            seen = SimpleNamespace(
                adapted={"student": v, "teacher": random(4, 128, seed=11)},
                memory=memory,  # noqa: B023
                index=torch.arange(4),
                draws=draws,  # noqa: B023
            )
            value: Tensor = losses.load("contrast")(seen, None, torch.arange(4) // 2, K=K, tau=tau)
            return value

        assert steepest(of_view, views).max() <= (K + 1) / (tau * 4) / floor


# METHODS2 6, the rows marked 0g that no other test has.


def test_what_has_no_gradient() -> None:
    """The batch part of ``levels`` of equal probabilities, and a projector's mean that is dead."""
    counted, zero = torch.ones(B, dtype=torch.bool), torch.zeros(B, 4, dtype=torch.float64)
    assert steepest(lambda z: levels.parts(z, TEACHER, 4.0, counted)[2], zero).max() < 1e-15
    assert steepest(lambda z: levels.parts(z, TEACHER, 4.0, counted)[1], zero).max() > 1e-5
    heads = random(3, 4, 4, seed=5)
    dead = lambda x: called("projector", "adapted")((x @ heads.mT - 1).relu().mean(0), TEACHER)
    assert dead(zero).item() == 1 and not steepest(dead, zero).any()
