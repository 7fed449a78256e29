"""The terms on maps: plain loops, worked values, relations to published code, and what must hold for any input."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import losses
from pipeline.config import InputError
from pipeline.losses import LossMix, Outputs, library
from pipeline.losses.boundary import agreement
from pipeline.losses.floors import directions
from pipeline.losses.needs import Arrays, needs_of, reduced_maps
from pipeline.losses.overhaul import constants, margins, negatives
from pipeline.losses.pooled import chosen
from pipeline.losses.stages import resampled
from pipeline.models.outputs import stage_maps
from tests.losses import map_oracles

#: Every term of this file with the options that change what it computes.
TERMS = (
    "hint",
    "attention",
    "attention@form=paper",
    "boundary",
    "boundary@margin=0.5",
    "overhaul",
    "selectivity",
    "pooled",
    "pooled@similarity=l1",
    "pooled@similarity=l2@grid=2x4",
)
#: Stages of cnn2 and of resnet18 with fewer channels: the first pair is 10 × 86 from 10 × 87.
STUDENT = {"map1": (3, 10, 86), "map2": (4, 5, 43)}
TEACHER = {"map1": (2, 20, 173), "map2": (4, 10, 87), "map3": (2, 5, 44)}
PAIRS = {"map1": "map2", "map2": "map3"}
WIDTHS = {"embedding": (5,), "hidden": (3,), "logits": (4,)}


def outputs(maps: Mapping[str, tuple[int, ...]], *lead: int, seed: int) -> dict[str, Tensor]:
    """Everything that a network says, in float64: maps and vectors with the axes ``lead`` before theirs."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(*lead, *shape, generator=random, dtype=torch.float64)
        for name, shape in {**maps, **WIDTHS}.items()
    }


def parsed(key: str) -> tuple[str, dict[str, Any]]:
    (term,) = LossMix.parse(f"{key},soft:0").terms
    return term.name, dict(term.options)


@functools.cache
def adapter_of(key: str, student: tuple[Any, ...], teacher: tuple[Any, ...]) -> torch.nn.Module | None:
    """The adapter of a term for shapes, with the same weights in every test; in training, in float64."""
    name, options = parsed(key)
    if (make := library.constant(name, "adapter", None)) is None:
        return None
    taken = {option: value for option, value in options.items() if option in ("stages", "layer")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: torch.nn.Module = make(dict(student), dict(teacher), **taken).double()
    return module


def adapter_for(key: str, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], lead: int) -> Any:
    shapes = [tuple((name, tuple(v.shape[lead:])) for name, v in side.items()) for side in (student, teacher)]
    return adapter_of(key, *shapes)


def together(runs: list[Any], lead: tuple[int, ...]) -> Any:
    """What an adapter makes of each run, as one."""
    if isinstance(runs[0], Mapping):
        return {name: together([run[name] for run in runs], lead) for name in runs[0]}
    return torch.stack(runs).unflatten(0, lead) if lead else runs[0]


def adapted(module: torch.nn.Module, student: Mapping[str, Tensor], lead: int) -> Any:
    """Run by run, computed in float64 and given back in the type of the student."""
    axes = student["logits"].shape[: lead - 1]
    dtype = student["logits"].dtype
    flat = {
        name: value.double().flatten(0, lead - 2) if lead > 1 else value.double()[None]
        for name, value in student.items()
    }
    runs = [module(Outputs({name: value[run] for name, value in flat.items()})) for run in range(len(flat["logits"]))]
    whole = together(runs, tuple(axes))
    return {k: v.to(dtype) for k, v in whole.items()} if isinstance(whole, Mapping) else whole.to(dtype)


def value(key: str, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], lead: int = 1) -> Tensor:
    """A term of outputs with ``lead`` axes before those of a clip, the last of them the batch."""
    name, options = parsed(key)
    maps = stage_maps(teacher)
    taught: dict[str, Any] = {**teacher, "maps": maps}
    if name == "overhaul":
        taught["constants"] = {stage: margins_of(each, lead) for stage, each in maps.items()}
    seen: dict[str, Any] = {**student, "maps": stage_maps(student)}
    if (module := adapter_for(key, student, teacher, lead)) is not None:
        seen["adapted"] = adapted(module, student, lead)
    loss: Tensor = losses.load(name)(SimpleNamespace(**seen), SimpleNamespace(**taught), None, **options)
    return loss


