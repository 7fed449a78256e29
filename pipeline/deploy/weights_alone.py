"""ONNX whose weights are 8-bit integers and whose maps are in floating point.

Half of the error of small networks in 8 bits is that of the maps between their layers, which no choice of weights takes back. A weight is
stored as an integer and a step per row, ``W = q · step``, by ``Cast`` and ``Mul``: a runtime multiplies them once, when it loads
the file, and then computes as in floating point. (``DequantizeLinear`` is kept by onnxruntime for integer operators, and done in each run.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.deploy.rounding import ALL_BITS, rounded

if TYPE_CHECKING:
    import onnx


def weights_alone(exact: onnx.ModelProto, features: np.ndarray) -> onnx.ModelProto:
    """``exact`` with the weights of its layers in int8, rounded on raw ``features`` (n, feature, bin, frame) of training clips (``rounded``).

    ``exact``: convolutions without a batch norm behind them. Layers that read no stored weights, or by columns, stay as they are.
    """
    return folded(rounded(by_nearest(exact), exact, features, ALL_BITS))


def by_nearest(exact: onnx.ModelProto) -> onnx.ModelProto:
    """Weights rounded to the nearest step, the largest of a row at 127, behind ``DequantizeLinear``."""
    import onnx
    from onnx import helper, numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(exact)
    graph = result.graph
    stored = {one.name: one for one in graph.initializer}
    for name in dict.fromkeys(node.input[1] for node in graph.node if by_rows(node)):
        if name not in stored or any(name in node.input for node in graph.node if not by_rows(node)):
            continue
        weights = numpy_helper.to_array(stored[name])
        largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)))
        steps = (np.where(largest > 0, largest, 1) / ALL_BITS).astype(np.float32)
        integers = np.round(weights / shaped(steps, weights.ndim)).astype(np.int8)
        graph.initializer.remove(stored[name])
        graph.initializer.append(numpy_helper.from_array(integers, f"{name}_quantized"))
        graph.initializer.append(numpy_helper.from_array(steps, f"{name}_scale"))
        read = [f"{name}_quantized", f"{name}_scale"]
        graph.node.insert(0, helper.make_node("DequantizeLinear", read, [name], name=f"{name}_steps", axis=0))
    return result


def by_rows(node: onnx.NodeProto) -> bool:
    """Whether each row of a layer's weights makes one of its outputs."""
    by_columns = not any(one.name == "transB" and one.i for one in node.attribute)
    return node.op_type == "Conv" or (node.op_type == "Gemm" and not by_columns)


def shaped(steps: np.ndarray, dimensions: int) -> np.ndarray:
    return steps.reshape(-1, *[1] * (dimensions - 1))


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with ``Cast`` and ``Mul`` in place of each ``DequantizeLinear``."""
    import onnx
    from onnx import helper, numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    stored = {one.name: one for one in result.graph.initializer}
    del result.graph.node[:]
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear":
            result.graph.node.append(node)
            continue
        integers, steps = node.input
        dimensions = len(stored[integers].dims)
        values = shaped(numpy_helper.to_array(stored[steps]), dimensions)
        stored[steps].CopyFrom(numpy_helper.from_array(values, steps))
        cast = helper.make_node("Cast", [integers], [f"{integers}_float"], name=f"{node.name}_cast", to=1)
        result.graph.node.extend(
            [cast, helper.make_node("Mul", [cast.output[0], steps], list(node.output), name=node.name)]
        )
    return result
