"""The map terms of the comparison libraries, flow, variational, factor and review: plain loops, worked values, public code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import losses, models
from pipeline.config import InputError
from pipeline.losses import LossMix, Outputs, paraphrasing
from pipeline.losses.adapting import shapes
from pipeline.losses.factor import constants, difference
from pipeline.losses.flow import products
from pipeline.losses.needs import Arrays
from pipeline.losses.paraphrasing import decoder, encoded, encoder, factors
from pipeline.losses.review import at_all_sizes, fused
from pipeline.losses.stages import nearest
from pipeline.losses.variational import FIRST, LEAST, Predictor
from tests.losses import comparison_map_oracles as oracles
from tests.losses.worked import Array, cosines, maps, near, sines

#: Sizes of unlike networks: the first pair is 6 × 11 from 6 × 12, the second 3 × 5 from 3 × 6.
STUDENT = {"map1": (3, 6, 11), "map2": (2, 3, 5)}
TEACHER = {"map1": (2, 12, 23), "map2": (2, 6, 12), "map3": (4, 3, 6)}
PAIRS = (("map1", "map2"), ("map2", "map3"))


def outputs(of: Mapping[str, tuple[int, ...]], batch: int, seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, *shape, generator=random, dtype=torch.float64) for name, shape in of.items()}


def adapter(name: str, **options: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: nn.Module = losses.module(name).adapter(STUDENT, TEACHER, **options).double()
    return module


def value(
    name: str, module: nn.Module, student: dict[str, Tensor], teacher: dict[str, Tensor], **options: Any
) -> float:
    seen = SimpleNamespace(maps=student, adapted=module(Outputs(student)))
    taught = SimpleNamespace(maps=teacher)
    if name == "factor":
        taught.constants = constants(Outputs(teacher), None, student=STUDENT)
    return losses.load(name)(seen, taught, None, **options).item()


def numbers(module: nn.Module) -> dict[str, Array]:
    return {name: parameter.detach().numpy() for name, parameter in module.named_parameters()}


def activations(side: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: each.relu().numpy() for name, each in side.items()}


def oracle(
    name: str, module: nn.Module, student: dict[str, Tensor], teacher: dict[str, Tensor], **options: Any
) -> float:
    weights, ours, theirs = numbers(module), activations(student), activations(teacher)
    if name == "flow":
        changed = [
            oracles.convolved(ours[s], weights[f"layers.{i}.weight"][..., 0, 0]) for i, (s, _) in enumerate(PAIRS)
        ]
        return oracles.flow(changed, [theirs[t] for _, t in PAIRS])
    if name == "variational":
        total = 0.0
        for i, (s, t) in enumerate(PAIRS):
            layers = [weights[f"layers.{i}.{layer}.weight"][..., 0, 0] for layer in (0, 2, 4)]
            total += oracles.variational(student[s].numpy(), teacher[t].numpy(), layers, weights[f"alphas.{i}"])
        return total
    if name == "factor":
        (s, t), to = PAIRS[-1], (3, 5)
        translator = {key.removeprefix("layers.0."): weight for key, weight in weights.items()}
        paraphraser = {
            key.split(" ")[1]: weight.numpy()
            for key, weight in constants(Outputs(teacher), None, student=STUDENT).items()
        }
        factors = [
            oracles.encoded(oracles.averaged(side, to), coder)
            for side, coder in ((ours[s], translator), (theirs[t], paraphraser))
        ]
        return oracles.factor(*factors)
    told = oracles.fusion([ours[s] for s, _ in PAIRS], [TEACHER[t][1:] for _, t in PAIRS], weights)
    across = 4 if options else 1
    return sum(oracles.review(out, teacher[t].numpy(), across) for out, (_, t) in zip(told, PAIRS))


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("key", ["flow", "variational", "factor", "review", "review@grid=wide"])
def test_equals_the_plain_loop(key: str, batch: int) -> None:
    name, _, option = key.partition("@")
    options = dict([option.split("=")]) if option else {}
    student, teacher, module = outputs(STUDENT, batch, 1), outputs(TEACHER, batch, 2), adapter(name)
    expected = oracle(name, module, student, teacher, **options)
    assert value(name, module, student, teacher, **options) == pytest.approx(expected, rel=1e-9, abs=1e-12)


# Worked values.


def tensors(side: Mapping[str, Array]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(each) for name, each in side.items()}


def transitions(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> float:
    seen, taught = SimpleNamespace(maps=student, adapted=student), SimpleNamespace(maps=teacher)
    return losses.load("flow")(seen, taught, None).item()


def test_flow_worked() -> None:
    student, teacher = map(tensors, maps())
    assert transitions(student, teacher) == near(0.0363495176)
    assert 6 * transitions(student, teacher) == near(0.2180971056)  # the paper's sum over m · n
    one_clip = [
        [torch.tensor(stage, dtype=torch.float64)[None, :, None, :] for stage in side]
        for side in (([[1, 2], [0, 1]], [[3, 1]]), ([[1, 0], [1, 1]], [[2, 2]]))
    ]
    assert (products(*one_clip[0]) - products(*one_clip[1])).square().mean().item() == near(2.25)


def test_flow_as_in_public_code() -> None:
    """RepDistiller pools to (height, height), here of 2 × 3 against 1 × 2, and multiplies with a broadcast; torchdistill pools by
    maxima, and takes the norm over one axis, not squared."""
    student, teacher = map(tensors, maps())

    def broadcast(a: Tensor, b: Tensor) -> Tensor:
        a = F.adaptive_avg_pool2d(a, (b.shape[2], b.shape[2]))
        return (a.flatten(2)[:, :, None] * b.flatten(2)[:, None]).mean(-1)

    def of_maxima(a: Tensor, b: Tensor) -> Tensor:
        a = F.adaptive_max_pool2d(a, b.shape[-2:])
        return a.flatten(2) @ b.flatten(2).mT / b[0, 0].numel()

    by_code = (broadcast(*student.values()) - broadcast(*teacher.values())).square().mean()
    assert by_code.item() == pytest.approx(0.0251649, abs=1e-7) != transitions(student, teacher)
    by_norm = (of_maxima(*student.values()) - of_maxima(*teacher.values())).norm(dim=1)
    assert by_norm.sum(-1).mean().item() == near(1.7542893889)


def test_variational_worked() -> None:
    """M, stage 1, weight l of (o, i) = sin((o + 1)(i + 1) + l); α as it begins."""
    student, teacher = ({"map1": side["map1"]} for side in map(tensors, maps()))
    module = Predictor({"map1": (2, 2, 3)}, {"map1": (2, 2, 3)}, "all").double()
    angles = torch.outer(torch.arange(1, 3), torch.arange(1, 3)).double()
    with torch.no_grad():
        for layer, weight in enumerate((0, 2, 4)):
            module.layers[0][weight].weight.copy_((angles + layer).sin()[..., None, None])
        assert module.alphas[0].tolist() == pytest.approx([4.9932291827] * 2, abs=1e-6)  # begins in float32
        module.alphas[0].fill_(4.9932291827)
        told = module(Outputs(student))
        frozen = (teacher["map1"] - told["map1"]).square().mean().item()
        loss = float(
            losses.load("variational")(SimpleNamespace(maps=student, adapted=told), SimpleNamespace(maps=teacher), None)
        )
    assert told["map1 variance"].flatten().tolist() == [near(5.0)] * 4
    assert loss == near(0.8517676857)
    # mdistiller's α are never trained: a hint of a tenth, and a constant
    assert loss == near(frozen / 10 + 0.8047189562)


def test_the_least_of_a_variance() -> None:
    """However small α: at least ½ ln 10⁻⁵; however large: finite in float32."""
    module = Predictor({"map1": (2, 2, 3)}, {"map1": (2, 2, 3)}, "all")
    target = torch.zeros(2, 2, 2, 3)
    for alpha, least in ((-200.0, -5.7564627325), (200.0, math.log(200) / 2)):
        nn.init.constant_(module.alphas[0], alpha)
        seen = SimpleNamespace(maps={"map1": target}, adapted=module(Outputs(map1=target)))
        loss = losses.load("variational")(seen, SimpleNamespace(maps={"map1": target}), None)
        assert loss.item() == pytest.approx(least, abs=1e-5)  # a dead student: μ = 0
        loss.backward()
        assert bool(module.alphas[0].grad.isfinite().all())
        module.zero_grad()


def test_factor_worked() -> None:
    s, t = (torch.from_numpy(numbers(2, 12).reshape(2, 2, 2, 3)) for numbers in (sines, cosines))
    assert difference(s, t).item() == near(0.5188015972)
    one = [torch.tensor(channels, dtype=torch.float64)[None, :, None, None] for channels in ([3.0, 4.0], [1.0, 0.0])]
    assert difference(*one).item() == near(0.6)
    by_channel = [F.normalize(side.square().mean(1).flatten(1)) for side in (s, t)]  # RepDistiller: another term
    assert (by_channel[0] - by_channel[1]).abs().mean().item() == near(0.1922027898)


def test_review_worked() -> None:
    for shape, worked in (((1, 5, 6), 1.4051818759), ((2, 2, 3), 1.2976642875)):
        s, t = (torch.from_numpy(numbers(2, math.prod(shape)).reshape(2, *shape)) for numbers in (sines, cosines))
        assert at_all_sizes(s - t, 1).item() == near(worked)
    u, above = torch.tensor([[[[1.0, 2], [3, 4]]]]).double(), torch.tensor([[[[2.0]]]]).double()
    fusion = fused(u, nearest(above, (2, 2)), nn.Identity())
    assert fusion.flatten().tolist() == [near(x) for x in (2.4926527346, 3.5231883119, 4.6193165364, 5.6896493161)]
    assert at_all_sizes(torch.full((2, 3, 5, 6), 0.3, dtype=torch.float64), 1).item() == near(
        0.09
    )  # a constant offset c: c²
    assert at_all_sizes(torch.full((2, 3, 5, 43), 0.3, dtype=torch.float64), 4).item() == near(0.09)


def test_nearest_cells_as_torch_takes_them() -> None:
    source = outputs({"map1": (2, 5, 43)}, 2, 3)["map1"]
    for to in ((5, 43), (10, 86), (10, 87), (3, 22), (1, 1)):
        assert torch.equal(nearest(source, to), torch.from_numpy(oracles.taken(source.numpy(), to)))
    assert torch.equal(nearest(source, (10, 86)), F.interpolate(source, (10, 86), mode="nearest"))


# Relations, bounds, special rows.


def test_flow_does_not_see_when_nor_which_stage_is_loud() -> None:
    """One permutation of cells of both stages, and (c · a, b / c), change nothing."""
    stages = outputs({"map1": (3, 4, 5), "map2": (2, 4, 5)}, 2, 4).values()
    of_pair, order = products(*stages), torch.randperm(20, generator=torch.Generator().manual_seed(6))
    a, b = (each.flatten(-2)[..., order].unflatten(-1, (4, 5)) for each in stages)
    torch.testing.assert_close(products(a, b), of_pair)
    torch.testing.assert_close(products(7 * a, b / 7), of_pair)


def test_flow_of_dead_stages() -> None:
    """One: the mean square of the teacher's, and a gradient that reaches that stage alone; both: none."""
    student, teacher = map(tensors, maps())
    target = products(*teacher.values()).square().mean().item()
    for dead in ({"map1"}, {"map2"}, {"map1", "map2"}):
        leaves = {k: (v * (k not in dead)).requires_grad_() for k, v in student.items()}
        loss = losses.load("flow")(SimpleNamespace(maps=leaves, adapted=leaves), SimpleNamespace(maps=teacher), None)
        loss.backward()
        assert loss.item() == pytest.approx(target, rel=1e-12)
        moved = {k for k, v in leaves.items() if v.grad is not None and bool(v.grad.any())}
        assert moved == (dead if len(dead) == 1 else set())