def margins_of(maps: Tensor, lead: int) -> Tensor:
    """Of each run its own: (..., B, K, H, W) → (..., K)."""
    flat = maps.detach().double().reshape(-1, *maps.shape[lead - 1 :])
    return torch.stack([margins(negatives(run)) for run in flat]).reshape(*maps.shape[: lead - 1], -1)


# Plain loops.


def oracle(
    key: str, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], pairs: Mapping[str, str] = PAIRS
) -> float:
    """Of one run: the sum over ``pairs``, student's stage → teacher's."""
    name, options = parsed(key)
    options.pop("stages", None)
    module = adapter_for(key, student, teacher, 1)
    weights = {} if module is None else {n: w.detach().numpy() for n, w in module.named_parameters() if w.ndim == 4}
    if "grid" in options:
        options["grid"] = tuple(int(cells) for cells in options["grid"].split("x"))
    total = 0.0
    for number, (ours, theirs) in enumerate(pairs.items()):
        s, t = student[ours].detach().numpy(), teacher[theirs].detach().numpy()
        if module is not None:
            (options["weight"],) = [w[..., 0, 0] for n, w in weights.items() if n.split(".")[1] == str(number)] or [
                None
            ]
        if name == "overhaul":
            options["margins"] = map_oracles.margins(t)
        total += getattr(map_oracles, name)(s, t, **options)
    return total


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("key", TERMS)
def test_equals_the_plain_loop(key: str, batch: int) -> None:
    student, teacher = outputs(STUDENT, batch, seed=1), outputs(TEACHER, batch, seed=2)
    loss = value(key, student, teacher)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(oracle(key, student, teacher), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("key", "shapes"),
    [
        ("attention", {"map2": (10, 87), "map3": (5, 44)}),
        ("pooled", {"map2": (1, 10, 87), "map3": (1, 5, 44)}),
        ("selectivity", {"map2": (4, 10, 87), "map3": (2, 5, 44)}),
        ("hint", {"map2": (4, 10, 86), "map3": (2, 5, 43)}),
        ("hint@stages=last", {"map3": (2, 5, 43)}),
        ("boundary", {"map2": (4, 10, 86), "map3": (2, 5, 43)}),
        ("overhaul@stages=first", {"map2": (4, 10, 86)}),
    ],
)
def test_what_is_kept_of_a_teacher_serves_as_well_as_its_maps(key: str, shapes: dict[str, tuple[int, ...]]) -> None:
    student, teacher = outputs(STUDENT, 3, seed=1), outputs(TEACHER, 3, seed=2)
    name, options = parsed(key)
    kept = reduced_maps(losses.module(name).reduced, Outputs(student), Outputs(teacher), **options)
    assert {stage: tuple(each.shape[1:]) for stage, each in kept.items()} == shapes
    assert (name == "boundary") == all(each.dtype == torch.bool for each in kept.values())
    seen = SimpleNamespace(maps=stage_maps(student), adapted=None)
    if (module := adapter_for(key, student, teacher, 1)) is not None:
        seen.adapted = adapted(module, student, 1)
    taught = SimpleNamespace(reduced=kept, constants={stage: margins_of(teacher[stage], 1) for stage in shapes})
    loss = losses.load(name)(seen, taught, None, **options)
    torch.testing.assert_close(loss, value(key, student, teacher))


