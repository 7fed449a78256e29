"""Features and student joined: one ONNX model of ordinary operators."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import FeatureSpec
from pipeline.deploy.graph import ACTIVATION, INPUT, OPSET, OUTPUT, SIGMOID, TEMPERATURE
from pipeline.deploy.one_file import Form
from pipeline.features.graph import Features
from pipeline.features.graph.resampling import Resampler

if TYPE_CHECKING:
    import onnx

SAMPLES, PROBABILITIES = "samples", "probabilities"


class Front(nn.Module):
    """Samples (batch, n ≥ 1) at a rate → features (batch, feature, bin, frame); a short sound is filled up with zeros, a long one cut."""

    def __init__(self, spec: FeatureSpec, rate: int, *, half: bool) -> None:
        super().__init__()
        self.length = spec.samples
        self.resampler = Resampler(rate, spec.sr, spec.samples, half=half) if rate != spec.sr else None
        self.features = Features(spec, half=half)

    def forward(self, samples: Tensor) -> Tensor:
        if self.resampler is not None:
            return self.features(self.resampler(samples))
        return self.features(functional.pad(samples, (0, self.length))[:, : self.length])


def front(spec: FeatureSpec, rate: int, *, half: bool) -> onnx.ModelProto:
    """The ONNX model of ``Front``."""
    import onnx  # an extra

    module = Front(spec, rate, half=half).eval()
    axes = {SAMPLES: {0: "batch", 1: "samples"}, INPUT: {0: "batch"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Of Python conditions (all of them on shapes that are fixed here) and of the exporter's age.
        warnings.simplefilter("ignore")
        file = Path(folder) / "front.onnx"
        torch.onnx.export(
            module,
            (torch.zeros(2, spec.samples // 2 + 1),),
            str(file),
            input_names=[SAMPLES],
            output_names=[INPUT],
            dynamic_axes=axes,
            opset_version=OPSET,
            do_constant_folding=not half,  # it would keep the float16 banks in float32
            dynamo=False,
        )
        return onnx.load(file)


def joined(
    features: onnx.ModelProto, student: onnx.ModelProto, form: Form, about: Mapping[str, str]
) -> onnx.ModelProto:
    """``features`` before ``student``, probabilities behind it; ``about`` becomes the file's metadata."""
    import onnx  # an extra
    from onnx import compose, helper

    parts = [onnx.ModelProto.FromString(part.SerializeToString()) for part in (features, student)]
    for part in parts:
        part.ir_version = min(one.ir_version for one in parts)
        # The quantiser names domains that it then does not use; the checker below refuses one that is used.
        del part.opset_import[:]
        part.opset_import.append(helper.make_opsetid("", OPSET))
    model = compose.merge_models(parts[0], parts[1], io_map=[(INPUT, INPUT)], prefix2="student/")
    logits = f"student/{OUTPUT}"
    model.graph.node.append(helper.make_node("Identity", [logits], [OUTPUT]))
    scaled = logits
    if (temperature := float(about.get(TEMPERATURE, 1))) != 1:
        scaled = f"student/{TEMPERATURE}"
        value = helper.make_tensor("divisor", onnx.TensorProto.FLOAT, [], [temperature])
        model.graph.initializer.append(value)
        model.graph.node.append(helper.make_node("Div", [logits, value.name], [scaled]))
    if about.get(ACTIVATION) == SIGMOID:
        model.graph.node.append(helper.make_node("Sigmoid", [scaled], [PROBABILITIES]))
    else:
        model.graph.node.append(helper.make_node("Softmax", [scaled], [PROBABILITIES], axis=1))
    shape = ["batch", model.graph.output[0].type.tensor_type.shape.dim[1].dim_value]
    del model.graph.output[:]
    for name in (OUTPUT, PROBABILITIES):
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    remove_repetitions(model.graph)
    shorten_names(model.graph)
    del model.opset_import[1:]  # one of each part
    model.producer_name, model.producer_version, model.doc_string = "audio-rkd", about.get("version", ""), ""
    model.graph.name = "student-sound"
    helper.set_model_props(model, {**about, "rate": str(form.rate)})
    onnx.checker.check_model(model, full_check=True)
    return model


def remove_repetitions(graph: onnx.GraphProto) -> None:
    """Keep one of nodes that compute the same of the same inputs, and of equal constants: the exporter writes each anew.

    Four in ten nodes are of that kind. No operator of the graph is random, so the outputs are equal.
    """
    final = {value.name for value in graph.output}
    instead: dict[str, str] = {}
    kept: dict[tuple[object, ...], onnx.NodeProto | onnx.TensorProto] = {}
    tensors, nodes = list(graph.initializer), list(graph.node)
    del graph.initializer[:], graph.node[:]
    for tensor in tensors:
        key = (tensor.data_type, *tensor.dims, tensor.raw_data)
        first = kept.setdefault(key, tensor) if tensor.raw_data else tensor
        if first is tensor:
            graph.initializer.append(tensor)
        else:
            instead[tensor.name] = first.name
    for node in nodes:
        node.input[:] = [instead.get(name, name) for name in node.input]
        attributes = tuple(sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute))
        key = (node.op_type, node.domain, *node.input, attributes)
        first = node if final & set(node.output) else kept.setdefault(key, node)
        if first is node:
            graph.node.append(node)
        else:
            instead |= dict(zip(node.output, first.output))


def shorten_names(graph: onnx.GraphProto) -> None:
    """Numbers in place of the exporter's paths, which are a tenth of the file; inputs, outputs and the features keep their names."""
    kept = {value.name for value in (*graph.input, *graph.output)} | {"", INPUT}
    numbers: dict[str, str] = {}

    def short(name: str) -> str:
        return name if name in kept else numbers.setdefault(name, str(len(numbers)))

    for node in graph.node:
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
        node.name, node.doc_string = "", ""
    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    del graph.value_info[:]


def described(spec: FeatureSpec, classes: list[str], **more: str) -> dict[str, str]:
    """The metadata of a file: class names in the order of the logits, how long a sound may be, and what is given."""
    return {
        "classes": json.dumps(classes, ensure_ascii=False),
        "seconds": f"{spec.seconds:g}",
        "full_scale": "1.0",
        **more,
    }
