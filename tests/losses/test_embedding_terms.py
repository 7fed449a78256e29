"""The terms of embeddings against plain loops written from METHODS.md, section 3, and its values by their own numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import losses
from pipeline.config import InputError
from pipeline.losses import LossMix
from pipeline.losses.darkrank import ranked
from pipeline.losses.embeddings import SHARE, drawn, negative_weights, pairs_of_labels, unit_rows
from pipeline.losses.triplet import triples
from pipeline.relations import distances
from tests.losses.terms import mapped

NEGATIVES = ("distance", "semihard", "hard", "all", "random")
Outputs = SimpleNamespace

#: Term and options of everything that is compared with its loop.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *(
        ("darkrank", {"rank": rank, **more})
        for rank in ("hard", "soft")
        for more in ({}, {"n": 2, "alpha": 1, "beta": 2})
    ),
    ("darkrank", {"n": 7, "layer": "hidden"}),
    ("darkrank", {"rank": "soft", "n": 4, "beta": 4, "alpha": 12.25}),
    *(("triplet", {"negative": negative, "form": form}) for negative in NEGATIVES for form in ("squared", "plain")),
    ("triplet", {"margin": 1.5, "layer": "hidden"}),
]
IDS = [name + "".join(f"@{key}={value}" for key, value in options.items()) for name, options in VARIANTS]
each_variant = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
DRAWING = {"distance", "random"}


def student_of(
    *lead: int, batch: int = 8, width: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Outputs:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*lead, batch, *shape, generator=random, dtype=torch.float64).to(dtype)

    return Outputs(
        embedding=normal(width),
        hidden=normal(5),
        logits=normal(3),
        draws=torch.rand(*lead, batch, batch, generator=random),
    )


def labels_of(*lead: int, batch: int = 8, seed: int = 0, least: int = 0) -> Tensor:
    return torch.randint(least, 3, (*lead, batch), generator=torch.Generator().manual_seed(seed + 50))


def value(name: str, options: dict[str, Any], student: Any, teacher: Any, labels: Tensor) -> Tensor:
    return losses.load(name)(student, teacher, labels, **options)


# The oracles, for one run: lists of numbers and loops.


def unit(row: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length if length else 0.0 for x in row]


def apart(a: Sequence[float], b: Sequence[float]) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)))


def logsumexp(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def darkrank_of_rows(
    ours: list[list[float]], theirs: list[list[float]], rank: str, n: int, alpha: float, beta: float
) -> list[float]:
    """Of each query, of rows as they are."""
    each = []
    for q in range(len(ours)):
        others = sorted((j for j in range(len(ours)) if j != q), key=lambda j: (apart(theirs[q], theirs[j]), j))[:n]
        score_s = {j: -alpha * apart(ours[q], ours[j]) ** beta for j in others}
        score_t = {j: -alpha * apart(theirs[q], theirs[j]) ** beta for j in others}

        def logp(order: Sequence[int], score: dict[int, float]) -> float:
            return sum(score[order[i]] - logsumexp([score[j] for j in order[i:]]) for i in range(len(order)))

        if rank == "hard":
            each.append(-logp(others, score_s))
        else:
            orders = list(itertools.permutations(others))
            each.append(sum(math.exp(logp(o, score_t)) * (logp(o, score_t) - logp(o, score_s)) for o in orders))
    return each


def darkrank_loop(
    student: Any, teacher: Any, labels: Tensor, *, rank="hard", n=0, alpha=3.0, beta=3.0, layer="embedding"
) -> float:
    ours, theirs = ([unit(row) for row in rows.tolist()] for rows in (getattr(student, layer), teacher.embedding))
    each = darkrank_of_rows(ours, theirs, rank, n or {"hard": 4, "soft": 3}[rank], alpha, beta)
    return sum(each) / len(each)


def weights_loop(rows: list[list[float]], labels: list[int], a: int) -> list[float]:
    """Of an anchor's negatives: METHODS.md 3.2, with the fall-back."""
    width = len(rows[0])
    logs = {}
    for n in range(len(rows)):
        x = max(apart(rows[a], rows[n]), 0.5)
        if is_other(labels, a, n) and x < 1.4:
            logs[n] = (2 - width) * math.log(x) + (3 - width) / 2 * math.log(max(1 - x * x / 4, 1e-8))
    if not logs:
        return [float(is_other(labels, a, n)) for n in range(len(rows))]
    return [math.exp(logs[n] - max(logs.values())) if n in logs else 0.0 for n in range(len(rows))]


