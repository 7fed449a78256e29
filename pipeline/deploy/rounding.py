"""Weights of an int8 model rounded anew, layer by layer, so that each layer says what it said in floating point.

onnxruntime rounds every weight to the nearest step. Inputs behind a ReLU are all positive and alike from place to place, so
the errors of a layer's weights add up: in 7 bits they moved the logits of a small network by a tenth of their spread. Here each
weight's error is made good by the weights of the layer that are not rounded yet, and at last by its bias:

    T  = argmin ||T X' - W X||² + ||(T - W) sqrt(R)||²      X: the layer's inputs in floating point, X': the inputs it has in integers
    q_j = round(T_j / scale),  T_k -= (T_j - q_j · scale) · U_jk / U_jj for k > j,     U = upper Cholesky factor of (X' X'ᵀ + R)⁻¹

(Frantar et al. 2023, "GPTQ"; that the inputs are those of the integer model, as in Nagel et al. 2020, "Up or down?"; the bias as
in Nagel et al. 2019, "Data-free quantization".) Scales, zero points and operators stay onnxruntime's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.deploy.graph import INPUT

if TYPE_CHECKING:
    import onnx
    import onnxruntime

#: Largest integer of a weight, of 7 of the 8 bits and of all of them.
LARGEST, ALL_BITS = 64, 127

#: Clips and (up to twice as many) places of their maps that stand for all, and clips per step.
CLIPS, PLACES, BATCH = 100, 1 << 16, 20

#: Layers with more inputs a row than this stay as onnxruntime rounded them: so many errors cancel out, and the matrix of the inputs'
#: products grows with the square.
WIDEST = 1200

#: R, as a share of the mean of the diagonal of X' X'ᵀ: what clips do not tell stays as it was.
DAMPING = 0.01


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of the integer model, and the same one in floating point."""

    kind: str
    attributes: dict[str, Any]
    inputs: tuple[str, str]
    """The maps it reads: in the integer model, in floating point."""
    weights: str
    """Integers of the integer model, by initialiser; ``scale`` their steps, (rows,)."""
    scale: np.ndarray
    exact: np.ndarray
    """Weights in floating point, (rows, …)."""
    bias: str
    bias_scale: np.ndarray | None
    """Steps of the bias, (rows,); None where it is in floating point."""
    exact_bias: np.ndarray


def rounded(
    integers: onnx.ModelProto, exact: onnx.ModelProto, features: np.ndarray, largest: int = LARGEST
) -> onnx.ModelProto:
    """``integers`` with other weights, at most ``largest``, and biases in place of its own; ``exact``: the model that it was made of.

    ``features``: (n, feature, bin, frame) raw, of training clips. Layers are taken in their order, each with what the ones before
    it now say. What has no bias, or is neither a 2-D convolution of one group nor a ``Gemm`` of rows of weights, stays as it is; so do
    weights that several layers share: what is best for the last of them is wrong for the others. On one thread: the same bytes on any
    number of cores, and products so small cost ten times the CPU time where threads wait for each other.
    """
    import onnx  # an extra
    from onnx import numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(integers)
    tensors = {one.name: one for one in result.graph.initializer}
    few = features[:: -(-len(features) // CLIPS)]
    with threadpool_limits(1):
        for layer in layers(integers, exact):
            before = zip(maps(result, layer.inputs[0], few), maps(exact, layer.inputs[1], few), strict=True)
            weights, bias = solved(layer, before, len(few), largest)
            tensors[layer.weights].CopyFrom(numpy_helper.from_array(weights.astype(np.int8), layer.weights))
            stored = bias.astype(np.float32)
            if layer.bias_scale is not None:
                stored = np.clip(np.round(bias / layer.bias_scale), -(2**31), 2**31 - 1).astype(np.int32)
            tensors[layer.bias].CopyFrom(numpy_helper.from_array(stored, layer.bias))
    return result


def layers(integers: onnx.ModelProto, exact: onnx.ModelProto) -> Iterator[Layer]:
    """The layers that can be rounded anew, in their order."""
    from onnx import helper, numpy_helper

    values = {one.name: numpy_helper.to_array(one) for one in integers.graph.initializer}
    floats = {one.name: numpy_helper.to_array(one) for one in exact.graph.initializer}
    before = {node.output[0]: node for node in integers.graph.node if node.op_type == "DequantizeLinear"}
    same = {node.name: node for node in exact.graph.node}
    readers = Counter(name for node in exact.graph.node for name in node.input)
    for node in integers.graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) != 3 or node.input[1] not in before:
            continue
        twin = same[node.name]
        weights = before[node.input[1]].input
        bias = before[node.input[2]].input if node.input[2] in before else node.input[2:]
        if not {weights[0], bias[0]} <= set(values) or not set(twin.input[1:]) <= set(floats):
            continue
        layer = Layer(
            kind=node.op_type,
            attributes={one.name: helper.get_attribute_value(one) for one in node.attribute},
            inputs=(node.input[0], twin.input[0]),
            weights=weights[0],
            scale=values[weights[1]].astype(np.float64),
            exact=floats[twin.input[1]],
            bias=bias[0],
            bias_scale=values[bias[1]].astype(np.float64) if len(bias) > 1 else None,
            exact_bias=floats[twin.input[2]].astype(np.float64),
        )
        if understood(layer) and readers[twin.input[1]] == 1 and (len(bias) > 1 or readers[twin.input[2]] == 1):
            yield layer


def understood(layer: Layer) -> bool:
    about = layer.attributes
    if layer.exact[0].size > WIDEST or layer.scale.shape != layer.exact.shape[:1]:
        return False
    if layer.kind == "Gemm":
        return (
            bool(about.get("transB")) and not about.get("transA") and about.get("alpha", 1) == about.get("beta", 1) == 1
        )
    return layer.exact.ndim == 4 and about.get("group", 1) == 1 and about.get("auto_pad", b"NOTSET") == b"NOTSET"


def maps(model: onnx.ModelProto, name: str, features: np.ndarray) -> Iterator[np.ndarray]:
    """The tensor ``name`` of the clips, ``BATCH`` by ``BATCH``."""
    run = None if name == INPUT else up_to(model, name).run
    for start in range(0, len(features), BATCH):
        clips = np.ascontiguousarray(features[start : start + BATCH], dtype=np.float32)
        yield clips if run is None else run([name], {INPUT: clips})[0]


def up_to(model: onnx.ModelProto, name: str) -> onnxruntime.InferenceSession:
    """A session, on one thread, of the nodes before the tensor ``name`` and the one that makes it."""
    import onnx  # extras, both
    import onnxruntime

    part = onnx.ModelProto()
    part.CopyFrom(model)
    last = next(place for place, node in enumerate(model.graph.node) if name in node.output)
    del part.graph.node[last + 1 :], part.graph.output[:]
    part.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])