def test_gradients_of_flow_and_review_stay_below_their_bounds() -> None:
    sizes = {"map1": (3, 4, 6), "map2": (2, 2, 3)}
    for scale in (1e-6, 1.0, 1e4):
        student, teacher = ({k: scale * v.relu() for k, v in outputs(sizes, 2, seed).items()} for seed in (4, 5))
        leaves = {k: v.requires_grad_() for k, v in student.items()}
        losses.load("flow")(
            SimpleNamespace(maps=leaves, adapted=leaves), SimpleNamespace(maps=teacher), None
        ).backward()
        apart = (products(*student.values()) - products(*teacher.values())).detach().flatten(1).norm(dim=1)
        for a, b in (("map1", "map2"), ("map2", "map1")):
            least = 2 * apart * leaves[b].detach().flatten(1).norm(dim=1) / 6
            assert bool((leaves[a].grad.flatten(1).norm(dim=1) <= least + 1e-30).all())
    out = outputs({"map1": (3, 5, 9)}, 2, 6)["map1"].requires_grad_()
    at_all_sizes(out, 1).backward()
    assert bool((out.grad.abs().max() <= 2 * out.detach().abs().max() / out.numel()).all())


def test_factors_do_not_see_a_clips_size_and_dead_ones_stay_bounded() -> None:
    random = torch.Generator().manual_seed(7)
    s, t = (torch.randn(4, 3, 2, 5, generator=random, dtype=torch.float64) for _ in range(2))
    loss, by_clip = difference(s, t).item(), torch.tensor([0.5, 2, 3, 0.1])[:, None, None, None]
    assert difference(by_clip * s, t).item() == pytest.approx(loss, rel=1e-12) and loss <= 2 / math.sqrt(30)
    for scale in (0.0, 1e-12, 1e-6, 1.0):
        leaf = (scale * s).requires_grad_()
        difference(leaf, t).backward()
        floor = max(1e-3 * leaf.detach().flatten(1).norm(dim=1).mean().item(), 1e-6)
        assert leaf.grad.abs().max().item() <= 1 / (4 * math.sqrt(30) * floor)


