"""A network → an ONNX model: raw features in, logits out, any batch size."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.models import Network

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "features", "logits"

#: In the metadata of a file whose run was calibrated: what the logits are divided by for probabilities.
TEMPERATURE = "temperature"

#: In the metadata of a file whose clips have several labels: what makes probabilities of logits, each class by itself.
ACTIVATION, SIGMOID = "activation", "sigmoid"

#: Operators of 2022, which every onnxruntime that the extra allows can run.
OPSET = 17


class Logits(nn.Module):
    """Raw features (batch, channel, bin, frame) → logits (batch, class)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).logits


def graph(network: Network) -> onnx.ModelProto:
    """The ONNX model of a network in evaluation mode: "features" → "logits", any batch size.

    By the exporter that traces: torch's newer one needs a package more (onnxscript) and gives the same operators.
    """
    import onnx  # an extra

    example = torch.zeros(2, *network.shape)
    axes = {name: {0: "batch"} for name in (INPUT, OUTPUT)}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Of Python conditions (all of them on shapes that are fixed here) and of the exporter's age.
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            Logits(network).eval(),
            (example,),
            str(file),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    return model