def is_other(labels: list[int], a: int, n: int) -> bool:
    return labels[a] != labels[n] and labels[a] >= 0 and labels[n] >= 0


def triplet_loop(
    student: Any, teacher: Any, labels: Tensor, *, negative="distance", form="squared", margin=0.2, layer="embedding"
) -> float:
    rows = [unit(row) for row in getattr(student, layer).tolist()]
    named, draws = labels.tolist(), student.draws.tolist()
    hinges = []
    for a, p, n in triples_loop(rows, named, negative, draws):
        ap, an = apart(rows[a], rows[p]), apart(rows[a], rows[n])
        hinges.append(max(ap**2 - an**2 + margin if form == "squared" else ap - an + margin, 0))
    return sum(hinges) / max(len(hinges), 1)


def triples_loop(
    rows: list[list[float]], labels: list[int], negative: str, draws: list[list[float]]
) -> list[tuple[int, int, int]]:
    mined = []
    for a, p in itertools.permutations(range(len(rows)), 2):
        others = [n for n in range(len(rows)) if is_other(labels, a, n)]
        if labels[a] != labels[p] or labels[a] < 0 or not others:
            continue
        d = [apart(rows[a], row) for row in rows]
        if negative == "all":
            chosen = others
        elif negative == "hard":
            chosen = [min(others, key=lambda n: (d[n], n))]
        elif negative == "semihard":
            farther = [n for n in others if d[n] > d[p]]
            chosen = [min(farther, key=lambda n: (d[n], n)) if farther else max(others, key=lambda n: (d[n], -n))]
        else:
            w = (
                weights_loop(rows, labels, a)
                if negative == "distance"
                else [float(n in others) for n in range(len(rows))]
            )
            sums = list(itertools.accumulate(w))
            chosen = [next(n for n in range(len(rows)) if sums[n] / sums[-1] > draws[a][p])]
        mined += [(a, p, n) for n in chosen]
    return mined


LOOPS: dict[str, Callable[..., float]] = {"darkrank": darkrank_loop, "triplet": triplet_loop}


# What METHODS.md, section 0, asks of every term.


@each_variant
@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_equals_the_plain_loop(name: str, options: dict[str, Any], batch: int, lead: tuple[int, ...]) -> None:
    student, teacher = student_of(*lead, batch=batch, seed=1), student_of(*lead, batch=batch, width=4, seed=2)
    labels = labels_of(*lead, batch=batch, least=-1)
    loss = value(name, options, student, teacher, labels)
    assert loss.shape == lead and loss.dtype == torch.float64
    for run in itertools.product(*map(range, lead)):
        ours, theirs = (mapped(side, lambda v, run=run: v[run]) for side in (student, teacher))
        expected = LOOPS[name](ours, theirs, labels[run], **options)
        assert loss[run].item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
        assert value(name, options, ours, theirs, labels[run]).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def spoilt(kind: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return {
        "zero": torch.zeros_like,
        "equal": lambda v: v[..., :1, :].expand_as(v).clone(),
        "one zero row": lambda v: v * (torch.arange(v.shape[-2]) != 1)[:, None].to(dtype),
        "two equal rows": lambda v: v[..., [0, 0, *range(2, v.shape[-2])], :],
        "1e-8": lambda v: v * 1e-8,
        "1e8": lambda v: v * 1e8,
        "as they are": lambda v: v,
    }[kind]


@each_variant
@pytest.mark.parametrize("who", ["student", "teacher", "both"])
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *((kind, torch.float32) for kind in ("zero", "equal", "one zero row", "two equal rows", "1e-8", "1e8")),
        *((kind, torch.float16) for kind in ("zero", "equal", "as they are")),
    ],
)
def test_what_no_network_should_say_stays_finite(
    name: str, options: dict[str, Any], who: str, kind: str, dtype: torch.dtype
) -> None:
    student, teacher = student_of(2, seed=1, dtype=dtype), student_of(2, seed=2, dtype=dtype)
    for side, named in ((student, "student"), (teacher, "teacher")):
        for key in ("embedding", "hidden"):
            if who in (named, "both"):
                setattr(side, key, spoilt(kind, dtype)(getattr(side, key)))
    scale = 1e-8 if kind == "1e-8" and who != "teacher" else 1.0
    leaves = [getattr(student, key).requires_grad_() for key in ("embedding", "hidden")]
    loss = value(name, options, student, teacher, labels_of(2))
    assert loss.dtype == torch.float32 and bool(loss.isfinite().all())
    loss.sum().backward()
    for leaf in leaves:
        assert leaf.grad is None or (bool(leaf.grad.isfinite().all()) and leaf.grad.norm().item() * scale < 100)
        if leaf.grad is not None and kind == "one zero row" and who != "teacher":
            assert not leaf.grad[:, 1].any()


