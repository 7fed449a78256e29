"""The paper's student with its teacher's output layer behind its 32 hidden numbers (SimKD on vectors): 127,226 parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.cnn2 import cnn2
from pipeline.models.first_weights import draw_uniform
from pipeline.models.outputs import Outputs

#: The layer that is the teacher's.
REUSES = "linear"

#: What the output layer of ``resnet18``, ``resnet10`` and ``large`` reads.
WIDTH = 256


class cnn2_reuse_hidden(cnn2):
    """``cnn2`` up to its 32; p = relu(W h + b) of these, 256 numbers; and its teacher's output layer of p.

    ``projected`` = ``hidden`` = ``embedding``: p. Chen et al. 2022 (CVPR) project maps (``cnn2_reuse``); METHODS2, 3.3.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__(shape, classes)
        del self.linear2
        self.projector = nn.Linear(32, WIDTH)
        self.linear = nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Outputs:
        map1 = F.max_pool2d(self.conv1(x), 2)
        map2 = F.max_pool2d(self.conv2(self.behind1(F.relu(map1))), 2)
        flat = F.relu(map2).flatten(1)
        hidden = F.relu(self.linear1(self.dropout1(self.behind2(flat))))
        projected = F.relu(self.projector(self.dropout2(hidden)))
        logits = self.linear(self.before_output(projected))
        return Outputs(embedding=projected, hidden=projected, logits=logits, map1=map1, map2=map2, projected=projected)

    def draw(self, generator: torch.Generator) -> None:
        """First weights: torch's default, uniform in ±1/√fan_in; the output layer's give way to its teacher's."""
        for layer in (self.conv1, self.conv2, self.linear1, self.projector, self.linear):
            draw_uniform(layer, generator)