def test_one_pair_of_stages_does_not_flow() -> None:
    with pytest.raises(
        InputError, match=r"flow compares how one stage turns into the next, and 1 of .* expected networks"
    ) as caught:
        losses.module("flow").adapter({"map1": (3, 4, 6)}, TEACHER)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["flow", "variational", "factor", "review"])
def test_the_weights_of_the_adapters_of_cnn2_from_resnet18(name: str) -> None:
    student, teacher = (shapes(models.network(network, (5, 20, 173), 10)) for network in ("cnn2", "resnet18"))
    module = losses.module(name).adapter(student, teacher)
    counts = {"flow": 1024, "variational": 3584 + 48, "factor": 6960, "review": 7906}
    assert models.parameters(module) == counts[name]


# The paraphraser.


def test_the_paraphraser_of_a_resnet18_has_32_400_weights() -> None:
    """At its third stage, the partner of the last of ``cnn2``: K = 32, k = 0.5."""
    halves = encoder(32, factors(32, 0.5)), decoder(factors(32, 0.5), 32)
    assert sum(models.parameters(half) for half in halves) == 32_400
    x = torch.rand(2, 32, 3, 5)
    assert halves[1](halves[0](x)).shape == x.shape and halves[0](x).shape == (2, 16, 3, 5)