@each_variant
def test_scale_does_not_matter(name: str, options: dict[str, Any]) -> None:
    student, teacher, labels = student_of(seed=1), student_of(seed=2), labels_of()
    expected = value(name, options, student, teacher, labels)
    for scale in (1e-8, 1e8):
        ours, theirs = (mapped(side, lambda v, scale=scale: v * scale) for side in (student, teacher))
        ours.draws = student.draws
        torch.testing.assert_close(value(name, options, ours, theirs, labels), expected)


@each_variant
def test_half_precision_is_computed_in_full(name: str, options: dict[str, Any]) -> None:
    student, teacher, labels = student_of(2, seed=1), student_of(2, seed=2), labels_of(2)
    for half in (torch.float16, torch.bfloat16):
        ours, theirs = (mapped(side, lambda v, half=half: v.to(half)) for side in (student, teacher))
        ours.draws = student.draws
        exact, taught = mapped(ours, Tensor.double), mapped(theirs, Tensor.double)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = value(name, options, ours, theirs, labels)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss.double(), value(name, options, exact, taught, labels), rtol=1e-6, atol=1e-7)


@each_variant
def test_gradcheck(name: str, options: dict[str, Any]) -> None:
    student, teacher, labels = student_of(2, batch=5, seed=1), student_of(2, batch=5, seed=2), labels_of(2, batch=5)
    layer = options.get("layer", "embedding")

    def loss(rows: Tensor) -> Tensor:
        return value(name, options, Outputs(**{**vars(student), layer: rows}), teacher, labels)

    assert torch.autograd.gradcheck(loss, [getattr(student, layer).requires_grad_()])


@each_variant
def test_nothing_flows_into_the_teacher_and_all_into_what_is_read(name: str, options: dict[str, Any]) -> None:
    student, teacher = (student_of(2, seed=seed) for seed in (1, 2))
    for side in (student, teacher):
        for key in ("embedding", "hidden", "logits"):
            getattr(side, key).requires_grad_()
    value(name, options, student, teacher, labels_of(2)).sum().backward()
    assert all(getattr(teacher, key).grad is None for key in ("embedding", "hidden", "logits"))
    moved = {key for key in ("embedding", "hidden", "logits") if getattr(student, key).grad is not None}
    read = losses.library.reads(name, {key: word for key, word in options.items() if isinstance(word, str)})
    assert moved == set(read or ())


@each_variant
def test_the_order_of_the_clips_does_not_matter(name: str, options: dict[str, Any]) -> None:
    if options.get("negative", "distance" if name == "triplet" else "") in DRAWING:
        pytest.skip("what is drawn depends on where a clip stands")
    student, teacher, labels = student_of(seed=1), student_of(seed=2), labels_of(least=-1)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    moved = [mapped(side, lambda v: v[order]) for side in (student, teacher)]
    torch.testing.assert_close(
        value(name, options, *moved, labels[order]), value(name, options, student, teacher, labels)
    )


