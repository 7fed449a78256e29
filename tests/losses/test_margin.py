"""Margin distillation against a plain loop with angles, and METHODS.md 3.3's values by their own numbers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import losses, models
from pipeline.config import InputError
from pipeline.losses import LossMix, Outputs, library
from pipeline.losses.margin import ToCentres, adapter, constants, margin, turned

WIDTH, CLASSES, ADAPTED = 6, 3, "teacher"
SHAPES = {"hidden": (5,), "logits": (CLASSES,)}


class Side:
    """What the loss is given of one network."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def of(self, run: Any) -> Side:
        return Side(
            **{k: {n: v[run] for n, v in x.items()} if isinstance(x, dict) else x[run] for k, x in vars(self).items()}
        )

    def to(self, **how: Any) -> Side:
        each = {
            k: {n: v.to(**how) for n, v in x.items()} if isinstance(x, dict) else x.to(**how)
            for k, x in vars(self).items()
        }
        return Side(**each)


def sides(*lead: int, batch: int = 8, seed: int = 0) -> tuple[Side, Side]:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*lead, *shape, generator=random, dtype=torch.float64)

    student = Side(cosines=normal(batch, CLASSES).tanh(), adapted=normal(batch, WIDTH), hidden=normal(batch, 5))
    teacher = Side(embedding=normal(batch, WIDTH), constants={"centres": normal(CLASSES, WIDTH)})
    return student, teacher


def labels_of(*lead: int, batch: int = 8, least: int = 0) -> Tensor:
    return torch.randint(least, CLASSES, (*lead, batch), generator=torch.Generator().manual_seed(9))


def cosine(a: list[float], b: list[float]) -> float:
    lengths = [math.sqrt(sum(x * x for x in row)) for row in (a, b)]
    return sum(x * y for x, y in zip(a, b)) / math.prod(lengths) if all(lengths) else 0.0


def loop(
    student: Any,
    teacher: Any,
    labels: Tensor,
    *,
    centres: str = "own",
    m_lo: float = 0.2,
    m_hi: float = 0.5,
    s: float = 16,
) -> float:
    means, named = teacher.constants["centres"].tolist(), labels.tolist()
    known = [n for n, y in enumerate(named) if y >= 0]
    d = {n: max(cosine(teacher.embedding[n].tolist(), means[named[n]]), 0.0) for n in known}
    each = []
    for n in known:
        m = (m_hi - m_lo) * d[n] / max(*d.values(), 1e-6) + m_lo
        if centres == "teacher":
            cosines = [cosine(student.adapted[n].tolist(), mean) for mean in means]
        else:
            cosines = student.cosines[n].tolist()
        theta = math.acos(cosines[named[n]])
        cosines[named[n]] = math.cos(theta + m) if theta + m <= math.pi else math.cos(theta) - m * math.sin(m)
        each.append(math.log(sum(math.exp(s * c) for c in cosines)) - s * cosines[named[n]])
    return sum(each) / max(len(each), 1)


OPTIONS = ({}, {"centres": ADAPTED}, {"m_lo": 0.0, "m_hi": 1.2, "s": 30.0}, {"centres": ADAPTED, "m_hi": 0.2, "s": 4.0})


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_equals_the_plain_loop(options: dict[str, Any], batch: int, lead: tuple[int, ...]) -> None:
    student, teacher = sides(*lead, batch=batch, seed=batch)
    labels = labels_of(*lead, batch=batch, least=-1)
    loss = margin(student, teacher, labels, **options)
    assert loss.shape == lead and loss.dtype == torch.float64
    for run in itertools.product(*map(range, lead)):
        expected = loop(student.of(run), teacher.of(run), labels[run], **options)
        assert loss[run].item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
        alone = margin(student.of(run), teacher.of(run), labels[run], **options)
        torch.testing.assert_close(alone, loss[run], rtol=1e-13, atol=0)


def test_values() -> None:
    centres = torch.eye(2, dtype=torch.float64)
    teacher = Side(embedding=torch.tensor([(0.8, 0.6), (0, 2)], dtype=torch.float64), constants={"centres": centres})
    rows = torch.nn.functional.normalize(torch.tensor([(1, 1), (-1, 2)], dtype=torch.float64))
    student, labels = Side(cosines=rows @ centres.mT, adapted=3 * rows), torch.tensor([0, 1])
    for where in ("own", "teacher"):
        assert margin(student, teacher, labels, centres=where, s=4.0).item() == pytest.approx(0.8486196632, abs=6e-11)
        for n, expected in enumerate((1.6803223416, 0.0169169848)):
            one_label = torch.where(torch.arange(2) == n, labels, -1)  # of one clip, with the margins of both
            alone = margin(student, teacher, one_label, centres=where, s=4.0, m_lo=(0.44, 0.5)[n], m_hi=(0.44, 0.5)[n])
            assert alone.item() == pytest.approx(expected, abs=6e-11)


