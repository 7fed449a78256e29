"""ONNX in floating point → ONNX in 8-bit integers, by onnxruntime's static quantisation.

Weights get one scale per channel, activations one per tensor, fixed from the values that calibration clips give
(Jacob et al. 2018). The standardisation of the input stays in floating point: raw MFCC reach hundreds, chroma 1,
and one scale for both would leave the chroma two steps.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.deploy.graph import INPUT

if TYPE_CHECKING:
    import onnx

#: Operators that are computed in integers.
QUANTISED = ("Conv", "Gemm", "MatMul", "MaxPool", "Relu", "Add", "Flatten", "Reshape")

#: Clips per step of calibration: bounds the memory for activations.
BATCH = 32


def quantised(model: onnx.ModelProto, features: np.ndarray) -> bytes:
    """The model with weights and activations in int8 (QDQ form), calibrated on raw ``features`` (n, feature, bin, frame).

    Weights use 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, which 8 would overflow.
    """
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
            )
            return result.read_bytes()
    finally:
        root.setLevel(level)