@each_variant
def test_a_run_of_a_pack_is_the_run_alone(name: str, options: dict[str, Any]) -> None:
    """Bit for bit in float32, gradients too."""
    student = student_of(3, seed=1, dtype=torch.float32)
    teacher, labels = student_of(3, seed=2, dtype=torch.float32), labels_of(3)
    layer = options.get("layer", "embedding")
    getattr(student, layer).requires_grad_()
    whole = value(name, options, student, teacher, labels)
    whole.sum().backward()
    for run in range(3):
        ours = mapped(student, lambda v, run=run: v[run : run + 1].detach().clone())
        theirs = mapped(teacher, lambda v, run=run: v[run : run + 1])
        rows = getattr(ours, layer).requires_grad_()
        alone = value(name, options, ours, theirs, labels[run : run + 1])
        alone.sum().backward()
        assert torch.equal(alone[0], whole[run]) and torch.equal(rows.grad[0], getattr(student, layer).grad[run])


@each_variant
def test_too_few_clips_give_zero_and_no_gradient(name: str, options: dict[str, Any]) -> None:
    for batch in (1, 2):
        student, teacher = student_of(batch=batch, seed=1), student_of(batch=batch, seed=2)
        leaf = getattr(student, options.get("layer", "embedding")).requires_grad_()
        loss = value(name, options, student, teacher, torch.arange(batch))
        assert loss.item() == 0 and loss.requires_grad
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert not gradient.any()


# darkrank, METHODS.md 3.1.

TEACHER = torch.tensor([(0, 0), (1, 0), (0, 2), (3, 0)], dtype=torch.float64)
STUDENT = torch.tensor([(0, 0), (0.6, 0), (0, 0.5), (0, 0.9)], dtype=torch.float64)


@pytest.mark.parametrize(
    ("rank", "n", "alpha", "beta", "mean"),
    [
        ("hard", 3, 1, 1, 1.9166817147),
        ("hard", 3, 3, 3, 3.0620081625),
        ("hard", 2, 1, 1, 0.6440022569),
        ("soft", 3, 1, 1, 0.3945091645),
    ],
)
def test_darkrank_values(rank: str, n: int, alpha: float, beta: float, mean: float) -> None:
    loss = ranked(distances(STUDENT), distances(TEACHER), rank, n, alpha, beta)
    assert loss.item() == pytest.approx(mean, abs=6e-11)


def test_darkrank_values_of_each_query() -> None:
    each = darkrank_of_rows(STUDENT.tolist(), TEACHER.tolist(), "hard", 3, 1, 1)
    assert each == pytest.approx([1.5589259357, 1.7516958149, 1.9525831419, 2.4035219662], abs=6e-11)
    loss = ranked(distances(STUDENT), distances(TEACHER), "hard", 3, 1, 1)
    assert loss.item() == pytest.approx(sum(each) / 4, abs=1e-14)


@pytest.mark.parametrize(("rank", "n"), [("hard", 4), ("hard", 7), ("soft", 3)])
def test_darkrank_of_equal_students_is_log_of_the_orders(rank: str, n: int) -> None:
    student, teacher = student_of(seed=1), student_of(seed=2)
    student.embedding = student.embedding[:1].repeat(8, 1).requires_grad_()
    loss = value("darkrank", {"rank": rank, "n": n}, student, teacher, labels_of())
    (gradient,) = torch.autograd.grad(loss, student.embedding)
    assert not gradient.any()
    if rank == "hard":
        assert loss.item() == pytest.approx(math.lgamma(n + 1), rel=1e-12)


