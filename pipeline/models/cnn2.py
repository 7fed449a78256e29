"""The student of the paper: two convolutions (Cho et al. 2023); 116,538 parameters at (5, 20, 173) and 10 classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import InputError
from pipeline.models.dropout import Dropout
from pipeline.models.first_weights import draw_uniform
from pipeline.models.outputs import Outputs
from pipeline.models.places import Place


class cnn2(nn.Module):
    """3 × 3 to 32 and to 16 channels, each with ReLU and 2 × 2 max-pooling; linear to 32, ReLU; linear to the classes.

    ``embedding``: the flattened second convolution (3,440); ``hidden``: the 32; ``map1`` and ``map2``: the pooled
    convolutions before their ReLU.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 4:
            raise InputError(f"cnn2: input of {height} × {width}; expected at least 4 × 4 (it is halved twice)")
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 16, 3, padding=1)
        self.behind1, self.behind2, self.before_output = Place(), Place(), Place()
        self.linear1 = nn.Linear(16 * (height // 4) * (width // 4), 32)
        self.linear2 = nn.Linear(32, classes)
        self.dropout1, self.dropout2 = Dropout(), Dropout()

    def forward(self, x: Tensor) -> Outputs:
        # ReLU after the pooling: the same values and gradients as before it, on a quarter of the elements.
        map1 = F.max_pool2d(self.conv1(x), 2)
        map2 = F.max_pool2d(self.conv2(self.behind1(F.relu(map1))), 2)
        embedding = F.relu(map2).flatten(1)
        hidden = F.relu(self.linear1(self.dropout1(self.behind2(embedding))))
        logits = self.linear2(self.dropout2(self.before_output(hidden)))
        return Outputs(embedding=embedding, hidden=hidden, logits=logits, map1=map1, map2=map2)

    def draw(self, generator: torch.Generator) -> None:
        """First weights: torch's default, uniform in ±1/√fan_in."""
        for layer in (self.conv1, self.conv2, self.linear1, self.linear2):
            draw_uniform(layer, generator)