def test_margins_grow_with_the_teachers_cosine() -> None:
    from pipeline.losses.margin import margins_of

    rows = torch.tensor([(0.8, 0.6), (0.0, 1.0)], dtype=torch.float64)
    centres = torch.eye(2, dtype=torch.float64)
    assert margins_of(rows, centres, torch.tensor([0, 1]), 0.2, 0.5).tolist() == pytest.approx([0.44, 0.5])
    away = margins_of(-rows, centres, torch.tensor([0, 1]), 0.2, 0.5)  # the published code would turn the margin around
    assert away.tolist() == [0.2, 0.2]
    assert margins_of(rows, centres, torch.tensor([0, -1]), 0.2, 0.5).tolist() == pytest.approx([0.5, 0.2])
    each = margins_of(
        torch.stack([rows, rows[:, [1, 0]]]), centres.expand(2, 2, 2), torch.tensor([[0, 1]] * 2), 0.2, 0.5
    )
    assert each[0].tolist() == pytest.approx([0.44, 0.5]) and each[1].tolist() == pytest.approx([0.5, 0.2])


def test_beyond_pi_the_penalty_goes_on() -> None:
    theta, m = math.radians(170), torch.tensor(0.5, dtype=torch.float64)
    assert math.cos(theta + 0.5) == pytest.approx(-0.9475014820, abs=6e-11)
    assert turned(torch.tensor(math.cos(theta), dtype=torch.float64), m).item() == pytest.approx(
        -1.2245205223, abs=6e-11
    )


@pytest.mark.parametrize("m", [0.0, 0.2, 0.5, 1.5])
def test_the_turned_cosine_falls_with_the_angle_and_its_slope_is_bounded(m: float) -> None:
    theta = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
    cosines = theta.cos().requires_grad_()
    turned_cosines = turned(cosines, torch.tensor(m, dtype=torch.float64))
    inside = (theta + m < math.pi) & (theta > 2e-3) & (theta < math.pi - 2e-3)
    torch.testing.assert_close(turned_cosines[inside], (theta + m).cos()[inside], rtol=0, atol=1e-9)
    assert (turned_cosines.diff() <= 1e-12).all()
    (slope,) = torch.autograd.grad(turned_cosines.sum(), cosines)
    assert bool(slope.isfinite().all()) and slope.max() <= 1 + 1e3 * math.sin(m) and slope.min() >= 0
    for one in (1.0, -1.0, 1 - 1e-7, 1 + 1e-6):
        at = torch.tensor(one, dtype=torch.float32, requires_grad=True)
        (slope,) = torch.autograd.grad(turned(at, torch.tensor(m)), at)
        assert 0 <= slope.item() <= 1 + 1e3 * math.sin(m)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradcheck_and_nothing_flows_into_the_teacher(options: dict[str, Any]) -> None:
    student, teacher = sides(2, batch=5, seed=1)
    labels, key = labels_of(2, batch=5), "adapted" if "centres" in options else "cosines"
    teacher.embedding.requires_grad_()
    teacher.constants["centres"].requires_grad_()

    def loss(values: Tensor) -> Tensor:
        return margin(Side(**{key: values}), teacher, labels, **options)

    leaf = getattr(student, key).requires_grad_()
    assert torch.autograd.gradcheck(loss, [leaf])
    loss(leaf).sum().backward()
    assert teacher.embedding.grad is None and teacher.constants["centres"].grad is None


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["zero", "equal", "1e-8", "1e8", "float16", "unlabelled"])
def test_what_no_network_should_say_stays_finite(options: dict[str, Any], kind: str) -> None:
    spoil = {
        "zero": torch.zeros_like,
        "equal": lambda v: torch.full_like(v, 0.7),
        "1e-8": lambda v: v * 1e-8,
        "1e8": lambda v: v * 1e8,
        "float16": Tensor.half,
        "unlabelled": lambda v: v,
    }[kind]
    labels = labels_of(2) * (0 if kind != "unlabelled" else 1) - (kind == "unlabelled") * 10
    for who in ("student", "teacher", "both"):
        student, teacher = (side.to(dtype=torch.float32) for side in sides(2, seed=2))
        if who != "teacher":
            student = Side(cosines=spoil(student.cosines), adapted=spoil(student.adapted))
        if who != "student":
            means = {"centres": spoil(teacher.constants["centres"])}
            teacher = Side(embedding=spoil(teacher.embedding), constants=means)
        leaves = [student.cosines.requires_grad_(), student.adapted.requires_grad_()]
        loss = margin(student, teacher, labels, **options)
        assert loss.dtype == torch.float32 and bool(loss.isfinite().all())
        for gradient in torch.autograd.grad(loss.sum(), leaves, allow_unused=True):
            assert gradient is None or bool(gradient.isfinite().all())
        if kind == "unlabelled":
            assert not loss.any() and loss.requires_grad