def test_darkrank_soft_is_least_where_student_and_teacher_are_equal() -> None:
    for n in (2, 3, 4):
        student, options = student_of(seed=1), {"rank": "soft", "n": n}
        student.embedding.requires_grad_()
        loss = value("darkrank", options, student, student, labels_of())
        (gradient,) = torch.autograd.grad(loss, student.embedding)
        assert loss.item() == pytest.approx(0, abs=1e-14) and gradient.abs().max() < 1e-12
        other = value("darkrank", options, student_of(seed=3), student, labels_of())
        assert other.item() > 0


def test_darkrank_ties_go_to_the_clip_that_comes_first() -> None:
    square = torch.tensor([(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)], dtype=torch.float64)  # all 1 from the first
    ours = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for n in (1, 2, 3):
        loss = ranked(distances(ours), distances(square), "hard", n, 1, 2)
        each = darkrank_of_rows(ours.tolist(), square.tolist(), "hard", n, 1, 2)
        assert loss.item() == pytest.approx(sum(each) / 5, rel=1e-12)
    apart_by = distances(ours)[0]
    expected = math.log1p(math.exp(float(apart_by[1] ** 2 - apart_by[2] ** 2)))  # clip 1 before clip 2
    assert darkrank_of_rows(ours.tolist(), square.tolist(), "hard", 2, 1, 2)[0] == pytest.approx(expected)


def test_darkrank_slope_of_a_score_is_bounded() -> None:
    """|∂s/∂d| ≤ α β 2^(β − 1) = 36 at the defaults."""
    apart_by = torch.linspace(0, 2, 401, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad((-3 * apart_by.pow(3)).sum(), apart_by)
    assert slope.abs().max().item() == pytest.approx(36)
    student = student_of(seed=1)
    student.embedding = student.embedding[:1] + 1e-12 * student.embedding  # nearly equal
    student.embedding.requires_grad_()
    loss = value("darkrank", {"beta": 2.0}, student, student_of(seed=2), labels_of())
    assert torch.autograd.grad(loss, student.embedding)[0].norm() < 100


def test_darkrank_soft_of_long_lists_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"n = 5 with rank = soft goes through all orders of 5 clips; expected at most 4"
    ):
        value("darkrank", {"rank": "soft", "n": 5}, student_of(seed=1), student_of(seed=2), labels_of())
    with pytest.raises(InputError, match=r"n = 5 with rank = soft goes") as caught:
        LossMix.parse("angle,darkrank@rank=soft@n=5")
    assert "\n" not in str(caught.value)
    assert str(LossMix.parse("darkrank@n=5@rank=hard")) == "darkrank:1@n=5,soft:1"
    assert str(LossMix.parse("darkrank@rank=soft@n=4")) == "darkrank:1@n=4@rank=soft,soft:1"


@pytest.mark.parametrize(
    "text",
    [
        "darkrank@beta=1",
        "darkrank@n=1",
        "darkrank@n=2.5",
        "darkrank@alpha=0",
        "darkrank@rank=firm",
        "darkrank@beta=3..1",
    ]
    + ["triplet@margin=0", "triplet@margin=5", "triplet@negative=near", "triplet@form=cubed", "triplet@m=0.2"],
)
def test_wrong_options_are_one_line(text: str) -> None:
    with pytest.raises(InputError, match="expected") as caught:
        LossMix.parse(text)
    assert "\n" not in str(caught.value)


# triplet, METHODS.md 3.2.

