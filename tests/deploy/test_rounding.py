"""Weights of int8 rounded so that each layer says what it said: a plain loop, torch's own convolutions, and nothing else changed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline import models
from pipeline.deploy import int8, rounding
from pipeline.deploy.graph import graph
from pipeline.deploy.rounding import Layer

RANDOM = np.random.default_rng


def layer(weights: np.ndarray, bias: np.ndarray, scale: float = 0.1, kind: str = "Conv", **attributes: object) -> Layer:
    steps = np.full(len(weights), scale)
    return Layer(kind, attributes, ("a", "b"), "w", steps, weights, "bias", steps, bias)


def inputs(count: int, places: int) -> np.ndarray:
    """(count, places) of what lies behind a ReLU: positive, and alike in all rows."""
    random = RANDOM(0)
    return np.abs(random.standard_normal((count, places)) * 0.3 + 2 * random.random(places))


def test_every_error_is_made_good_by_what_is_not_rounded_yet() -> None:
    """As a plain loop does it: the best change of the rest where one weight is off, by the inverse of what is left of the matrix."""
    random = RANDOM(1)
    target, scale = random.standard_normal((4, 8)), random.uniform(0.05, 0.2, 4)
    read = np.concatenate([inputs(7, 200), np.ones((1, 200))])
    products = read @ read.T + 0.01 * np.eye(8)
    expected = np.empty((4, 7))
    for row in range(4):
        left = target[row].copy()
        for place in range(7):
            expected[row, place] = np.round(left[place] / scale[row])
            missed = left[place] - expected[row, place] * scale[row]
            inverse = np.linalg.inv(products[place:, place:])
            left[place:] -= missed * inverse[0] / inverse[0, 0]
    np.testing.assert_array_equal(rounding.nearest(target, products, scale), expected)
    # Inputs that have nothing to do with each other: the nearest step, and never more than 7 bits.
    np.testing.assert_array_equal(rounding.nearest(target, np.eye(8), scale), np.round(target[:, :7] / scale[:, None]))
    assert np.abs(rounding.nearest(100 * target, np.eye(8), scale)).max() == rounding.LARGEST


@pytest.mark.parametrize(
    ("pads", "strides", "dilations"),
    [((1, 1, 1, 1), (1, 1), (1, 1)), ((0, 2, 1, 0), (2, 1), (1, 2)), ((0, 0, 0, 0), (1, 3), (2, 1))],
)
def test_columns_are_what_a_convolution_multiplies(pads, strides, dilations) -> None:
    random = RANDOM(2)
    weights, bias = (
        random.standard_normal((4, 3, 3, 2)).astype(np.float32),
        random.standard_normal(4).astype(np.float32),
    )
    values = random.standard_normal((2, 3, 9, 11)).astype(np.float32)
    one = layer(weights, bias, pads=pads, strides=strides, dilations=dilations)
    ours = np.concatenate([weights.reshape(4, -1), bias[:, None]], axis=1) @ rounding.columns(one, values, 2)
    top, left, bottom, right = pads
    padded = F.pad(torch.from_numpy(values), (left, right, top, bottom))
    theirs = F.conv2d(padded, torch.from_numpy(weights), torch.from_numpy(bias), strides, 0, dilations)
    np.testing.assert_allclose(ours, theirs.transpose(0, 1).reshape(4, -1).numpy(), atol=1e-4)


def test_of_many_places_evenly_spread_ones_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(2 * 60, dtype=np.float32).reshape(2, 1, 6, 10)
    one = layer(np.ones((1, 1, 1, 1), np.float32), np.zeros(1))
    monkeypatch.setattr(rounding, "PLACES", 40)
    np.testing.assert_array_equal(rounding.columns(one, values, 2)[0], values.reshape(2, 60)[:, ::3].ravel())


@pytest.mark.parametrize("kind", ["Gemm", "Conv"])
def test_a_layer_says_in_the_mean_what_it_said_and_less_beside_it_than_by_the_nearest_step(kind: str) -> None:
    random = RANDOM(3)
    exact = random.standard_normal((6, 20)).astype(np.float32) * 0.3
    bias = random.standard_normal(6)
    theirs = inputs(20, 300).T.astype(np.float32)
    ours = theirs + 0.05 + 0.01 * random.standard_normal(theirs.shape).astype(np.float32)  # as rounded before
    if kind == "Conv":
        exact, ours, theirs = exact[..., None, None], ours[..., None, None], theirs[..., None, None]
    one = layer(exact, bias, kind=kind, transB=1)
    steps, moved = rounding.solved(one, iter([(ours[:100], theirs[:100]), (ours[100:], theirs[100:])]), 300)
    assert steps.shape == exact.shape and (steps == np.round(steps)).all()
    flat, plain = steps.reshape(6, 20), np.round(exact.reshape(6, 20) / 0.1)
    said = theirs.reshape(300, 20) @ exact.reshape(6, 20).T + bias
    missed = 0.1 * ours.reshape(300, 20) @ flat.T + moved - said
    nearest = 0.1 * ours.reshape(300, 20) @ plain.T + bias - said
    np.testing.assert_allclose(missed.mean(axis=0), 0, atol=1e-5)
    assert np.square(missed).mean() < 0.5 * np.square(nearest - nearest.mean(axis=0)).mean()


@pytest.fixture(scope="module")
def quantised() -> tuple[onnx.ModelProto, onnx.ModelProto, np.ndarray, np.ndarray]:
    """A network in floating point, in integers as onnxruntime rounds it, clips to calibrate with and others."""
    network = models.network("tiny", (1, 16, 40), 5, seed=1).eval()
    values = inputs(96, 16 * 40).reshape(96, 1, 16, 40).astype(np.float32)
    made: list[onnx.ModelProto] = []

    def kept(integers: onnx.ModelProto, exact: onnx.ModelProto, features: np.ndarray) -> onnx.ModelProto:
        made.extend([exact, integers])
        return integers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "rounded", kept)
        int8.quantised_by(int8.OUTPUT_LAYER, graph(network), values[:64])
    return made[0], made[1], values[:64], values[64:]


def test_the_network_is_nearer_on_clips_that_it_was_not_rounded_by(quantised) -> None:
    exact, integers, calibration, others = quantised
    expected = int8.logits(exact.SerializeToString(), others)

    def error(model: onnx.ModelProto) -> float:
        return float(np.square(int8.logits(model.SerializeToString(), others) - expected).mean())

    before = integers.SerializeToString()
    result = rounding.rounded(integers, exact, calibration)
    assert error(result) < 0.2 * error(integers)
    assert integers.SerializeToString() == before
    onnx.checker.check_model(result)
    # Operators, scales and zero points are onnxruntime's; integers of weights have 7 bits as its own.
    assert list(result.graph.node) == list(integers.graph.node)
    tensors = [
        {one.name: numpy_helper.to_array(one) for one in model.graph.initializer} for model in (integers, result)
    ]
    changed = {name for name in tensors[0] if not np.array_equal(tensors[0][name], tensors[1][name])}
    assert len(changed) == 8 and all(name.endswith("_quantized") for name in changed)
    for name in changed:
        after = tensors[1][name]
        assert after.dtype == tensors[0][name].dtype and after.shape == tensors[0][name].shape
        assert after.dtype == np.int32 or np.abs(after).max() <= 64


def test_what_is_not_understood_stays_as_it_was(quantised, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, integers, calibration, _ = quantised
    assert [one.exact.shape[:2] for one in rounding.layers(integers, exact)] == [(8, 1), (16, 8), (32, 16), (56, 32)]
    monkeypatch.setattr(rounding, "WIDEST", 8)
    assert rounding.rounded(integers, exact, calibration) == integers
    square = np.ones((4, 4, 3, 3), np.float32)
    odd = [layer(square, np.zeros(4), group=4), layer(square, np.zeros(4), auto_pad=b"SAME_UPPER")]
    odd += [layer(square[0, 0], np.zeros(3), kind="Gemm"), layer(square[0], np.zeros(4), kind="Conv")]
    odd += [layer(square[0, 0], np.zeros(3), kind="Gemm", transB=1, alpha=0.5)]
    monkeypatch.setattr(rounding, "WIDEST", 1000)
    assert not any(map(rounding.understood, odd)) and rounding.understood(layer(square, np.zeros(4), group=1))


def test_sums_are_of_one_thread_on_any_number_of_cores(quantised, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, integers, calibration, _ = quantised
    threads, plain = [], rounding.solved

    def solved(*of: object) -> tuple[np.ndarray, np.ndarray]:
        threads.append(max(one["num_threads"] for one in threadpool_info()))
        return plain(*of)  # type: ignore[arg-type]

    monkeypatch.setattr(rounding, "solved", solved)
    with threadpool_limits(2):
        results = [rounding.rounded(integers, exact, calibration).SerializeToString() for _ in range(2)]
        assert max(one["num_threads"] for one in threadpool_info()) == 2
    assert threads == [1] * 8 and results[0] == results[1]


class Again(torch.nn.Module):
    """A network of a plugin that goes through one convolution three times."""

    shape = (2, 12, 20)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = torch.nn.Conv2d(2, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, padding=1)
        self.last = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> models.Outputs:
        x = self.first(x).relu()
        for _ in range(3):
            x = self.again(x).relu()
        return models.Outputs(logits=self.last(x.mean((2, 3))))


def test_weights_that_layers_share_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    values, names = RANDOM(4).standard_normal((8, 2, 12, 20)).astype(np.float32), []
    plain = rounding.solved
    monkeypatch.setattr(rounding, "solved", lambda one, *of: names.append(one.weights) or plain(one, *of))
    int8.quantised_by(int8.PLAIN, graph(Again().eval()), values)
    assert names == ["network.first.weight_quantized", "network.last.weight_quantized"]


@pytest.mark.parametrize("kind", ["dead", "constant", "one clip", "far from zero", "one input"])
def test_odd_inputs_are_rounded_near_the_nearest_step_at_worst(kind: str) -> None:
    random, count = RANDOM(5), 1 if kind == "one input" else 12
    read = np.abs(random.standard_normal((200, count))).astype(np.float32)
    if kind == "dead":
        read[:, ::2] = 0
    elif kind == "constant":
        read[:] = 0.7
    elif kind == "one clip":
        read = read[:1]
    elif kind == "far from zero":
        read += 1000
    exact = random.standard_normal((4, count)).astype(np.float32)
    exact[1] = 0
    one = layer(exact, np.zeros(4), kind="Gemm", transB=1)
    steps, bias = rounding.solved(one, iter([(read, read)]), len(read))
    said = read.astype(np.float64) @ exact.T
    missed, plain = (0.1 * read @ own.T + move - said for own, move in ((steps, bias), (np.round(exact / 0.1), 0)))
    assert (steps[1] == 0).all() and bias[1] == pytest.approx(0, abs=1e-6)
    assert np.sqrt(np.square(missed).mean()) <= np.sqrt(np.square(plain).mean()) + 1e-3


def test_the_target_is_the_least_of_both_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """T by numpy's least squares of the places and, beside them, of what stays as it was."""
    random, targets = RANDOM(6), []
    theirs = inputs(5, 300).T.astype(np.float32)
    ours = theirs + 0.1 * random.standard_normal(theirs.shape).astype(np.float32)
    exact, bias = random.standard_normal((3, 5)).astype(np.float32), random.standard_normal(3)
    plain = rounding.nearest
    monkeypatch.setattr(rounding, "nearest", lambda target, *of: targets.append(target) or plain(target, *of))
    rounding.solved(layer(exact, bias, kind="Gemm", transB=1), iter([(ours, theirs)]), 300)
    root = np.sqrt(rounding.DAMPING * np.square(ours.astype(np.float64)).sum(0).mean())
    stacked = np.vstack([np.column_stack([ours, np.ones(300)]), root * np.eye(5, 6)])
    wanted = np.vstack([theirs @ exact.T + bias, root * exact.T])
    np.testing.assert_allclose(targets[0], np.linalg.lstsq(stacked, wanted, rcond=None)[0].T, atol=1e-4)
