"""The terms on pairs of clips, similarity, congruence, affinity and edges: plain loops, worked values, public code, bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import losses
from pipeline.config import InputError
from pipeline.losses import LossMix, library
from pipeline.losses.needs import needs_of
from tests.losses import clip_pair_oracles, worked

NAMES = ("similarity", "congruence", "affinity", "edges")
#: Each with the options that change what it computes.
TERMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("similarity", {}),
    ("congruence", {}),
    ("congruence", {"gamma": 1.5, "P": 4}),
    ("congruence", {"kernel": "exact"}),
    ("congruence", {"kernel": "bilinear"}),
    ("affinity", {}),
    ("affinity", {"diagonal": False}),
    ("edges", {}),
)


def term(name: str, student: Any, teacher: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Value, and gradient by the student's embeddings."""
    leaf = torch.as_tensor(student).clone().requires_grad_()
    sides = SimpleNamespace(embedding=leaf), SimpleNamespace(embedding=torch.as_tensor(teacher))
    value: Tensor = losses.load(name)(*sides, None, **options)
    value.sum().backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("name", "options"), TERMS)
def test_equals_the_plain_loop(name: str, options: dict[str, Any]) -> None:
    for batch in (1, 2, 3, 8):
        student, teacher = random(3, batch, 4, seed=1), random(3, batch, 6, seed=2)
        values, _ = term(name, student, teacher, **options)
        for run, value in enumerate(values.tolist()):
            each = getattr(clip_pair_oracles, name)(student[run].numpy(), teacher[run].numpy(), **options)
            assert value == pytest.approx(each, rel=1e-9, abs=1e-12)


def test_similarity_worked() -> None:
    assert term("similarity", *worked.embeddings())[0].item() == pytest.approx(0.1733429994, abs=1e-10)
    assert term("similarity", *worked.two_clips())[0].item() == pytest.approx(0.1992330139, abs=1e-10)


def test_congruence_worked() -> None:
    student, teacher = worked.embeddings()
    assert term("congruence", student, teacher)[0].item() == pytest.approx(0.0242057190, abs=1e-10)
    for kernel, value in (("exact", 0.0263175155), ("bilinear", 0.2325694890)):
        assert term("congruence", student, teacher, kernel=kernel)[0].item() == pytest.approx(value, abs=1e-10)
    assert term("congruence", *worked.two_clips())[0].item() == pytest.approx(0.0531613051, abs=1e-10)
    itself = losses.module("congruence").likeness(torch.ones(1, 1, dtype=torch.float64), "gaussian", 0.4, 2)
    assert itself.item() == pytest.approx(0.9525774039, abs=1e-10)


def test_affinity_worked() -> None:
    student, teacher = worked.embeddings()
    value = term("affinity", student, teacher)[0].item()
    assert value == pytest.approx(0.1553920162, abs=1e-10)
    assert value / len(student) == pytest.approx(0.0388480040, abs=1e-10)
    assert term("affinity", student, teacher, diagonal=False)[0].item() == pytest.approx(0.2294182923, abs=1e-10)
    assert term("affinity", *worked.two_clips())[0].item() == pytest.approx(0.0333727788, abs=1e-10)


def test_edges_worked() -> None:
    assert term("edges", *worked.embeddings())[0].item() == pytest.approx(0.1373793675, abs=1e-10)


#: Of the worked inputs: the first 1, 2 and 3 clips, and of 4 clips a student of zeros, one of equal rows, a teacher of zeros; 0g: no gradient.
SPECIAL = {
    "similarity": ("0 0g", "0.000420", "0.094642", "0.2500 0g", "0.2877", "0.2500 0g"),
    "congruence": ("0 0g", "0.000055", "0.010057", "0.0727 0g", "0.1897 0g", "0.0762"),
    "affinity": ("0 0g", "0.000091", "0.018889", "0.0981 0g", "0.0981 0g", "0.3031"),
    "edges": ("0 0g", "0 0g", "0.084626", "0.3270 0g", "0.3270 0g", "0.2491"),
}


@pytest.mark.parametrize("name", NAMES)
def test_small_batches_and_special_rows(name: str) -> None:
    student, teacher = worked.embeddings()
    cases = [(student[:batch], teacher[:batch]) for batch in (1, 2, 3)]
    cases += [(0 * student, teacher), (np.repeat(student[:1], 4, 0), teacher), (student, 0 * teacher)]
    for (ours, theirs), expected in zip(cases, SPECIAL[name]):
        number, _, still = expected.partition(" ")
        value, gradient = term(name, ours, theirs)
        assert value.item() == pytest.approx(float(number), abs=0.6 * 10 ** -len(number.partition(".")[2] or "000000"))
        assert (gradient.abs().max().item() < 1e-15) == bool(still), (expected, gradient)


