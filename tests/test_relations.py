"""Distances, angles and areas against triple loops written from the papers, and every way they could go wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.relations import (
    angles,
    areas,
    distances,
    huber,
    normalised,
    relative_areas,
    relative_distances,
)

ALL: list[Callable[[Tensor], Tensor]] = [distances, angles, areas]


def rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def loop_distances(e: np.ndarray) -> np.ndarray:
    return np.array([[math.sqrt(sum((a - b) ** 2 for a, b in zip(x, y))) for y in e] for x in e])


def loop_angles(e: np.ndarray) -> np.ndarray:
    """Park et al. 2019, eq. 9: <e^ij, e^kj>, e^ij = (t_i - t_j) / |t_i - t_j|; 0 where that is not defined."""
    count = len(e)
    out = np.zeros((count, count, count))
    for i in range(count):
        for j in range(count):
            for k in range(count):
                a, b = e[i] - e[j], e[k] - e[j]
                lengths = math.sqrt((a * a).sum()) * math.sqrt((b * b).sum())
                out[i, j, k] = (a * b).sum() / lengths if lengths > 0 else 0.0
    return out


def loop_areas(e: np.ndarray) -> np.ndarray:
    """Cho et al. 2023, eq. 3.2: half |t_i||t_j| sin of the angle between, the angle by atan2 for accuracy."""
    out = np.zeros((len(e), len(e)))
    for i, a in enumerate(e):
        for j, b in enumerate(e):
            la, lb = math.sqrt((a * a).sum()), math.sqrt((b * b).sum())
            if la > 0 and lb > 0:
                u, v = a / la, b / lb
                theta = 2 * math.atan2(float(np.linalg.norm(u - v)), float(np.linalg.norm(u + v)))
                out[i, j] = 0.5 * la * lb * math.sin(theta)
    return out


LOOPS = {distances: loop_distances, angles: loop_angles, areas: loop_areas}


@pytest.mark.parametrize("relation", ALL)
@pytest.mark.parametrize("shape", [(1, 4), (2, 3), (3, 1), (3, 5), (8, 33), (5, 2)])
def test_equals_plain_loops(relation, shape) -> None:
    e = rows(*shape)
    np.testing.assert_allclose(relation(e).numpy(), LOOPS[relation](e.numpy()), atol=1e-12)


def test_a_known_triangle() -> None:
    e = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    assert distances(e)[0, 1] == 5 and distances(e)[0, 2] == 3
    assert areas(e)[0, 1] == pytest.approx(6) and areas(e)[0, 2] == 0
    computed = angles(e)
    assert computed[0, 2, 1] == pytest.approx(0)  # the right angle, at row 2
    assert computed[1, 0, 2] == pytest.approx(3 / 5) and computed[0, 1, 2] == pytest.approx(4 / 5)


@pytest.mark.parametrize("relation", ALL)
def test_leading_axes_are_kept_and_do_not_mix(relation) -> None:
    e = rows(2, 3, 5, 4)
    together = relation(e)
    assert together.shape[:3] == (2, 3, 5)
    for a in range(2):
        for b in range(3):
            torch.testing.assert_close(together[a, b], relation(e[a, b]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("relation", ALL)
def test_an_offset_of_1000_in_float32(relation) -> None:
    e = rows(8, 64, dtype=torch.float32) + 1000
    expected = LOOPS[relation](e.double().numpy())
    np.testing.assert_allclose(relation(e).numpy(), expected, rtol=1e-5, atol=1e-6)
    # An offset changes an area (it is not centred) and neither a distance nor an angle.
    moved = np.abs(relation(e).numpy() - relation(rows(8, 64, dtype=torch.float32)).numpy()).max()
    assert moved > 1000 if relation is areas else moved < 1e-3


def relative(loop: Callable[[np.ndarray], np.ndarray], e: Tensor) -> np.ndarray:
    matrix = loop(e.double().numpy())
    return matrix * (len(matrix) * (len(matrix) - 1) / matrix.sum())


@pytest.mark.parametrize("spread", [0.1, 1.0])
@pytest.mark.parametrize("offset", [1e2, 1e3, 1e4])
@pytest.mark.parametrize("count", [2, 6])
def test_relative_to_the_true_mean_at_any_offset_in_float32(count, offset, spread) -> None:
    """What float32 still holds of the rows is compared, not the floor that is for batches without any spread."""
    e = (spread * rows(count, 40) + offset).float()
    np.testing.assert_allclose(relative_distances(e), relative(loop_distances, e), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(relative_areas(e), relative(loop_areas, e), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("relation", [relative_distances, angles])
def test_an_offset_does_not_change_the_gradient(relation) -> None:
    grads = []
    for offset in (0, 1000):
        e = (rows(8, 64) + offset).requires_grad_()
        huber(relation(e), relation(rows(8, 64, seed=3)), 3 if relation is angles else 2).backward()
        grads.append(e.grad)
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("angle", [1e-1, 1e-3, 1e-5, 1e-7])
def test_small_angles_are_kept(angle) -> None:
    e = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    assert areas(e)[0, 1].item() == pytest.approx(0.5 * math.sin(angle), rel=1e-8)
    e = torch.tensor([[1.0, 0.0], [-math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    assert areas(e)[0, 1].item() == pytest.approx(0.5 * math.sin(angle), rel=1e-8)


def test_near_rows_keep_their_angle_in_float32() -> None:
    e = rows(6, 40, dtype=torch.float32)
    e[1] = e[0] + 2e-3 * rows(40, seed=1, dtype=torch.float32)
    np.testing.assert_allclose(angles(e).numpy(), loop_angles(e.double().numpy()), atol=1e-6)


def degenerate(kind: str) -> Tensor:
    """Eight unit-scale rows of 32 numbers, some of them (or all) without a direction or a triangle."""
    e = rows(8, 32)
    direction = rows(32, seed=1)
    e[: 8 if kind.startswith("all") else 4] = {
        "equal": direction,
        "zero": torch.zeros(32, dtype=e.dtype),
        "collinear": torch.tensor([1.0, -2.0, 0.3, 0.7])[:, None] * direction,
        "nearly equal": direction + 1e-9 * rows(4, 32, seed=2),
        "nearly collinear": torch.tensor([1.0, -2.0, 0.3, 0.7])[:, None] * (direction + 1e-9 * rows(4, 32)),
        "all equal": direction,
        "all zero": torch.zeros(32, dtype=e.dtype),
        "all collinear": torch.linspace(-1, 2, 8, dtype=e.dtype)[:, None] * direction,
    }[kind]
    return e


KINDS = [
    "equal",
    "zero",
    "collinear",
    "nearly equal",
    "nearly collinear",
    "all equal",
    "all zero",
    "all collinear",
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", [relative_distances, angles, relative_areas])
def test_gradients_are_bounded(relation, kind, dtype) -> None:
    """The gradient of a mean Huber loss with unit-scale rows has a norm below 100 (a usual one is 0.1)."""
    e = degenerate(kind).to(dtype).requires_grad_()
    points = 3 if relation is angles else 2
    loss = huber(relation(e), relation(rows(8, 32, seed=3).to(dtype)), points)
    loss.backward()
    assert bool(loss.isfinite()) and e.grad is not None and bool(e.grad.isfinite().all())
    assert e.grad.norm() < 100


def test_a_collapsed_batch_has_a_bounded_gradient() -> None:
    """Rows that differ by one part in 10^9 only: the floors bound the gradient, at 1e5 here; without them it is 1e8."""
    for relation in (relative_distances, relative_areas, angles):
        e = (rows(32, seed=1) + 1e-9 * rows(8, 32)).requires_grad_()
        huber(relation(e), relation(rows(8, 32, seed=3)), 3 if relation is angles else 2).backward()
        assert e.grad is not None and e.grad.norm() < 1e5


@pytest.mark.parametrize("kind", ["equal", "zero", "collinear"])
def test_degenerate_values(kind) -> None:
    e = degenerate(kind)
    np.testing.assert_allclose(distances(e), loop_distances(e.numpy()), atol=1e-12)
    np.testing.assert_allclose(areas(e), loop_areas(e.numpy()), atol=1e-12)
    np.testing.assert_allclose(angles(e), loop_angles(e.numpy()), atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("relation", [relative_distances, angles, relative_areas])
def test_few_rows(relation, count) -> None:
    e = rows(2, count, 6).requires_grad_()
    points = 3 if relation is angles else 2
    loss = huber(relation(e), relation(rows(2, count, 9, seed=1)), points)
    loss.sum().backward()
    assert loss.shape == (2,) and e.grad is not None and bool(e.grad.isfinite().all())
    if count < 3:  # one pair has the mean distance and area, and there is no triple
        torch.testing.assert_close(loss, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-15)
    else:
        assert bool((loss > 0).all())


def test_normalised_has_mean_one_and_its_mean_is_part_of_the_graph() -> None:
    e = rows(5, 4).requires_grad_()
    psi = normalised(distances(e))
    assert psi.sum().item() / 20 == pytest.approx(1)
    psi.sum().backward()  # the sum is always 20, so its gradient is 0 only if μ is in the graph
    assert e.grad is not None and e.grad.abs().max() < 1e-12
    assert bool((normalised(torch.zeros(3, 3)) == 0).all())


@pytest.mark.parametrize("relation", ALL)
def test_half_precision_and_autocast_are_computed_in_full(relation) -> None:
    for half in (torch.float16, torch.bfloat16):
        e = rows(8, 16).to(half)
        expected = LOOPS[relation](e.double().numpy())
        for enabled in (False, True):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                computed = relation(e)
            assert computed.dtype == torch.float32
            np.testing.assert_allclose(computed.numpy(), expected, rtol=1e-5, atol=1e-6)
    tiny = (1e-4 * rows(8, 16)).half().requires_grad_()
    relation(tiny).sum().backward()
    assert tiny.grad is not None and bool(tiny.grad.isfinite().all())
    assert relation(rows(4, 3)).dtype == torch.float64


@pytest.mark.parametrize("relation", ALL)
def test_gradcheck(relation) -> None:
    assert torch.autograd.gradcheck(relation, rows(2, 4, 3).requires_grad_())


class Largest(TorchDispatchMode):
    """Records how many elements the largest tensor of any operation has, forward and backward."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return out


