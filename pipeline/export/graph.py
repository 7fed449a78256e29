"""A network with R = 1 → an ONNX graph without the runs axis.

torch's exporter records ``x[0]`` and ``unsqueeze(0)`` around every layer of a network with a runs axis. They
change nothing where there is one run, but they cost a copy each, and they keep onnxruntime from fusing a
convolution with its batch norm and from quantising the two together; ``without_runs_axis`` takes them out.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.models import Network

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "features", "logits"

#: Operators of the floating-point opset that onnxruntime 1.18 and newer run; 17 is of 2022.
OPSET = 17

#: Operators that treat every element alike, so that an axis of length 1 may be taken off before or after them.
ELEMENTWISE = ("Sub", "Div", "Add", "Mul", "Relu", "Cast")


class Logits(nn.Module):
    """Raw features (batch, channel, bin, frame) → logits (batch, class)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).logits[0]


def graph(network: Network) -> onnx.ModelProto:
    """The ONNX model of a network with R = 1 in evaluation mode: "features" → "logits", any batch size."""
    import onnx

    example = torch.zeros(2, *network.shape)
    axes = {name: {0: "batch"} for name in (INPUT, OUTPUT)}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Of tracing Python conditions (all of them on shapes that are fixed here) and of the exporter's age: the new
        # one needs a package more and leaves the same detours in the graph.
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.onnx"
        torch.onnx.export(Logits(network).eval(), (example,), str(file), input_names=[INPUT], output_names=[OUTPUT],
                          dynamic_axes=axes, opset_version=OPSET, dynamo=False)  # fmt: skip
        model = without_runs_axis(onnx.load(file))
    onnx.checker.check_model(model, full_check=True)
    return model


def without_runs_axis(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function without the detours ``unsqueeze → element by element → [0]``.

    ``bare`` says of a tensor with a runs axis which tensor it is without one, and where the axis was put. What
    takes the axis off again then reads the bare tensor, and what nobody reads any more is left out. A type cast
    of float to float goes too.
    """
    from onnx import helper, numpy_helper

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    bare: dict[str, tuple[str, int]] = {}
    same: dict[str, str] = {}
    nodes: list[Any] = []
    for node in model.graph.node:
        inputs = [same.get(name, name) for name in node.input]
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        output = node.output[0]
        node = helper.make_node(node.op_type, inputs, list(node.output), node.name, **given)
        nodes.append(node)
        first = bare.get(inputs[0]) if inputs else None
        if node.op_type == "Constant":
            values[output] = numpy_helper.to_array(given["value"])
        elif node.op_type == "Identity" or (node.op_type == "Cast" and given["to"] == 1):
            same[output] = inputs[0]
        elif node.op_type == "Unsqueeze" and inputs[1] in values and values[inputs[1]].size == 1:
            bare[output] = (inputs[0], int(values[inputs[1]].item()))
        elif node.op_type == "Transpose" and first and moved_one(given["perm"], first[1]):
            bare[output] = (first[0], given["perm"].index(first[1]))
        elif (
            node.op_type == "Gather"
            and first
            and first[1] == given.get("axis", 0)
            and values[inputs[1]].ndim == 0
        ):
            same[output] = first[0]
        elif node.op_type == "Reshape" and first and first[1] == 0 and inputs[1] not in values:
            # The one reshape to a computed shape is flatten(2), all but run and batch.
            nodes.append(
                helper.make_node("Flatten", [first[0]], [f"{output}/bare"], f"{node.name}/bare", axis=1)
            )
            bare[output] = (f"{output}/bare", 0)
        elif (
            node.op_type in ELEMENTWISE
            and first
            and all(n in values or bare.get(n, ("", -1))[1] == first[1] for n in inputs)
        ):
            # A value's own runs axis, the first of four, is of length 1 and fits the batch as it is.
            nodes.append(helper.make_node(node.op_type, [bare[n][0] if n in bare else n for n in inputs],
                                          [f"{output}/bare"], f"{node.name}/bare", **given))  # fmt: skip
            bare[output] = (f"{output}/bare", first[1])
    last = model.graph.output[0].name
    final = same.get(last, last)
    kept = reached(nodes, final)
    for node in kept:
        node.output[:] = [last if name == final else name for name in node.output]
    return rebuilt(model, kept)


def moved_one(perm: list[int], axis: int) -> bool:
    """Whether a transposition moves that axis alone."""
    others = [a for a in perm if a != axis]
    return others == sorted(others)


def reached(nodes: list[Any], output: str) -> list[Any]:
    """The nodes that ``output`` depends on, in their order."""
    needed, kept = {output}, []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    return kept[::-1]


def rebuilt(model: onnx.ModelProto, nodes: list[Any]) -> onnx.ModelProto:
    """``model`` with these nodes, and with the initial values that they read."""
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    for field, value in ((model.graph.node, nodes), (model.graph.initializer, kept)):
        del field[:]
        field.extend(value)
    del model.graph.value_info[:]
    return model