@pytest.mark.parametrize("key", TERMS)
def test_runs_are_kept_and_do_not_mix(key: str) -> None:
    student, teacher = outputs(STUDENT, 3, 2, seed=3), outputs(TEACHER, 3, 2, seed=4)
    loss = value(key, student, teacher, lead=2)
    assert loss.shape == (3,)
    for run in range(3):
        one = [{name: v[run] for name, v in side.items()} for side in (student, teacher)]
        assert loss[run].item() == pytest.approx(oracle(key, *one), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("key", TERMS)
def test_equal_networks_and_single_stages(key: str) -> None:
    """The first pair is 20 × 173; as many channels on both sides."""
    sizes = {"map1": (2, 20, 173), "map2": (3, 10, 86)}
    student, teacher = outputs(sizes, 2, seed=5), outputs(sizes, 2, seed=6)
    for stages, names in (("all", ("map1", "map2")), ("first", ("map1",)), ("last", ("map2",))):
        one = key if stages == "all" else f"{key}@stages={stages}"
        expected = oracle(one, student, teacher, {name: name for name in names})
        assert value(one, student, teacher).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("layer", ["hidden", "embedding"])
@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_hint_of_vectors_equals_the_plain_loop(batch: int, layer: str) -> None:
    student, teacher = outputs(STUDENT, batch, seed=1), outputs(TEACHER, batch, seed=2)
    key = f"hint@layer={layer}"
    weight = adapter_for(key, student, teacher, 1).linear.weight
    assert tuple(weight.shape) == (WIDTHS["embedding"][0], WIDTHS[layer][0])
    total = 0.0
    for vector, target in zip(student[layer].tolist(), teacher["embedding"].tolist()):
        for row, wanted in zip(weight.tolist(), target):
            total += (sum(a * b for a, b in zip(row, vector)) - wanted) ** 2
    assert value(key, student, teacher).item() == pytest.approx(total / (batch * WIDTHS["embedding"][0]))


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_residual_equals_the_plain_loop(batch: int) -> None:
    student, teacher = outputs(STUDENT, batch, seed=1), outputs(TEACHER, batch, seed=2)
    teacher["base"] = outputs({}, batch, seed=3)["embedding"]
    weight = adapter_for("residual", student, teacher, 1).linear.weight
    total = 0.0
    for clip in range(batch):
        for row, t, v in zip(weight.tolist(), teacher["embedding"][clip].tolist(), teacher["base"][clip].tolist()):
            total += (sum(a * b for a, b in zip(row, student["hidden"][clip].tolist())) - (t - v)) ** 2
    assert value("residual", student, teacher).item() == pytest.approx(total / (batch * WIDTHS["embedding"][0]))


# Worked values, by their own numbers (METHODS, section 2).


def maps(*channels: list[float]) -> Tensor:
    """One clip whose channels are one row of cells each: (1, K, 1, W)."""
    return torch.tensor(channels, dtype=torch.float64)[None, :, None, :]


def term(name: str, student: Any = None, teacher: Any = None, adapted: Any = None, **more: Any) -> Any:
    """The value of a term for one pair of maps as they stand here."""
    margin = more.pop("margin_of", None)
    ours = adapted if student is None else student
    seen = SimpleNamespace(maps={"map1": ours}, adapted=None if adapted is None else {"map1": adapted})
    taught = SimpleNamespace(maps={"map1": teacher}, constants={"map1": margin})
    return losses.load(name)(seen, taught, None, **more).item()


def hinted(student: Tensor, weights: list[float], teacher: Tensor) -> float:
    shapes = [{"map1": tuple(side.shape[1:])} for side in (student, teacher)]
    module = losses.module("hint").adapter(*shapes).double()
    with torch.no_grad():
        module.layers[0].weight.copy_(torch.tensor(weights)[:, None, None, None])
        return term("hint", adapted=module(Outputs(map1=student))["map1"], teacher=teacher)


def test_hint_worked() -> None:
    teacher = maps([1, 0], [0, 1])
    loss = hinted(maps([1, 2]), [0.5, -1], teacher)
    assert loss == pytest.approx(2.8125)
    assert loss * teacher.numel() / 2 == pytest.approx(5.625)  # the paper's half of the squared norm
    assert hinted(maps([1, 2]), [0.5, -1], maps([3, 6, 12], [0, 1, 5])) == pytest.approx(26.8125)


def test_attention_worked() -> None:
    student, teacher = maps([1, 2], [0, 2]), maps([3, 4])
    q = [directions(losses.module("attention").activity(side).flatten(-2)) for side in (student, teacher)]
    assert q[0][0].tolist() == pytest.approx([0.1240347346, 0.9922778767], abs=1e-10)
    assert q[1][0].tolist() == pytest.approx([0.4902612396, 0.8715755371], abs=1e-10)
    assert term("attention", student, teacher) == pytest.approx(0.0743454539, abs=1e-10)
    assert term("attention", student, teacher, form="paper") == pytest.approx(0.3856046003, abs=1e-10)
    assert term("attention", 0 * student, teacher) == pytest.approx(0.5)


def test_boundary_worked() -> None:
    student, teacher = maps([-2, -0.5, 0.5, 2, 0]), maps([-1, 1, -1, 1, 0])
    each = [term("boundary", adapted=student[..., i : i + 1], teacher=teacher[..., i : i + 1]) for i in range(5)]
    assert each == pytest.approx([0, 2.25, 2.25, 0, 1])
    assert term("boundary", adapted=student, teacher=teacher) == pytest.approx(1.1)
    assert agreement(student, teacher).item() == pytest.approx(0.6)


def test_overhaul_worked() -> None:
    student, teacher = maps([-2, -0.5, 0.2, 1, -0.1]), maps([-1, -0.3, -0.2, 0.5, -0.9])
    margin = torch.tensor([-0.8])
    each = [
        term("overhaul", adapted=student[..., i : i + 1], teacher=teacher[..., i : i + 1], margin_of=margin)
        for i in range(5)
    ]
    assert each == pytest.approx([0, 0, 0.16, 0.25, 0.49])
    assert term("overhaul", adapted=student, teacher=teacher, margin_of=margin) == pytest.approx(0.18)
    assert margins(negatives(teacher)).tolist() == pytest.approx([-0.6])


def gaussian_margin(mean: float, gamma: float) -> float:
    """The authors' margin, from a batch norm's bias and weight: the mean of what is negative of a Gaussian."""
    spread = abs(gamma)
    below = 0.5 * math.erfc(mean / spread / math.sqrt(2))
    if below <= 0.001:
        return -3 * spread
    return mean - spread * math.exp(-0.5 * (mean / spread) ** 2) / math.sqrt(2 * math.pi) / below


def test_the_authors_margins_and_the_measured_ones() -> None:
    """Where a channel is a Gaussian, what is measured is what their formula says."""
    worked = {(0, 1): -0.7978845608, (1, 2): -1.2821555407, (-1, 0.5): -1.0276239313, (5, 1): -3}
    for (mean, gamma), margin in worked.items():
        assert gaussian_margin(mean, gamma) == pytest.approx(margin, abs=1e-10)
    random = torch.Generator().manual_seed(0)
    for mean, gamma in ((0, 1), (1, 2), (-1, 0.5)):
        channel = mean + gamma * torch.randn(100, 1, 20, 100, generator=random)
        assert margins(negatives(channel)).item() == pytest.approx(worked[mean, gamma], abs=0.01)


def test_margins_are_measured_over_all_rows() -> None:
    """Part after part; a channel without a negative value has the margin 0."""
    assert margins(negatives(maps([1, 0], [-1, 2], [-1, -2]))).tolist() == [0, -1, -1.5]
    whole = {
        "map2": torch.randn(7, 3, 2, 5, generator=torch.Generator().manual_seed(0)),
        "map1": torch.rand(7, 2, 4, 9, generator=torch.Generator().manual_seed(1)) - 0.9,
    }
    rows = (slice(3), slice(3, 7))
    arrays = Arrays(lambda: (Outputs({stage: each[part] for stage, each in whole.items()}) for part in rows))
    measured = constants(arrays, torch.zeros(7))
    assert list(measured) == ["map1", "map2"]
    for stage, each in measured.items():
        assert each.tolist() == pytest.approx(map_oracles.margins(whole[stage].numpy()), rel=1e-6)


def test_pooled_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = maps([1, 3, 5, 7]), maps([2, 2], [4, 0])
    assert term("pooled", student, teacher, grid="1x2", similarity="l1") == pytest.approx(3)
    assert term("pooled", student, teacher, grid="1x2", similarity="l2") == pytest.approx(13)
    assert term("pooled", student, teacher, grid="1x2") == pytest.approx(3.5413382398, abs=1e-10)


def test_a_random_teacher_has_the_expectation_over_all() -> None:
    members = torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64)[None]
    student = SimpleNamespace(logits=torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    each = []
    for u in torch.arange(0, 1, 0.125, dtype=torch.float64):
        teacher = chosen(members, u[None, None])
        assert torch.equal(teacher[0], members[0, int(u * 2)])
        each.append(losses.load("hinton")(student, SimpleNamespace(logits=teacher), None, T=1.0).item())
    assert sum(each) / len(each) == pytest.approx(0.3159698734, abs=1e-10)


def test_pooled_of_several_teachers_takes_the_one_of_the_step() -> None:
    random = torch.Generator().manual_seed(0)
    student = {"map1": torch.randn(3, 2, 4, 6, 8, generator=random)}
    members = torch.randn(3, 2, 5, 3, 6, 9, generator=random)
    logits, theirs = torch.randn(3, 2, 4, generator=random), torch.randn(3, 2, 5, 4, generator=random)
    draws = torch.tensor([0.0, 0.5, 0.999])[:, None, None].expand(3, 2, 1)
    seen = SimpleNamespace(maps=student, logits=logits, draws=draws)
    function = losses.load("pooled")
    loss = function(seen, SimpleNamespace(maps={"map2": members}), None)
    outputs_found = function(seen, SimpleNamespace(members=theirs), None, layer="logits")
    for run, member in enumerate((0, 2, 4)):
        one = SimpleNamespace(maps={"map1": student["map1"][run]}, logits=logits[run])
        alone = function(one, SimpleNamespace(maps={"map2": members[run, :, member]}), None)
        torch.testing.assert_close(loss[run], alone)
        alone = losses.load("soft")(one, SimpleNamespace(logits=theirs[run, :, member]), None)
        torch.testing.assert_close(outputs_found[run], alone)


def test_pooled_of_unlike_teachers_pairs_each_ones_own_stages() -> None:
    """Members of other sizes, channels and numbers of stages: the value is that of the member of the step alone."""
    random = torch.Generator().manual_seed(1)
    student = {name: torch.randn(3, 2, *shape, generator=random) for name, shape in STUDENT.items()}
    each = [
        {name: torch.randn(3, 2, *shape, generator=random) for name, shape in shapes.items()}
        for shapes in (TEACHER, {"map1": (5, 9, 31)}, STUDENT)
    ]
    function, reduced = losses.load("pooled"), losses.module("pooled").reduced
    kept: dict[str, Tensor] = {}
    for member, maps_of_member in enumerate(each):
        for stage, value in reduced_maps(reduced, Outputs(student), Outputs(maps_of_member)).items():
            kept[f"{member} {stage}"] = value
    draws = torch.tensor([0.0, 0.5, 0.999])[:, None, None].expand(3, 2, 1)
    values = function(SimpleNamespace(maps=student, draws=draws), SimpleNamespace(reduced=kept), None)
    for run, member in enumerate((0, 1, 2)):
        sides = ({name: value[run] for name, value in maps.items()} for maps in (student, each[member]))
        seen, taught = (SimpleNamespace(maps=maps) for maps in sides)
        torch.testing.assert_close(values[run], function(seen, taught, None))


def test_selectivity_worked() -> None:
    kernel = losses.module("selectivity").likeness
    for student, teacher, parts, whole in (
        (maps([3, 4], [1, 0]), maps([0, 2]), (1, 0.68, 0.32), 1.04),
        (maps([3, 4], [1, 0]), maps([4, 3], [0, 5], [1, 1]), (0.7422222222, 0.68, 0.6136), 0.1950222222),
        (maps([0, 0], [1, 0]), maps([0, 2]), (1, 0.25, 0), 1.25),
    ):
        x, y = (directions(side.flatten(-2)) for side in (student, teacher))
        assert [kernel(*both).item() for both in ((y, y), (x, x), (x, y))] == pytest.approx(parts, abs=1e-10)
        assert term("selectivity", student, teacher) == pytest.approx(whole, abs=1e-10)


def test_residual_worked() -> None:
    teacher = SimpleNamespace(embedding=torch.tensor([[2, -1, 0.5]]), base=torch.tensor([[1.5, -0.2, 0.1]]))
    assistant = SimpleNamespace(adapted=torch.tensor([[0.4, -0.6, 0.5]]))
    assert losses.load("residual")(assistant, teacher, None).item() == pytest.approx(0.02)
    student = SimpleNamespace(adapted=teacher.base)  # the student is trained by the hint
    assert losses.load("hint")(student, teacher, None, layer="hidden").item() == pytest.approx(0.35)


# Relations to published code.


def test_sums_over_1000_are_a_fixed_multiple_of_our_means() -> None:
    """Both papers' code: sum / B / 1000, each earlier stage halved; Heo et al. AAAI 2019 times 3."""
    sizes = {"map1": (32, 10, 86), "map2": (16, 5, 43)}, {"map2": (16, 10, 87), "map3": (32, 5, 44)}
    student, teacher = outputs(sizes[0], 2, seed=1), outputs(sizes[1], 2, seed=2)
    ours = adapted(adapter_for("overhaul", student, teacher, 1), student, 1)
    assert {name: tuple(v.shape[1:]) for name, v in ours.items()} == {"map2": (16, 10, 86), "map3": (32, 5, 43)}
    theirs = {name: resampled(teacher[name], tuple(guess.shape[-2:])) for name, guess in ours.items()}
    margin = {name: margins(negatives(value)) for name, value in theirs.items()}
    seen = SimpleNamespace(adapted=ours, maps=stage_maps(student))
    taught = SimpleNamespace(maps=theirs, constants=margin)
    sums = {"overhaul": 0.0, "boundary": 0.0}
    for halvings, name in ((1, "map2"), (0, "map3")):
        s, t = ours[name], torch.max(theirs[name], margin[name][:, None, None])
        squares = F.mse_loss(s, t, reduction="none") * ((s > t) | (t > 0)).double()
        sums["overhaul"] += squares.sum().item() / 2 / 1000 / 2**halvings
        on = (theirs[name] > 0).double()
        each = (s + 1).clamp_min(0).square() * (1 - on) + (1 - s).clamp_min(0).square() * on
        sums["boundary"] += 3 * each.sum().item() / 2 / 1000 / 2**halvings
    for name, factor in (("overhaul", 6.88), ("boundary", 20.64)):
        assert sums[name] == pytest.approx(factor * losses.load(name)(seen, taught, None).item(), rel=1e-9)
        assert factor == losses.module(name).WEIGHT


@pytest.mark.parametrize("batch", [1, 3])
def test_attention_as_in_the_paper_and_in_its_code(batch: int) -> None:
    """Code: ``F.normalize(x.pow(2).mean(1).view(B, -1))``, mean of squares, times 1000. Paper: β/2 · Σ |Q_s − Q_t|."""
    sizes = {"map1": (3, 10, 86)}
    student, teacher = outputs(sizes, batch, seed=1), outputs(sizes, batch, seed=2)
    q = [F.normalize(side["map1"].relu().pow(2).mean(1).view(batch, -1)) for side in (student, teacher)]
    assert value("attention", student, teacher).item() == pytest.approx((q[0] - q[1]).pow(2).mean().item())
    cells = 10 * 86
    beta = 1000 / (cells * batch)
    paper = beta / 2 * sum((q[0][clip] - q[1][clip]).norm().item() for clip in range(batch))
    loss = value("attention@form=paper", student, teacher).item()
    assert paper == pytest.approx(500 / cells * loss)
    if batch == 1:
        assert loss**2 / cells == pytest.approx(value("attention", student, teacher).item())


def test_selectivity_is_the_distance_of_two_second_moments() -> None:
    sizes = {"map1": (3, 4, 5)}
    student, teacher = outputs(sizes, 2, seed=1), outputs({"map1": (6, 4, 5)}, 2, seed=2)
    moments = [
        torch.einsum("bkn,bkm->bnm", x, x) / x.shape[1]
        for x in (F.normalize(side["map1"].relu().flatten(-2), dim=-1) for side in (student, teacher))
    ]
    expected = (moments[0] - moments[1]).square().sum((-2, -1)).mean()
    torch.testing.assert_close(value("selectivity", student, teacher), expected)


def test_averaging_and_a_convolution_of_1_by_1_commute() -> None:
    student, teacher = outputs(STUDENT, 2, seed=1), outputs(TEACHER, 2, seed=2)
    module = adapter_for("hint", student, teacher, 1)
    for (ours, theirs), layer in zip(PAIRS.items(), module.layers):
        to = (3, 7)
        torch.testing.assert_close(layer(resampled(student[ours], to)), resampled(layer(student[ours]), to), msg=theirs)


# What must hold for any input.

SMALL = {"map1": (2, 3, 5), "map2": (3, 2, 3)}
SMALL_TEACHER = {"map1": (3, 4, 6), "map2": (2, 3, 3)}
EVERY = (*TERMS, "hint@layer=hidden", "residual")


def small(*lead: int, seed: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    student, teacher = outputs(SMALL, *lead, seed=seed), outputs(SMALL_TEACHER, *lead, seed=seed + 1)
    return student, {**teacher, "base": outputs({}, *lead, seed=seed + 2)["embedding"]}


@pytest.mark.parametrize("key", EVERY)
def test_gradients_are_those_of_finite_differences(key: str) -> None:
    student, teacher = small(2)
    names = ("map1", "map2", "hidden")

    def loss(*inputs: Tensor) -> Tensor:
        return value(key, {**student, **dict(zip(names, inputs))}, teacher)

    assert torch.autograd.gradcheck(loss, [student[name].requires_grad_() for name in names])


@pytest.mark.parametrize("key", EVERY)
def test_nothing_flows_into_the_teacher(key: str) -> None:
    student, teacher = small(3)
    for side in (student, teacher):
        for each in side.values():
            each.requires_grad_()
    value(key, student, teacher).backward()
    assert all(each.grad is None for each in teacher.values())
    moved = {name for name, each in student.items() if each.grad is not None and each.grad.abs().sum() > 0}
    name, options = parsed(key)
    layers = library.reads(name, options) or ()
    assert moved == (set(SMALL) if layers == ("maps",) else set(layers))


@pytest.mark.parametrize("key", EVERY)
def test_the_order_of_the_clips_does_not_matter(key: str) -> None:
    student, teacher = small(5)
    order = torch.tensor([3, 0, 4, 1, 2])
    turned = [{name: each[order] for name, each in side.items()} for side in (student, teacher)]
    torch.testing.assert_close(value(key, *turned), value(key, student, teacher))


def dead(each: Tensor) -> Tensor:
    """The first channel, or number of a vector, never above zero."""
    each = each.clone()
    index = (..., 0, slice(None), slice(None)) if each.ndim == 4 else (..., 0)
    each[index] = -each[index].abs() if each.ndim == 4 else 0
    return each


EXTREMES: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": torch.zeros_like,
    "equal": torch.ones_like,
    "equal and off": lambda each: -torch.ones_like(each),
    "dead": dead,
    "1e-8": lambda each: 1e-8 * each,
    "1e+8": lambda each: 1e8 * each,
    "one silent clip": lambda each: torch.cat([torch.zeros_like(each[:1]), each[1:]]),
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("which", ["student", "teacher", "both"])
@pytest.mark.parametrize("kind", EXTREMES)
@pytest.mark.parametrize("key", EVERY)
def test_extreme_inputs_have_finite_values_and_gradients(key: str, kind: str, which: str, batch: int) -> None:
    student, teacher = ({k: v.float() for k, v in side.items()} for side in small(batch))
    if which != "teacher":
        student = {name: EXTREMES[kind](each) for name, each in student.items()}
    if which != "student":
        teacher = {name: EXTREMES[kind](each) for name, each in teacher.items()}
    for each in student.values():
        each.requires_grad_()
    loss = value(key, student, teacher)
    loss.backward()
    assert loss.dtype == torch.float32 and bool(loss.isfinite()) and loss.item() >= -1e-6
    for name, each in student.items():
        assert each.grad is None or bool(each.grad.isfinite().all()), name


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("key", EVERY)
def test_half_precision_is_computed_in_float32(key: str, half: torch.dtype) -> None:
    student, teacher = ({k: v.to(half) for k, v in side.items()} for side in small(3))
    expected = value(key, *({k: v.double() for k, v in side.items()} for side in (student, teacher)))
    for each in student.values():
        each.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = value(key, student, teacher)
    loss.backward()
    assert loss.dtype == torch.float32
    tolerance = 1e-4 if library.constant(parsed(key)[0], "adapter", None) is None else 0.02  # its output is rounded
    assert loss.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    assert all(each.grad is None or bool(each.grad.isfinite().all()) for each in student.values())


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("key", ["attention", "attention@form=paper", "selectivity", "pooled@similarity=l1", "pooled"])
def test_least_where_the_student_equals_the_teacher(key: str, batch: int) -> None:
    student = outputs(SMALL, batch, seed=1)
    least = value(key, student, student).item()
    if key == "pooled":  # the entropy of the teacher's grid
        v = [each.relu().mean(-3) for each in stage_maps(student).values()]
        v = [torch.stack([F.adaptive_avg_pool2d(one[None], (4, 8)).flatten() for one in each]) for each in v]
        expected = sum(-(one.softmax(-1) * one.log_softmax(-1)).sum(-1).mean().item() for one in v)
        assert least == pytest.approx(expected)
    else:
        assert least == pytest.approx(0, abs=1e-12)
    moved = {name: each + 0.01 * torch.randn_like(each) for name, each in student.items()}
    assert value(key, moved, student).item() > least


def test_least_where_the_adapted_student_equals_the_teacher() -> None:
    """``hint`` and ``overhaul`` are 0 at the teacher; ``boundary`` where the signs agree, by the margin at least."""
    teacher = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    margin = margins(negatives(teacher))
    assert term("hint", adapted=teacher.relu(), teacher=teacher) == 0
    assert term("overhaul", adapted=teacher, teacher=teacher, margin_of=margin) == 0
    below = torch.where(teacher < 0, teacher - 5, teacher)  # however far below zero
    assert term("overhaul", adapted=below, teacher=teacher, margin_of=margin) == 0
    assert term("overhaul", adapted=below.abs(), teacher=teacher, margin_of=margin) > 1
    assert term("boundary", adapted=teacher.sign(), teacher=teacher) == 0
    assert term("boundary", adapted=7 * teacher.sign(), teacher=teacher) == 0
    assert term("boundary", adapted=0.5 * teacher.sign(), teacher=teacher) == pytest.approx(0.25)


def test_the_teacher_is_resampled_before_its_margin() -> None:
    teacher = maps([-9.0, 3.0])  # at half the width -3, and then the margin -1: not the mean of -1 and 3
    loss = term("overhaul", adapted=maps([-0.5]), teacher=teacher, margin_of=torch.tensor([-1.0]))
    assert loss == pytest.approx(0.25)
    assert term("boundary", adapted=maps([0.5]), teacher=teacher) == pytest.approx(2.25)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6, 1e-9])
