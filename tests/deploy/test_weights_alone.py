"""Weights alone in int8: a network of torch with the same rounded weights, and what stays as it was."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from pipeline import models
from pipeline.deploy import int8, rounding, weights_alone
from pipeline.deploy.graph import graph

RANDOM = np.random.default_rng
LAYERS = ["stages.0.0", "stages.1.0", "stages.2.0", "stages.3.0", "linear"]


def folded_network() -> models.Network:
    """``tiny`` whose batch norm does nothing, so that its weights are those of the file."""
    network = models.network("tiny", (1, 16, 40), 5, seed=1).eval()
    for stage in network.body.stages:
        stage[1].eps = 0.0
    return network


def tensors(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


@pytest.fixture(scope="module")
def made() -> tuple[onnx.ModelProto, onnx.ModelProto, np.ndarray]:
    """A network's ONNX model, the one of int8 weights, and clips that it was not rounded by."""
    values = np.abs(RANDOM(0).standard_normal((96, 1, 16, 40)) + 1).astype(np.float32)
    exact = graph(folded_network())
    content = int8.quantised_by(int8.WEIGHTS_ALONE, exact, values[:64])
    return exact, onnx.load_from_string(content), values[64:]


def test_it_is_the_network_with_integers_times_steps_for_weights(made) -> None:
    _, model, values = made
    stored = tensors(model)
    integers = [value for name, value in stored.items() if name.endswith("_quantized")]
    steps = [stored[name.replace("_quantized", "_scale")] for name in stored if name.endswith("_quantized")]
    assert all(one.dtype == np.int8 and np.abs(one.astype(int)).max() <= 127 for one in integers)
    again = folded_network()
    biases = [stored[node.input[2]] for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert sorted(one.shape for one in integers) == sorted(
        again.get_submodule(f"body.{n}").weight.shape for n in LAYERS
    )
    for name, bias in zip(LAYERS, biases, strict=True):
        layer = again.get_submodule(f"body.{name}")
        (place,) = (k for k, one in enumerate(integers) if one.shape == tuple(layer.weight.shape))
        moved = torch.from_numpy(integers[place] * steps[place])
        largest = layer.weight.detach().abs().flatten(1).amax(1)
        assert (steps[place].reshape(-1) == pytest.approx(largest.numpy() / 127, rel=1e-5)) and not torch.equal(
            moved, layer.weight
        )
        layer.weight.data.copy_(moved)
        if name == "linear":
            layer.bias.data.copy_(torch.from_numpy(bias.copy()))
        else:
            again.get_submodule(f"body.{name[:-1]}1").bias.data.copy_(torch.from_numpy(bias.copy()))
    with torch.inference_mode():
        expected = again(torch.from_numpy(values)).logits.numpy()
    np.testing.assert_allclose(int8.logits(model.SerializeToString(), values), expected, atol=1e-5)


def test_it_is_nearer_than_the_nearest_steps_and_than_integer_maps(made) -> None:
    exact, model, values = made
    said = int8.logits(exact.SerializeToString(), values)

    def error(content: bytes) -> float:
        return float(np.sqrt(np.square(int8.logits(content, values) - said).mean()))

    nearest = weights_alone.folded(weights_alone.by_nearest(exact)).SerializeToString()
    ours = error(model.SerializeToString())
    assert ours < 0.3 * error(nearest)
    assert ours < 0.6 * error(int8.quantised_by(int8.ENDS_AND_SECOND, exact, values))


def test_weights_are_stored_once_and_no_operator_computes_in_integers(made) -> None:
    exact, model, _ = made
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert not {"QuantizeLinear", "DequantizeLinear", "BatchNormalization"} & set(kinds)
    assert [kind for kind in kinds if kind in ("Conv", "Gemm")] == ["Conv"] * 4 + ["Gemm"]
    floats = sum(value.size for value in tensors(model).values() if value.dtype == np.float32)
    assert floats < 2 * 117 + 2 * 5 + 2 * 16 + 1  # biases and steps; the standardisation's mean and deviation
    assert len(model.SerializeToString()) < 0.35 * len(exact.SerializeToString())


def small_model(*nodes: onnx.NodeProto, **weights: np.ndarray) -> onnx.ModelProto:
    kind = onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, ["n", 4]) for name in ("features", "logits")]
    stored = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    return helper.make_model(
        helper.make_graph(list(nodes), "small", ends[:1], ends[1:], stored),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def test_what_is_no_row_of_weights_stays_as_it_was() -> None:
    gemm = helper.make_node("Gemm", ["features", "w"], ["logits"], name="columns")
    model = small_model(gemm, w=RANDOM(0).standard_normal((4, 4)))
    assert weights_alone.weights_alone(model, np.ones((3, 4), np.float32)) == model
    rows = helper.make_node("Gemm", ["features", "w"], ["a"], name="rows", transB=1)
    other = helper.make_node("MatMul", ["a", "w"], ["logits"], name="other")
    model = small_model(rows, other, w=RANDOM(0).standard_normal((4, 4)))
    assert weights_alone.weights_alone(model, np.ones((3, 4), np.float32)) == model


def test_a_bias_of_two_layers_and_a_row_of_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is best for the second layer's bias is wrong for the first: both are rounded to the nearest step."""
    weights = RANDOM(0).standard_normal((2, 4, 4))
    weights[:, 1] = 0
    layers = [
        helper.make_node("Gemm", ["features", "w", "b"], ["a"], name="first", transB=1),
        helper.make_node("Gemm", ["a", "v", "b"], ["logits"], name="second", transB=1),
    ]
    model = small_model(*layers, w=weights[0], v=weights[1], b=np.arange(4.0))
    result = weights_alone.weights_alone(model, np.ones((3, 4), np.float32))
    stored = tensors(result)
    assert np.array_equal(stored["b"], np.arange(4)) and np.isfinite(stored["w_scale"]).all()
    for name, exact in zip("wv", weights, strict=True):
        assert (stored[f"{name}_quantized"][1] == 0).all()
        missed = np.abs(stored[f"{name}_quantized"] * stored[f"{name}_scale"] - exact)
        assert (missed <= 0.5001 * stored[f"{name}_scale"]).all() and missed.max() > 0
    assert [one.weights for one in rounding.layers(weights_alone.by_nearest(model), model)] == []


def test_the_way_is_chosen_by_clips_that_it_was_not_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up ways that are exact on their own clips, and integer maps wrong on all others."""
    fitted: list[tuple[str, set[int]]] = []

    def made_by(way: str, _model: object, clips: np.ndarray) -> bytes:
        fitted.append((way, set(clips[:, 0].astype(int))))
        return str(len(fitted) - 1).encode()

    def said(content: bytes, clips: np.ndarray) -> np.ndarray:
        exact = RANDOM(0).standard_normal((1000, 4))[clips[:, 0].astype(int)]
        way, own = fitted[int(content)] if content else ("", set())
        new = np.array([way not in ("", int8.WEIGHTS_ALONE) and one not in own for one in clips[:, 0].astype(int)])
        return exact + 0.1 * new[:, None]

    monkeypatch.setattr(int8, "quantised_by", made_by)
    monkeypatch.setattr(int8, "logits", said)
    model = onnx.ModelProto()  # whose bytes are none
    for count in (int8.FEWEST, 400):
        fitted.clear()
        clips = np.arange(count, dtype=np.float32)[:, None]
        int8.quantised(model, clips)
        assert [way for way, _ in fitted] == [*int8.WAYS, int8.WEIGHTS_ALONE]
        assert fitted[-1][1] == set(range(count)) and all(len(own) == count // 2 for _, own in fitted[:-1])
    assert int8.chosen_way(model, clips[: int8.FEWEST - 1]) == int8.WEIGHTS_ALONE