def test_the_paraphraser_learns_to_give_the_map_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer training leaves less; what it is drawn from and the scale of the maps do not matter; part after part as at once."""
    monkeypatch.setattr(paraphrasing, "content", lambda batches: object())  # each is trained
    maps_of_rows = outputs({"map1": (4, 5, 8)}, 64, 8)["map1"].relu()
    kept = {
        epochs: constants(Outputs(map1=maps_of_rows), None, student={"map1": (2, 5, 8)}, epochs=epochs)
        for epochs in (1, 5)
    }
    torch.manual_seed(99)
    again = constants(Outputs(map1=maps_of_rows), None, student={"map1": (2, 5, 8)}, epochs=5)
    parts = Arrays(lambda: (Outputs(map1=part) for part in maps_of_rows.split(64)))
    in_parts = constants(parts, None, student={"map1": (2, 5, 8)}, epochs=5)
    for name, weight in kept[5].items():
        assert torch.equal(weight, again[name]) and torch.equal(weight, in_parts[name]), name
        assert not torch.equal(weight, kept[1][name])
    louder = constants(Outputs(map1=8 * maps_of_rows), None, student={"map1": (2, 5, 8)}, epochs=5)
    factors = [
        encoded(rows, {name.split(" ")[1]: weight for name, weight in weights.items()})
        for rows, weights in ((maps_of_rows, kept[5]), (8 * maps_of_rows, louder))
    ]
    torch.testing.assert_close(*factors)
    assert {name: tuple(w.shape) for name, w in kept[5].items()} == {
        f"map1 {layer}.{part}": (shape if part == "weight" else shape[:1])
        for layer, shape in ((0, (4, 4, 3, 3)), (2, (2, 4, 3, 3)), (4, (2, 2, 3, 3)))
        for part in ("weight", "bias")
    }


def test_a_paraphraser_is_trained_once_a_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps of the same content, whichever arrays they lie in; another map, option or precision is another one."""
    trained: list[str] = []
    train = paraphrasing.train
    monkeypatch.setattr(paraphrasing, "train", lambda name, *more: trained.append(name) or train(name, *more))
    monkeypatch.setattr(paraphrasing, "_trained", type(paraphrasing._trained)())
    maps_of_rows = outputs({"map1": (4, 5, 8)}, 64, 8)["map1"].relu()

    def asked(rows: torch.Tensor = maps_of_rows, **options: Any) -> dict[str, torch.Tensor]:
        return constants(Outputs(map1=rows), None, student={"map1": (2, 5, 8)}, **{"epochs": 1, **options})

    first = asked()
    first["map1 0.bias"] = torch.zeros(4)  # what one pack is given is its own mapping
    assert trained == ["map1"]
    again = asked(maps_of_rows.clone())
    assert trained == ["map1"] and again.keys() == first.keys() and again["map1 0.bias"].any()
    changed = maps_of_rows.clone()
    changed[-1, -1, -1, -1] += 1e-3
    for count, weights in enumerate(
        (asked(changed), asked(k=0.25), asked(reconstruction="l2"), asked(maps_of_rows.float()), asked(epochs=2)), 2
    ):
        assert not all(
            (one := weights[name]).shape == value.shape and one.dtype == value.dtype and torch.equal(one, value)
            for name, value in again.items()
        ), count
    assert len(trained) == 6
    kept = paraphrasing._trained
    assert len(kept) == 6
    sizes = [sum(value.nbytes for value in weights.values()) for weights in kept.values()]
    monkeypatch.setattr(paraphrasing, "KEPT", sum(sizes[-2:]))
    asked(epochs=2)  # the last one: of the others the next to last stays
    assert [sum(value.nbytes for value in weights.values()) for weights in kept.values()] == sizes[-2:]
    monkeypatch.setattr(paraphrasing, "KEPT", 1)  # the last one is kept however large
    asked(), asked(), asked(k=0.25), asked()
    assert len(trained) == 9 and len(kept) == 1