def test_the_gradient_of_attention_is_bounded(scale: float) -> None:
    """|∂Q/∂f| ≤ 2 / √(K · 10⁻⁶), 500 for 16 channels, by the largest singular value of the Jacobian."""
    f = scale * torch.rand(16, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    activity = losses.module("attention").activity
    jacobian = torch.autograd.functional.jacobian(lambda x: directions(activity(x[None]).flatten(-2))[0], f)
    assert torch.linalg.matrix_norm(jacobian.flatten(1), 2) <= 500


def test_nearly_dead_channels_do_not_blow_up_selectivity() -> None:
    student = (1e-9 * torch.rand(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))).requires_grad_()
    seen, taught = (SimpleNamespace(maps={"map1": each}) for each in (student, torch.rand(2, 3, 3, 5)))
    losses.load("selectivity")(seen, taught, None).backward()
    assert 0 < student.grad.norm() < 1e4  # without the floor 3e8


def test_a_dead_layer_of_the_student_learns_nothing_from_a_hint() -> None:
    student, teacher = outputs(STUDENT, 2, seed=1), outputs(TEACHER, 2, seed=2)
    off = {**student, **{name: -each.abs() for name, each in stage_maps(student).items()}}
    for each in off.values():
        each.requires_grad_()
    loss = value("hint", off, teacher)
    loss.backward()
    expected = sum(resampled(teacher[t].relu(), tuple(student[s].shape[-2:])).square().mean() for s, t in PAIRS.items())
    torch.testing.assert_close(loss, expected)
    assert all(off[name].grad.abs().max() == 0 for name in PAIRS)


