"""The paper's student with an angular output layer, for the loss ``margin``; 116,528 parameters at (5, 20, 173) and 10 classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.cnn2 import cnn2
from pipeline.models.outputs import Outputs

#: Outputs are cosines times this, so that softmax can come near to 1: of ten classes at most 1 − 9 e^(−16) on the right one.
SCALE = 16.0

#: A shorter row of ``hidden`` or of the weights counts as this long, so that its cosines fade to 0. Constant, for what a clip
#: is must not depend on the clips beside it.
SHORTEST = 1e-3


class cnn2_cosine(cnn2):
    """``cnn2`` whose ``logits`` are ``SCALE`` · cos θ_c, θ_c the angle between ``hidden`` and the weights of class c; no bias.

    ``cosines`` (B, classes): cos θ_c. Svitov and Alyamkin 2020.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__(shape, classes)
        self.linear2 = Cosines(32, classes)

    def forward(self, x: Tensor) -> Outputs:
        outputs = super().forward(x)
        return Outputs({**outputs, "cosines": outputs.logits / SCALE})


class Cosines(nn.Linear):
    """x (B, D) → ``SCALE`` · cos of the angle between each row and each class's weights, (B, classes); 0 of a zero row."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(inputs, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, weights = unit(x.to(self.weight.dtype)), unit(self.weight)
        # A sum and no product of matrices, which autocast would compute in bfloat16: a margin needs more digits.
        return SCALE * (rows.unsqueeze(-2) * weights).sum(-1)


def unit(rows: Tensor) -> Tensor:
    """v / max(|v|, ``SHORTEST``), with a gradient of 0 through the length of shorter ones."""
    lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / lengths.clamp_min(SHORTEST)