def test_the_order_of_clips_does_not_matter() -> None:
    student, teacher = sides(seed=3)
    labels, order = labels_of(least=-1), torch.randperm(8, generator=torch.Generator().manual_seed(4))
    moved = Side(cosines=student.cosines[order], adapted=student.adapted[order])
    taught = Side(embedding=teacher.embedding[order], constants=teacher.constants)
    for options in OPTIONS:
        torch.testing.assert_close(
            margin(moved, taught, labels[order], **options), margin(student, teacher, labels, **options)
        )


def test_the_clips_that_count_are_a_batch_of_their_own() -> None:
    student, teacher = sides(seed=5)
    labels, rows = labels_of(), torch.tensor([True, False, True, True, False, True, False, True])
    few = Side(cosines=student.cosines[rows], adapted=student.adapted[rows])
    taught = Side(embedding=teacher.embedding[rows], constants=teacher.constants)
    for options in OPTIONS:
        torch.testing.assert_close(
            margin(student, teacher, labels, rows, **options), margin(few, taught, labels[rows], **options)
        )


def test_a_number_of_every_run() -> None:
    """As a ramp gives it."""
    student, teacher = sides(3, seed=4)
    labels, ramped = labels_of(3), {"m_lo": (0.0, 0.1, 0.2), "m_hi": (0.5, 0.6, 0.3), "s": (4.0, 16.0, 30.0)}
    loss = margin(student, teacher, labels, **{key: torch.tensor(each) for key, each in ramped.items()})
    for run in range(3):
        numbers = {key: each[run] for key, each in ramped.items()}
        expected = margin(student.of(run), teacher.of(run), labels[run], **numbers)
        torch.testing.assert_close(loss[run], expected, rtol=1e-6, atol=1e-6)


def test_the_centres_are_the_means_of_each_class() -> None:
    rows, labels = (
        torch.randn(9, 4, generator=torch.Generator().manual_seed(0)),
        torch.tensor([2, 0, 0, 2, -1, 0, 2, 2, 0]),
    )
    centres = constants(Outputs(embedding=rows), labels, {"logits": (4,)})["centres"]
    assert centres.shape == (4, 4) and centres.dtype == torch.float32
    torch.testing.assert_close(centres[0], rows[labels == 0].mean(0))
    torch.testing.assert_close(centres[2], rows[labels == 2].mean(0))
    assert not centres[[1, 3]].any()  # of classes without a clip


def test_its_adapter_is_linear_and_there_for_the_teachers_centres_alone() -> None:
    student, teacher = {"hidden": (32,)}, {"embedding": (256,)}
    assert adapter(student, teacher) is None
    module = adapter(student, teacher, centres="teacher")
    assert isinstance(module, ToCentres) and models.parameters(module) == 32 * 256 + 256
    hidden = torch.randn(5, 32)
    torch.testing.assert_close(module(Outputs(hidden=hidden)), hidden @ module.linear.weight.mT + module.linear.bias)


def test_what_it_reads_follows_the_centres() -> None:
    of_layer, of_teacher = LossMix.parse("margin,soft:0"), LossMix.parse("margin@centres=teacher,soft:0")
    assert of_layer.reads == ("cosines",) and of_teacher.reads == ("hidden",)
    # The outputs of the student's own layer learn nothing there.
    assert of_layer.names_classes and not of_teacher.names_classes
    assert of_layer.teacher_reads == of_teacher.teacher_reads == ("embedding",)
    assert library.reads("margin", {"centres": "own"}) == ("cosines",)
    assert str(of_teacher) == "margin:1@centres=teacher,soft:0"
    text = LossMix.parse("margin@centres=teacher").explain()
    assert "student's hidden" in text and "8,448 weights that are trained with the student" in text
    assert "adapter  none with these options" in LossMix.parse("margin").explain()


@pytest.mark.parametrize(
    "text", ["margin@m_lo=-0.1", "margin@m_hi=2", "margin@s=0", "margin@centres=mine", "margin@m=0.3"]
)
def test_wrong_options_are_one_line(text: str) -> None:
    with pytest.raises(InputError, match="expected") as caught:
        LossMix.parse(text)
    assert "\n" not in str(caught.value)


def test_it_is_a_loss_of_the_folder() -> None:
    assert losses.load("margin") is margin
