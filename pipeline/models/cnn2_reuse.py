"""The paper's student with its teacher's output layer (SimKD): 20,698 parameters at (5, 20, 173) and 10 classes, that layer among them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import InputError
from pipeline.models.first_weights import draw_he, draw_uniform
from pipeline.models.outputs import Outputs
from pipeline.models.places import Place
from pipeline.models.residual import average_windows, batch_norm, in_columns

#: The layer that is the teacher's.
REUSES = "linear"

#: What a ``resnet18`` has before its output layer: channels of its last map, how often that is halved, and columns of its average.
CHANNELS, HALVED, COLUMNS = 64, 3, 4

#: The projector's middle channels are these over f.
REDUCTION = 2


class cnn2_reuse(nn.Module):
    """The convolutions of ``cnn2``; a projector from their map to that of a ``resnet18``; and that one's average and output layer.

    Projector: 1 × 1 convolution to K_t / 2 channels, 3 × 3, 1 × 1 to K_t, each with batch norm and ReLU, of the map averaged to the
    teacher's size. ``projected`` (B, 64, ⌈H / 8⌉, ⌈W / 8⌉): what it says, after its ReLU; ``embedding`` = ``hidden``: the 256 of its average,
    which the output layer reads. Chen et al. 2022 (CVPR), as their code, which compares heights alone.
    """

    heights: Tensor
    widths: Tensor
    windows: Tensor

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 4:
            raise InputError(f"cnn2_reuse: input of {height} × {width}; expected at least 4 × 4 (it is halved twice)")
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 16, 3, padding=1)
        self.behind1, self.behind2, self.before_output = Place(), Place(), Place()
        few = CHANNELS // REDUCTION
        self.projector = nn.Sequential(
            nn.Conv2d(16, few, 1, bias=False),
            batch_norm(few),
            nn.ReLU(),
            nn.Conv2d(few, few, 3, padding=1, bias=False),
            batch_norm(few),
            nn.ReLU(),
            nn.Conv2d(few, CHANNELS, 1, bias=False),
            batch_norm(CHANNELS),
        )
        to_height, to_width = (-(-size // 2**HALVED) for size in (height, width))
        self.register_buffer("heights", average_windows(height // 4, to_height), persistent=False)
        self.register_buffer("widths", average_windows(width // 4, to_width), persistent=False)
        self.register_buffer("windows", average_windows(to_width, COLUMNS), persistent=False)
        self.linear = nn.Linear(CHANNELS * COLUMNS, classes)

    def forward(self, x: Tensor) -> Outputs:
        map1 = F.max_pool2d(self.conv1(x), 2)
        map2 = F.max_pool2d(self.conv2(self.behind1(F.relu(map1))), 2)
        averaged = self.heights @ self.behind2(F.relu(map2)) @ self.widths.mT
        projected = F.relu(self.projector(averaged))
        embedding = in_columns(projected, self.windows)
        logits = self.linear(self.before_output(embedding))
        return Outputs(embedding=embedding, hidden=embedding, logits=logits, map1=map1, map2=map2, projected=projected)

    def draw(self, generator: torch.Generator) -> None:
        """First weights: the student's as torch's default, the projector's as He et al. 2015; the output layer's give way to its teacher's."""
        for layer in (self.conv1, self.conv2, self.linear):
            draw_uniform(layer, generator)
        for part in self.projector:
            if isinstance(part, nn.Conv2d):
                draw_he(part, generator)
