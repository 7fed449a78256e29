"""Which stages are compared, and at which size."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from pipeline import models
from pipeline.config import InputError
from pipeline.losses.adapting import shapes
from pipeline.losses.floors import directions
from pipeline.losses.stages import common, pairs, resampled
from pipeline.models.outputs import stage_maps

SOUND = (5, 20, 173)
RESNET18 = {"map1": (8, 20, 173), "map2": (16, 10, 87), "map3": (32, 5, 44), "map4": (64, 3, 22)}
CNN2 = {"map1": (32, 10, 86), "map2": (16, 5, 43)}


def test_the_stages_have_the_sizes_of_the_table() -> None:
    sizes = {name: stage_maps(shapes(models.network(name, SOUND, 10))) for name in ("resnet18", "cnn2")}
    assert sizes == {"resnet18": RESNET18, "cnn2": CNN2}
    assert stage_maps(shapes(models.network("resnet56", (3, 32, 32), 10))) == {
        "map1": (16, 32, 32),
        "map2": (32, 16, 16),
        "map3": (64, 8, 8),
    }


def test_cnn2_learns_the_second_and_the_third_stage_of_resnet18() -> None:
    assert pairs(CNN2, RESNET18) == (("map1", "map2"), ("map2", "map3"))
    assert pairs(CNN2, RESNET18, "first") == (("map1", "map2"),)
    assert pairs(CNN2, RESNET18, "last") == (("map2", "map3"),)
    assert [common(CNN2[s], RESNET18[t]) for s, t in pairs(CNN2, RESNET18)] == [(10, 86), (5, 43)]


def test_equal_networks_learn_stage_by_stage() -> None:
    assert pairs(RESNET18, RESNET18) == tuple((name, name) for name in RESNET18)


def loop_pairs(student: dict[str, tuple[int, ...]], teacher: dict[str, tuple[int, ...]]) -> list[tuple[str, str]]:
    """By the text, with logarithms, for sizes that are never nearly equal in their distance."""
    apart = {
        (s, t): round(abs(math.log(student[s][-1] * student[s][-2]) - math.log(teacher[t][-1] * teacher[t][-2])), 9)
        for s in student
        for t in teacher
    }
    wanted = {}
    for s in student:
        for t in teacher:  # a later one as near replaces an earlier one
            if s not in wanted or apart[s, t] <= apart[s, wanted[s]]:
                wanted[s] = t
    kept = []
    for s, t in wanted.items():
        rivals = [other for other in student if wanted[other] == t]
        best = rivals[0]
        for other in rivals:
            if apart[other, t] <= apart[best, t]:
                best = other
        if best == s:
            kept.append((s, t))
    return kept


def test_pairs_by_plain_loops() -> None:
    sizes = [(4, 4), (2, 8), (2, 2), (1, 16), (8, 8), (3, 5)]
    for ours in itertools.product(sizes, repeat=2):
        for theirs in itertools.product(sizes, repeat=3):
            student = {f"map{i}": (1, *one) for i, one in enumerate(ours, 1)}
            teacher = {f"map{i}": (7, *one) for i, one in enumerate(theirs, 1)}
            assert list(pairs(student, teacher)) == loop_pairs(student, teacher)


def test_ties_go_to_the_later_stage() -> None:
    # 4 cells lie between 2 and 8: the later; and of two students as near to one teacher the later keeps it
    assert pairs({"map1": (1, 1, 4)}, {"map1": (1, 1, 8), "map2": (1, 1, 2)}) == (("map1", "map2"),)
    assert pairs({"map1": (1, 2, 4), "map2": (1, 1, 2)}, {"map1": (1, 2, 2)}) == (("map2", "map1"),)
    assert pairs({"map1": (1, 2, 3), "map2": (1, 1, 2)}, {"map1": (1, 2, 2)}) == (("map1", "map1"),)
    # 21 cells are three times 7 and a third of 63, which logarithms need not say
    assert pairs({"map1": (1, 3, 7)}, {"map1": (1, 7, 9), "map2": (1, 1, 7)}) == (("map1", "map2"),)


@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_a_network_without_maps_is_refused(whose: str) -> None:
    sides = {"student": CNN2, "teacher": RESNET18, whose: {}}
    with pytest.raises(InputError, match=f"the {whose} has no map of a stage") as caught:
        pairs(sides["student"], sides["teacher"])
    assert "\n" not in str(caught.value)


def test_the_windows_of_three_to_two_overlap() -> None:
    assert resampled(torch.tensor([[3.0, 6.0, 12.0]]), (1, 2)).tolist() == [[4.5, 9.0]]
    assert resampled(torch.tensor([[3.0], [6.0], [12.0]]), (2, 1)).tolist() == [[4.5], [9.0]]


@pytest.mark.parametrize("to", [(20, 173), (10, 86), (10, 173), (20, 86), (4, 8), (1, 1), (30, 200)])
@pytest.mark.parametrize("lead", [(2,), (3, 2, 4)])
def test_resampling_is_adaptive_averaging_of_each_axis(lead: tuple[int, ...], to: tuple[int, int]) -> None:
    maps = torch.randn(*lead, 20, 173, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = F.adaptive_avg_pool2d(maps.reshape(-1, 20, 173), to).view(*lead, *to)
    torch.testing.assert_close(resampled(maps, to), expected)


def test_equal_sizes_are_left_untouched() -> None:
    maps = torch.randn(2, 3, 10, 86)
    assert resampled(maps, (10, 86)) is maps


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-8, 0.0])
def test_directions_of_short_vectors_fade_with_a_bounded_gradient(scale: float) -> None:
    vectors = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors[0] *= 1e-5
    vectors[1] = 0
    vectors = (scale * vectors).requires_grad_()
    lengths = [math.sqrt(sum(x * x for x in row)) for row in vectors.tolist()]
    floor = max(1e-3 * sum(lengths) / 5, 1e-6)
    expected = [[x / max(length, floor) for x in row] for row, length in zip(vectors.tolist(), lengths)]
    torch.testing.assert_close(directions(vectors), torch.tensor(expected, dtype=torch.float64))
    incoming = torch.randn(5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(directions(vectors), vectors, incoming)
    assert (gradient.norm(dim=-1) <= incoming.norm(dim=-1) / floor * (1 + 1e-9)).all()