def test_similarity_as_in_public_code() -> None:
    """RepDistiller, mdistiller: G over its rows' length by ``F.normalize``, the squared norm of the difference over B²."""
    student, teacher = map(torch.from_numpy, worked.embeddings())
    grams = [F.normalize(side @ side.t()) for side in (student, teacher)]
    theirs = (grams[1] - grams[0]).square().view(-1, 1).sum(0) / (4 * 4)
    assert tuple(theirs.shape) == (1,)  # one element, no scalar
    assert theirs.item() == pytest.approx(term("similarity", student, teacher)[0].item(), rel=1e-12)


def test_congruence_and_the_two_other_forms_of_public_code() -> None:
    student, teacher = torch.from_numpy(worked.sines(4, 5)), torch.from_numpy(worked.cosines(4, 5))
    apart = (student - teacher).abs()
    of_neighbours = (apart[:-1] * apart[1:]).sum(-1).mean()  # RepDistiller, without its layers
    assert of_neighbours.item() == pytest.approx(4.5593204664, abs=1e-10)
    student, teacher = map(torch.from_numpy, worked.embeddings())
    series = [
        math.exp(-0.8) * sum(0.8**p / math.factorial(p) * (x @ x.t()) ** p for p in range(3))
        for x in (F.normalize(student), F.normalize(teacher))
    ]
    of_norm = torch.linalg.norm(series[1] - series[0]) / 4**2  # torchdistill, on unit rows
    assert of_norm.item() == pytest.approx(0.0388954681, abs=1e-10)
    ours = term("congruence", student, teacher)[0].item()
    assert ours == pytest.approx(16 * of_norm.item() ** 2, rel=1e-9)


@pytest.mark.parametrize("batch", [2, 4, 8])
def test_affinity_of_public_code_is_ours_over_the_batch(batch: int) -> None:
    """``torch.mean(p * log((p + eps) / (q + eps)))``, rows over their length + 10⁻⁷."""
    student, teacher = random(batch, 3, seed=3), random(batch, 5, seed=4)
    q, p = (
        (x := ((F.normalize(side) @ F.normalize(side).t()) + 1) / 2) / x.sum(1, keepdim=True)
        for side in (student, teacher)
    )
    theirs = (p * torch.log((p + 1e-7) / (q + 1e-7))).mean().item()
    assert theirs == pytest.approx(term("affinity", student, teacher)[0].item() / batch, rel=1e-9)
    assert pytest.approx(losses.module("affinity").WEIGHT, abs=0.5) == 30000 / 64


ROTATION = torch.linalg.qr(random(3, 3, seed=5))[0]
BY_CLIP = torch.tensor([0.5, 2.0, 3.0, 0.1], dtype=torch.float64)[:, None]
CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "rotation": lambda x: x @ ROTATION,
    "one factor": lambda x: 7 * x,
    "a factor of each clip": lambda x: BY_CLIP * x,
    "offset": lambda x: x + 1,
}


@pytest.mark.parametrize("name", NAMES)
def test_what_leaves_a_term_unchanged(name: str) -> None:
    student, teacher = map(torch.from_numpy, worked.embeddings())
    value = term(name, student, teacher)[0].item()
    unchanged = {
        change
        for change, function in CHANGES.items()
        if term(name, function(student), teacher)[0].item() == pytest.approx(value, rel=1e-9)
    }
    more = {"similarity": set(), "edges": {"offset"}}.get(name, {"a factor of each clip"})
    assert unchanged == {"rotation", "one factor"} | more


@pytest.mark.parametrize("name", NAMES)
def test_clips_in_another_order_and_the_range(name: str) -> None:
    for seed in range(20):
        student, teacher = random(5, 3, seed=seed), random(5, 4, seed=100 + seed)
        value = term(name, student, teacher)[0].item()
        order = torch.tensor([3, 0, 4, 2, 1])
        assert term(name, student[order], teacher[order])[0].item() == pytest.approx(value, rel=1e-9)
        most = {"similarity": 4 / 5, "congruence": 0.52, "edges": 1}.get(name, math.inf)
        assert -1e-7 <= value <= most