@pytest.mark.parametrize("relation", ALL)
def test_no_tensor_is_larger_than_it_must_be(relation) -> None:
    batch, width = 6, 500
    e = rows(batch, width, dtype=torch.float32).requires_grad_()
    with Largest() as largest:
        relation(e).sum().backward()
    assert 0 < largest.numel <= max(batch**3, batch * width)  # neither B^3 D nor B^2 D


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 6),
    width=st.integers(1, 20),
    scale=st.floats(-6, 6).map(lambda power: 10**power),
)
def test_scale_symmetry_and_range(seed, batch, width, scale) -> None:
    e = rows(batch, width, seed=seed)
    for relation in (relative_distances, relative_areas, angles):
        torch.testing.assert_close(relation(scale * e), relation(e), rtol=1e-7, atol=1e-7)
    assert bool((angles(e).abs() <= 1 + 1e-9).all())
    for relation in (distances, areas):
        matrix = relation(e)
        assert torch.equal(matrix, matrix.mT) and bool((matrix.diagonal() == 0).all())
    torch.testing.assert_close(angles(e), angles(e).transpose(-1, -3))


@pytest.mark.parametrize("relation", [relative_distances, relative_areas, angles])
@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_scale_does_not_matter_in_float32_either(relation, scale) -> None:
    e = rows(6, 5, dtype=torch.float32)
    torch.testing.assert_close(relation(scale * e), relation(e), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("relation", ALL)
def test_a_gpu_gives_the_same_and_can_record_it(relation) -> None:
    e = rows(4, 8, 100, dtype=torch.float32)
    still = e.cuda().requires_grad_()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):  # warm up
        torch.autograd.grad(relation(still).square().sum(), still)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        out = relation(still)
        (grad,) = torch.autograd.grad(out.square().sum(), still)
    graph.replay()
    torch.cuda.synchronize()
    e.requires_grad_()
    expected = relation(e)
    torch.testing.assert_close(out.cpu(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad.cpu(), torch.autograd.grad(expected.square().sum(), e)[0], rtol=1e-4, atol=1e-4)
