"""Where dropout may act in a network that teaches: behind its stages and before its output layer."""

from __future__ import annotations

from torch import Tensor, nn


class Place(nn.Module):
    """Lets everything through. A network that has them may teach with ``teacher_dropout``, which puts masks in their place."""

    def forward(self, x: Tensor) -> Tensor:
        return x