def bound(name: str, x: Tensor) -> float:
    """Of the gradient of an entry, by the floor φ of the rows, or of those of G = x xᵀ."""
    batch = len(x)

    def floor(rows: Tensor) -> float:
        return max(1e-3 * rows.norm(dim=-1).mean().item(), 1e-6)

    if name == "similarity":
        gram = x @ x.t()
        return 8 * gram.norm(dim=-1).mean().sqrt().item() / (batch * floor(gram))
    return {"congruence": 1.9 / batch, "affinity": 1600 * (1 + 1 / batch) + 1}[name] / floor(x)


@pytest.mark.parametrize("name", ["similarity", "congruence", "affinity"])
def test_gradients_stay_below_the_bound(name: str) -> None:
    """With rows that are nearly dead, antipodal and nearly equal, at all scales."""
    rows, teacher = random(8, 6, seed=6), random(8, 5, seed=7)
    rows[1], rows[3], rows[5] = 1e-9 * rows[1], -rows[2], rows[4] + 1e-9 * rows[5]
    for scale in (1e-10, 1e-6, 1e-3, 1.0, 1e10):
        value, gradient = term(name, scale * rows, teacher)
        assert bool(value.isfinite()) and gradient.abs().max().item() <= bound(name, scale * rows)


def test_edges_of_hostile_rows_have_finite_gradients() -> None:
    rows, teacher = random(8, 6, seed=6), random(8, 5, seed=7)
    rows[1], rows[3], rows[5] = 1e-9 * rows[1], -rows[2], rows[4] + 1e-9 * rows[5]
    for exponent in range(-10, 11):
        value, gradient = term("edges", 10.0**exponent * rows, teacher)
        assert bool(value.isfinite()) and gradient.abs().max().item() <= 1e5


def test_opposite_clips_without_the_diagonal() -> None:
    """Nobody is a neighbour of either: no probability, and no gradient that is not finite."""
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    value, gradient = term("affinity", rows, rows + 0.5, diagonal=False)
    assert bool(value.isfinite()) and bool(gradient.isfinite().all())


def test_affinity_is_least_at_the_teacher_but_for_epsilon() -> None:
    rows = random(6, 5, seed=8)
    value, gradient = term("affinity", rows, rows)
    assert abs(value.item()) <= 1e-7 and gradient.abs().max().item() < 1e-6
    for seed in range(4):
        assert term("affinity", rows + 0.1 * random(6, 5, seed=seed), rows)[0].item() > 1e-4


def test_similarity_of_the_last_maps() -> None:
    """After their ReLU, flattened, the student's last and the teacher's last; nothing else is kept of the teacher."""
    student = {"map1": random(3, 2, 4, 5, seed=8), "map2": random(3, 3, 2, 2, seed=9)}
    teacher = {"map1": random(3, 2, 4, 5, seed=10), "map3": random(3, 4, 1, 3, seed=11)}
    flat = [side[stage].relu().flatten(1) for side, stage in ((student, "map2"), (teacher, "map3"))]
    seen, taught = SimpleNamespace(maps=student), SimpleNamespace(maps=teacher)
    value = losses.load("similarity")(seen, taught, None, layer="maps")
    torch.testing.assert_close(value, term("similarity", *flat)[0])
    mix = LossMix.parse("similarity@layer=maps,soft:0")
    assert (mix.reads, mix.teacher_reads) == (("maps",), ("maps",))
    kept = needs_of([mix], {"map1": (2, 4, 5)}).keep(losses.Outputs(teacher))
    assert list(kept) == ["reduced similarity@layer=maps map3"]
    assert not needs_of([LossMix.parse("similarity,soft")]).large


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("congruence@kernel=rbf", "unknown kernel 'rbf'.*expected one of gaussian, exact, bilinear"),
        ("congruence@gamma=0", "option gamma of congruence is '0'; expected a number above 0"),
        ("congruence@P=0", "option P of congruence is '0'; expected a whole number of at least 1"),
        ("congruence@kernel=exact@P=3", "option P of congruence does nothing without kernel=gaussian"),
        ("congruence@kernel=bilinear@gamma=1", "does nothing without kernel=gaussian or kernel=exact"),
        ("affinity@diagonal=no", "unknown diagonal 'no'.*expected one of true, false"),
        ("edges@layer=maps", "unknown layer 'maps'.*expected one of embedding, hidden"),
        ("similarity@layer=logits", "unknown layer 'logits'.*expected one of embedding, hidden, maps"),
    ],
)
def test_wrong_options_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        LossMix.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_says_what_it_is(name: str) -> None:
    module = losses.module(name)
    (one,) = [each for each in LossMix.parse(module.MIX).terms if each.name == name]
    assert one.weight == module.WEIGHT and one.options == ()
    assert ("from memory" in module.SOURCE) == (name != "edges") and library.fewest(name) == 2 + (name == "edges")