CIRCLE = torch.tensor(
    [(math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in (0, 40, 50, 100)], dtype=torch.float64
)
OF_CIRCLE = torch.tensor([0, 0, 1, 1])
SPHERE = torch.tensor([(1, 0, 0), (0.8, 0.6, 0), (0.6, 0.8, 0), (0.28, 0.96, 0), (-1, 0, 0)], dtype=torch.float64)
OF_SPHERE = torch.tensor([0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("negative", "squared", "plain"),
    [
        ("semihard", 0.05, 0.0710100717),
        ("all", 0.2151958633, 0.2330867657),
        ("hard", 0.3803917266, 0.4161735314),
    ],
)
def test_triplet_values(negative: str, squared: float, plain: float) -> None:
    for form, expected in (("squared", squared), ("plain", plain)):
        loss = value("triplet", {"negative": negative, "form": form}, Outputs(embedding=CIRCLE), None, OF_CIRCLE)
        assert loss.item() == pytest.approx(expected, abs=6e-11)


def test_triplet_semihard_picks() -> None:
    chosen = triples(distances(CIRCLE), OF_CIRCLE, "semihard", 2, None)
    assert chosen.nonzero().tolist() == [[0, 1, 2], [1, 0, 3], [2, 3, 0], [3, 2, 1]]


@pytest.mark.parametrize(
    ("width", "shares"),
    [
        (3, (0.5729490169, 0.4270509831, 0)),
        (8, (0.7695019556, 0.2304980444, 0)),
        (128, (0.9999999999, 1e-10, 0)),
    ],
)
def test_triplet_weights_of_the_negatives(width: int, shares: tuple[float, ...]) -> None:
    """With a negative that is antipodal, whose weight the published code makes NaN."""
    apart_by, (_, others) = distances(SPHERE), pairs_of_labels(OF_SPHERE)
    assert apart_by[0, 2:].tolist() == pytest.approx([0.8944271910, 1.2, 2.0], abs=6e-11)
    weights = negative_weights(apart_by, others, width)
    assert bool(weights.isfinite().all()) and weights[0, :2].tolist() == [0, 0]
    assert (weights[0] / weights[0].sum())[2:].tolist() == pytest.approx(shares, abs=6e-11)
    last = weights[4] / weights[4].sum()  # both of its negatives are beyond 1.4
    assert last.tolist() == [0.5, 0.5, 0, 0, 0]


def test_triplet_weights_do_not_underflow_beside_near_clips_of_the_same_class() -> None:
    """At D = 128 the weight of a clip at 0.5 is 10^45 of one at 1.3: over all pairs every negative would vanish."""
    for width in (128, 3440):
        apart_by = torch.tensor(
            [[0.0, 0.5, 1.25, 1.3], [0.5, 0, 1.3, 1.3], [1.25, 1.3, 0, 1], [1.3, 1.3, 1, 0]]
        ).double()
        weights = negative_weights(apart_by, pairs_of_labels(torch.tensor([0, 0, 1, 1]))[1], width)
        assert weights[0, 2] == 1 and weights[1, 2:].tolist() == [1, 1] and 0 <= weights[0, 3] < 1


def test_triplet_antipodal_rows_train_on() -> None:
    embedding = SPHERE.float().requires_grad_()
    student = Outputs(embedding=embedding, draws=torch.rand(5, 5, generator=torch.Generator().manual_seed(0)))
    for negative in NEGATIVES:
        loss = value("triplet", {"negative": negative}, student, None, OF_SPHERE)
        (gradient,) = torch.autograd.grad(loss, embedding)
        assert bool(loss.isfinite()) and bool(gradient.isfinite().all())


def test_triplet_draws_follow_the_weights() -> None:
    weights = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25], [0.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    draws = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 0.9999999999], dtype=torch.float64).expand(2, 6)
    assert drawn(weights, draws)[0].tolist() == [1, 1, 3, 3, 4, 4]  # the first whose share exceeds the draw
    assert drawn(weights, draws)[1].tolist() == [5] * 6
    many = drawn(weights[:1], torch.rand(1, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    shares = torch.bincount(many[0], minlength=5) / 20_000
    torch.testing.assert_close(shares, weights[0].float(), rtol=0, atol=0.015)


def test_triplet_every_pair_gets_one_negative_of_another_class() -> None:
    for seed, negative in itertools.product(range(5), ("distance", "semihard", "hard", "random")):
        student, labels = student_of(seed=seed), labels_of(seed=seed, least=-1)
        chosen = triples(distances(unit_rows(student.embedding)), labels, negative, 6, student.draws.double())
        pairs, others = pairs_of_labels(labels)
        assert torch.equal(chosen.any(-1), pairs & others.any(-1, keepdim=True)) and int(chosen.sum(-1).max()) <= 1
        for a, _, n in chosen.nonzero().tolist():
            assert labels[a] != labels[n] and labels[n] >= 0


def test_triplet_ties_go_to_the_clip_that_comes_first() -> None:
    corners = torch.tensor([(1, 0), (0, 1), (0, -1), (0, 1), (1, 0)], dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 2, 0])
    for negative in ("hard", "semihard"):
        chosen = triples(distances(corners), labels, negative, 2, None).nonzero().tolist()
        assert [0, 4, 1] in chosen and [4, 0, 1] in chosen  # three negatives at √2 each
        assert not {(0, 4, 2), (0, 4, 3), (4, 0, 2), (4, 0, 3)} & set(map(tuple, chosen))
    far = torch.tensor([(1, 0), (-1, 0), (0, 1), (0, -1), (0, 1)], dtype=torch.float64)
    chosen = triples(distances(far), torch.tensor([0, 0, 1, 2, 3]), "semihard", 2, None).nonzero().tolist()
    assert [0, 1, 2] in chosen and [
        1,
        0,
        2,
    ] in chosen  # none is farther than its own: the farthest, the first of equals


@pytest.mark.parametrize("labels", [(0, 0, 0, 0), (0, 1, 2, 3), (-1, -1, -1, -1), (0, 0, -1, -1), (0, -1, 1, -1)])
@pytest.mark.parametrize("negative", NEGATIVES)
def test_triplet_without_a_pair_or_a_negative_is_zero(labels: tuple[int, ...], negative: str) -> None:
    student = student_of(batch=4)
    student.embedding.requires_grad_()
    loss = value("triplet", {"negative": negative}, student, None, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(loss, student.embedding)
    assert loss.item() == 0 and not gradient.any()


def test_triplet_takes_what_distances_there_are_as_the_paper_says() -> None:
    """The sampler sees distances, not their squares: at squared ones a negative at 1.25 would count as 1.5625 and be left out."""
    rows = torch.tensor(
        [(1.0, 0.0), (1.0, 0.0), (1 - 1.25**2 / 2, math.sqrt(1 - (1 - 1.25**2 / 2) ** 2)), (-1.0, 0.0)]
    ).double()
    weights = negative_weights(distances(rows), pairs_of_labels(torch.tensor([0, 0, 1, 1]))[1], 2)
    assert weights[0].tolist() == [0, 0, 1, 0]


# Rows of unit length.


def test_unit_rows_and_their_gradient() -> None:
    rows = torch.tensor([(3.0, 4.0), (0.0, 0.0), (1e-5, 0.0), (0.0, 5.0)], dtype=torch.float64).requires_grad_()
    units = unit_rows(rows)
    torch.testing.assert_close(units[[0, 3]], torch.tensor([(0.6, 0.8), (0.0, 1.0)], dtype=torch.float64))
    floor = SHARE * math.sqrt(50 / 4)
    assert not units[1].any() and units[2, 0].item() == pytest.approx(1e-5 / floor)
    (gradient,) = torch.autograd.grad(units.sum(), rows)
    assert not gradient[1].any() and gradient[2].norm().item() == pytest.approx(math.sqrt(2) / floor)


@each_variant
def test_the_clips_that_count_are_a_batch_of_their_own(name: str, options: dict[str, Any]) -> None:
    student, teacher, labels = student_of(seed=1), student_of(seed=2), labels_of()
    for kept in ([0, 2, 3, 5, 7], [1, 4, 6], [2, 5], [3], []):
        rows = torch.isin(torch.arange(8), torch.tensor(kept, dtype=torch.int64))
        few = [Outputs(**{k: v[rows] for k, v in vars(side).items()}) for side in (student, teacher)]
        few[0].draws = student.draws[rows][:, rows]
        whole = losses.load(name)(student, teacher, labels, rows, **options)
        expected = value(name, options, *few, labels[rows]) if kept else torch.zeros((), dtype=torch.float64)
        torch.testing.assert_close(whole, expected, rtol=1e-10, atol=1e-12)