def on_cores(count: int, function: Callable[[], Any]) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return function()
    finally:
        assert torch.get_num_threads() == count
        torch.set_num_threads(before)


def test_a_paraphraser_does_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch sums 10⁵ numbers otherwise on each number of them, and the scale of the maps is such a sum."""
    monkeypatch.setattr(paraphrasing, "content", lambda batches: object())  # each is trained
    for seed in range(50):  # such that their mean differs, which it does of most
        rows = torch.randn(64, 8, 9, 31, generator=torch.Generator().manual_seed(seed)).relu()
        if len({on_cores(count, lambda: rows.abs().mean().item()) for count in (1, 2, 3, 4)}) > 1:  # noqa: B023
            break
    else:
        pytest.fail("no sum of this processor depends on the number of cores: the test tries nothing")
    alone, *others = (
        on_cores(count, lambda: paraphrasing.trained("map1", lambda: iter((rows,)), 0.25, 1, 1))
        for count in (1, 2, 3, 4)
    )
    for weights in others:
        assert all(torch.equal(weights[name], value) for name, value in alone.items())


def test_a_paraphraser_has_the_bits_that_it_has_alone_whichever_was_trained_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sums go through maps as they lie in memory, so that channels last are another one in the last bits."""
    maps_of_rows = torch.randn(256, 4, 5, 8, generator=torch.Generator().manual_seed(2)).relu()
    laid = [maps_of_rows, maps_of_rows.contiguous(memory_format=torch.channels_last)]

    def asked(number: int) -> dict[str, torch.Tensor]:
        return constants(Outputs(map1=laid[number]), None, student={"map1": (2, 5, 8)}, epochs=1)

    monkeypatch.setattr(paraphrasing, "_trained", type(paraphrasing._trained)())
    alone = []
    for number in (0, 1):
        paraphrasing._trained.clear()
        alone.append(asked(number))
    assert not all(torch.equal(alone[0][name], value) for name, value in alone[1].items())
    for order in ((0, 1, 0), (1, 0, 1)):
        paraphrasing._trained.clear()
        for number in order:
            kept = asked(number)
            assert all(torch.equal(kept[name], value) for name, value in alone[number].items()), order


