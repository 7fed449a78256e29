"""A teacher beside a student that was trained before: what both say of the same input, for one that learns what it missed."""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.models.outputs import Outputs
from pipeline.models.single import Network


class Based(nn.Module):
    """x (B, C, H, W), raw → the teacher's ``Outputs`` and ``base`` (B, D): the student's layer as its adapter makes of it what
    the teacher's embedding is."""

    mean: Tensor

    def __init__(self, teacher: Network, student: Network, layer: str, adapter: Tensor) -> None:
        """``layer``: the student's output that ``adapter`` (D, D_s) is applied to."""
        super().__init__()
        self.name, self.shape, self.classes = teacher.name, teacher.shape, teacher.classes
        self.teacher, self.student, self.layer = teacher, student, layer
        self.register_buffer("mean", teacher.mean.clone())
        self.register_buffer("adapter", adapter.clone())

    def forward(self, x: Tensor) -> Outputs:
        spoken = nn.functional.linear(self.student(x)[self.layer], self.get_buffer("adapter"))
        return Outputs({**self.teacher(x), "base": spoken})