# What the files say.


@pytest.mark.parametrize("name", ["hint", "attention", "boundary", "overhaul", "pooled", "selectivity", "residual"])
def test_the_file_says_what_it_is(name: str) -> None:
    module = losses.module(name)
    published = LossMix.parse(module.MIX)
    (term,) = [one for one in published.terms if one.name == name]
    assert str(published) == ",".join(sorted(module.MIX.split(",")))
    assert term.options == () and (term.weight == module.WEIGHT or name == "hint")
    text = LossMix.parse(name).explain()
    assert module.FORMULA in text and module.SOURCE in text and "it does not say" not in text


@pytest.mark.parametrize(
    ("key", "reads", "taught"),
    [
        ("hint", ("maps",), ("maps",)),
        ("hint@layer=hidden", ("hidden",), ("embedding",)),
        ("hint@layer=embedding", ("embedding",), ("embedding",)),
        ("pooled", ("maps",), ("maps",)),
        ("pooled@layer=logits", ("logits",), ("members",)),
        ("residual", ("hidden",), ("base", "embedding")),
    ],
)
def test_the_outputs_that_are_read_follow_the_layer(key: str, reads: tuple[str, ...], taught: tuple[str, ...]) -> None:
    mix = LossMix.parse(f"{key},soft:0")
    assert (mix.reads, mix.teacher_reads) == (reads, taught)


def test_a_vector_keeps_nothing_of_maps() -> None:
    needs = needs_of([LossMix.parse("hint@layer=hidden,hint@stages=last,soft")])
    assert needs.outputs == ("embedding", "logits")
    assert [term.key for term in needs.reduced] == ["hint@stages=last"]
    assert not needs_of([LossMix.parse("hint@layer=hidden")]).large


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hint@stages=middle", "unknown stages 'middle'.*expected one of all, first, last"),
        ("hint@layer=logits", "unknown layer 'logits'.*expected one of maps, hidden, embedding"),
        ("attention@form=mean", "unknown form 'mean'.*expected one of code, paper"),
        ("pooled@grid=3x5", "unknown grid '3x5'.*expected one of 1x2, 2x4, 4x8, 8x16"),
        ("boundary@margin=0", "option margin of boundary is '0'; expected a number above 0"),
        ("overhaul@layer=maps", "unknown option 'layer' of overhaul"),
    ],
)
def test_wrong_options_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        LossMix.parse(text)
    assert "\n" not in str(caught.value)