def test_every_run_has_its_own_paraphraser() -> None:
    coders = [encoder(3, 2).double() for _ in range(2)]
    rows = outputs({"map1": (5, 3, 4, 6)}, 2, 9)["map1"]
    weights = {name: torch.stack([coder.state_dict()[name] for coder in coders]) for name in coders[0].state_dict()}
    expected = torch.stack([coder(run) for coder, run in zip(coders, rows)])
    torch.testing.assert_close(encoded(rows, weights), expected)
    single = encoded(
        rows[:, :, None], {name: value[:, None] for name, value in weights.items()}
    )  # each clip as a batch
    torch.testing.assert_close(single[:, :, 0], expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flow@layer=hidden", "unknown option 'layer' of flow"),
        ("variational@stages=middle", "unknown stages 'middle'.*expected one of all, first, last"),
        ("review@grid=3x3", "unknown grid '3x3'.*expected one of square, wide"),
        ("factor@k=2", "option k of factor is '2'; expected a number above 0 and at most 1"),
        ("factor@epochs=0", "option epochs of factor is '0'; expected a whole number of at least 1"),
        ("factor@reconstruction=l3", "unknown reconstruction 'l3'.*expected one of l1, l2"),
    ],
)
def test_wrong_options_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        LossMix.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["flow", "variational", "factor", "review"])
def test_the_file_says_what_it_is(name: str) -> None:
    module = losses.module(name)
    (one,) = [each for each in LossMix.parse(module.MIX).terms if each.name == name]
    assert one.weight == module.WEIGHT and dict(one.options) == ({"warm": 20} if name == "review" else {})
    assert ("from memory" in module.SOURCE) == (name != "review") and FIRST == 5 and LEAST == 1e-5
