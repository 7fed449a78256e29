"""ONNX in floating point → ONNX in 8-bit integers, by onnxruntime's static quantisation.

Weights get one scale per channel, activations one per tensor, fixed from the values that calibration clips give
(Jacob et al. 2018); then weights and biases are rounded so that each layer says what it said before (``rounding``). Where 8 bits are
too few for the maps, weights alone are integers (``weights_alone``). The standardisation of the input stays in floating point: raw MFCC reach hundreds, chroma 1,
and one scale for both would leave the chroma two steps.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.deploy.graph import INPUT, OUTPUT
from pipeline.deploy.rounding import rounded
from pipeline.deploy.weights_alone import weights_alone

if TYPE_CHECKING:
    import onnx

#: Operators that are computed in integers.
QUANTISED = ("Conv", "Gemm", "MatMul", "MaxPool", "Relu", "Add", "Flatten", "Reshape")

#: Clips per step of calibration: bounds the memory for activations.
BATCH = 32

#: Root mean square difference of the logits to those in floating point, over their spread, that is near enough: at 0.008 one held-out
#: clip in 100 gets another class, all of them between two classes as good as tied (docs/students.md), so that of 250 clips half a
#: point's difference is chance; at half of it, seldom. Classes of calibration clips say nothing: the network has learned these, and is sure of them.
ENOUGH = 0.004

#: Clips that tell the ranges of maps, at least. Of 20 clips that they were taken of, integer maps moved a network's logits by 0.003 of
#: their spread, of held-out ones by 0.18, for one of these is louder; ten others did not tell.
FEWEST = 100

#: Layers that stay in floating point, in the order in which they are tried. The output layer is a thousandth of the work and much
#: of the error: its 8 bits are those of the logits; the sum of pooled vectors before it is not rounded then either. The first
#: convolution reads what spreads most, decibels. What is left is the 8 bits of the maps between layers: the fewer of them, the less;
#: at last none (``weights_alone``).
PLAIN, OUTPUT_LAYER, ENDS = "none", "output layer", "first convolution and output layer"
ENDS_AND_SECOND = "first two convolutions and output layer"
WEIGHTS_ALONE = "all maps"
WAYS = (PLAIN, OUTPUT_LAYER, ENDS, ENDS_AND_SECOND, WEIGHTS_ALONE)

#: In the metadata of an int8 file: which of ``WAYS`` it is.
IN_FLOAT = "in_float"


def quantised(model: onnx.ModelProto, features: np.ndarray) -> bytes:
    """The model with weights and, where that is near enough, activations in int8 (QDQ form), calibrated on raw ``features`` (n, feature, bin, frame).

    The clips are of the training folds: nothing is chosen by the held-out one.
    """
    return quantised_by(chosen_way(model, features), model, features)


def chosen_way(model: onnx.ModelProto, features: np.ndarray) -> str:
    """The first of ``WAYS`` whose logits are near ``ENOUGH`` to those in floating point, else the nearest.

    Each is fitted to half of the clips and judged by the others; of less than ``FEWEST`` clips it is ``WEIGHTS_ALONE``.
    """
    if len(features) < FEWEST:
        return WEIGHTS_ALONE
    halves = np.array_split(np.random.default_rng(0).permutation(len(features)), 2)
    fitted, others = (features[np.sort(half)] for half in halves)
    expected = logits(model.SerializeToString(), others)
    spread = np.square(expected - expected.mean(axis=1, keepdims=True)).mean()
    errors: dict[str, float] = {}
    for way in WAYS:
        difference = np.square(logits(quantised_by(way, model, fitted), others) - expected).mean()
        errors[way] = float(np.sqrt(difference / max(spread, 1e-30)))
        if errors[way] <= ENOUGH:
            return way
    return min(errors, key=errors.__getitem__)


def logits(model: bytes, features: np.ndarray) -> np.ndarray:
    """(n, classes) of a model, on one thread."""
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    run = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run
    parts = np.split(features, range(BATCH, len(features), BATCH))
    return np.concatenate([run([OUTPUT], {INPUT: np.ascontiguousarray(part, dtype=np.float32)})[0] for part in parts])


def quantised_by(way: str, model: onnx.ModelProto, features: np.ndarray) -> bytes:
    """One of ``WAYS``. Weights beside integer maps use 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, which 8 would overflow."""
    import onnx  # an extra
    from onnxruntime import quantization  # an extra
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[np.ndarray] = iter(np.split(features, range(BATCH, len(features), BATCH)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: np.ascontiguousarray(batch, dtype=np.float32)}

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # Advice to do what was done the line before.
    try:
        with tempfile.TemporaryDirectory() as name:
            prepared, result = Path(name) / "prepared.onnx", Path(name) / "int8.onnx"
            copy = onnx.ModelProto.FromString(model.SerializeToString())  # what is given is moved out to a file
            # Fuses every convolution with its batch norm, so that the two are one integer operator.
            quant_pre_process(copy, str(prepared), skip_symbolic_shape=True)
            if way == WEIGHTS_ALONE:
                return told(weights_alone(onnx.load(prepared), features), way)
            quantization.quantize_static(
                str(prepared),
                str(result),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=in_float(way, onnx.load(prepared)),
            )
            return told(rounded(onnx.load(result), onnx.load(prepared), features), way)
    finally:
        root.setLevel(level)


def told(model: onnx.ModelProto, way: str) -> bytes:
    model.metadata_props.add(key=IN_FLOAT, value=way)
    return model.SerializeToString()


def way_of(content: bytes) -> str:
    """Which of ``WAYS`` an int8 file is."""
    import onnx  # an extra

    return next(one.value for one in onnx.ModelProto.FromString(content).metadata_props if one.key == IN_FLOAT)


def in_float(way: str, model: onnx.ModelProto) -> list[str]:
    """The names of the layers that stay in floating point, and of the sums between the last two layers."""
    nodes = list(model.graph.node)
    layers = [place for place, node in enumerate(nodes) if node.op_type in ("Conv", "Gemm", "MatMul")]
    if way == PLAIN or not layers:
        return []
    first = layers[: {OUTPUT_LAYER: 0, ENDS: 1, ENDS_AND_SECOND: 2}[way]]
    pooled = nodes[layers[-2] : layers[-1]] if len(layers) > 1 else []
    kept = [nodes[place] for place in (*first, layers[-1])] + [node for node in pooled if node.op_type == "Add"]
    return list(dict.fromkeys(node.name for node in kept))
