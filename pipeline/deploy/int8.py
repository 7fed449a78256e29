"""ONNX in floating point → ONNX in 8-bit integers, by onnxruntime's static quantisation.

Weights get one scale per channel, activations one per tensor, fixed from the values that calibration clips give
(Jacob et al. 2018). The standardisation of the input stays in floating point: raw MFCC reach hundreds, chroma 1,
and one scale for both would leave the chroma two steps.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.deploy.graph import INPUT, OUTPUT

if TYPE_CHECKING:
    import onnx

#: Operators that are computed in integers.
QUANTISED = ("Conv", "Gemm", "MatMul", "MaxPool", "Relu", "Add", "Flatten", "Reshape")

#: Clips per step of calibration: bounds the memory for activations.
BATCH = 32

#: Of the calibration clips: so many in integers of the same class as in floating point are enough.
ENOUGH = 0.995


@dataclass(frozen=True)
class Way:
    """How the ranges of activations are fixed, and which layers stay in floating point."""

    calibration: str
    options: dict[str, Any] = field(default_factory=dict)
    float_ends: bool = False
    """The first convolution and the output layer: a few percent of the work, and where rounding costs most."""


#: In the order in which they are tried: the smallest and largest value there is; without the rarest values, which take the
#: steps from all others; and both with the ends in floating point.
WAYS = (
    Way("MinMax"),
    Way("Percentile", {"CalibPercentile": 99.99}),
    Way("MinMax", float_ends=True),
    Way("Percentile", {"CalibPercentile": 99.99}, float_ends=True),
)


def quantised(model: onnx.ModelProto, features: np.ndarray) -> bytes:
    """The model with weights and activations in int8 (QDQ form), calibrated on raw ``features`` (n, feature, bin, frame).

    The first of ``WAYS`` that gives ``ENOUGH`` of these clips the class that floating point gives them, else that which gives it
    to most; of equals the one whose logits are nearest. The clips are of the training folds: nothing is chosen by the held-out one.
    """
    expected = logits(model.SerializeToString(), features)
    best: tuple[float, float, bytes] | None = None
    for way in WAYS:
        content = quantised_by(way, model, features)
        values = logits(content, features)
        same = float((values.argmax(1) == expected.argmax(1)).mean())
        judged = (same, -float(np.square(values - expected).mean()), content)
        best = judged if best is None else max(best, judged, key=lambda one: one[:2])
        if same >= ENOUGH:
            break
    assert best is not None
    return best[2]


def logits(model: bytes, features: np.ndarray) -> np.ndarray:
    """(n, classes) of a model, on one thread."""
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    run = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run
    parts = np.split(features, range(BATCH, len(features), BATCH))
    return np.concatenate([run([OUTPUT], {INPUT: np.ascontiguousarray(part, dtype=np.float32)})[0] for part in parts])


def quantised_by(way: Way, model: onnx.ModelProto, features: np.ndarray) -> bytes:
    """Weights use 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, which 8 would overflow."""
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
            # Fuses every convolution with its batch norm, so that the two are one integer operator.
            quant_pre_process(model, str(prepared), skip_symbolic_shape=True)
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
                calibrate_method=quantization.CalibrationMethod[way.calibration],
                nodes_to_exclude=ends(onnx.load(prepared)) if way.float_ends else None,
                extra_options=dict(way.options),
            )
            return result.read_bytes()
    finally:
        root.setLevel(level)


def ends(model: onnx.ModelProto) -> list[str]:
    """The names of the first convolution and of the output layer."""
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    return [node.name for node in (layers[0], layers[-1])]