def columns(layer: Layer, values: np.ndarray, clips: int) -> np.ndarray:
    """(inputs a row + 1, places): what each weight of a row is multiplied with, and ones for the bias; of all ``clips`` about ``PLACES``."""
    if layer.kind == "Gemm":
        read = values.T
    else:
        height, width = layer.exact.shape[2:]
        about = layer.attributes
        top, left, bottom, right = about.get("pads", (0, 0, 0, 0))
        (down, across), (tall, wide) = about.get("strides", (1, 1)), about.get("dilations", (1, 1))
        padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
        area = (tall * (height - 1) + 1, wide * (width - 1) + 1)
        seen = np.lib.stride_tricks.sliding_window_view(padded, area, axis=(2, 3))[
            :, :, ::down, ::across, ::tall, ::wide
        ]
        # Of a clip's places evenly spread ones: neighbours say much the same.
        rows, places = seen.shape[2:4]
        chosen = np.arange(0, rows * places, max(1, rows * places * clips // PLACES))
        read = seen[:, :, chosen // places, chosen % places].transpose(1, 3, 4, 0, 2).reshape(layer.exact[0].size, -1)
    return np.concatenate([read, np.ones((1, read.shape[1]), np.float32)])


def solved(
    layer: Layer, before: Iterator[tuple[np.ndarray, np.ndarray]], clips: int, largest: int = LARGEST
) -> tuple[np.ndarray, np.ndarray]:
    """Integers of the weights, shaped as these, and the bias (rows,) float64.

    ``before``: what the layer reads in integers (dequantised) and in floating point, batch by batch, of ``clips`` clips.
    """
    count = layer.exact[0].size
    products, crossed = np.zeros((2, count + 1, count + 1))
    for ours, theirs in before:
        read = columns(layer, ours, clips)
        products += read @ read.T
        crossed += columns(layer, theirs, clips) @ read.T
    wanted = np.concatenate([layer.exact.reshape(-1, count), layer.exact_bias[:, None]], axis=1, dtype=np.float64)
    damped = np.append(np.full(count, DAMPING * products.diagonal()[:-1].mean() + 1e-12), 1e-12)
    means = wanted @ crossed[:, -1]
    regular = products + np.diag(damped)
    target = np.linalg.solve(regular, (wanted @ crossed + wanted * damped).T).T
    steps = nearest(target, regular, layer.scale, largest)
    bias = (means - (steps * layer.scale[:, None]) @ products[:-1, -1]) / products[-1, -1]
    return steps.reshape(layer.exact.shape), bias


def nearest(target: np.ndarray, products: np.ndarray, scale: np.ndarray, largest: int = LARGEST) -> np.ndarray:
    """Integers (rows, n) near ``target`` (rows, n + 1) where inputs have ``products`` (n + 1, n + 1); the last column is the bias, which is not rounded."""
    left = target.copy()
    upper = np.linalg.cholesky(np.linalg.inv(products)).T
    steps = np.empty((len(left), left.shape[1] - 1))
    for place in range(steps.shape[1]):
        steps[:, place] = np.clip(np.round(left[:, place] / scale), -largest, largest)
        missed = (left[:, place] - steps[:, place] * scale) / upper[place, place]
        left[:, place:] -= missed[:, None] * upper[place, place:]
    return steps
