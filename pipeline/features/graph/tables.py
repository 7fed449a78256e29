"""Constants of the graph, in float32 or, to save space, in float16."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Table(nn.Module):
    """A matrix (row, column) of float32; with ``half`` kept in float16, each column over its largest value.

    ``forward`` gives the matrix in float32. In a graph that is a Cast and a Mul, which a runtime does once when it loads the
    file; a DequantizeLinear would be taken for a product in integers.
    """

    values: Tensor
    largest: Tensor

    def __init__(self, matrix: np.ndarray, *, half: bool) -> None:
        super().__init__()
        self.half_precision = half
        wide = torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
        if half:
            largest = wide.abs().amax(dim=0, keepdim=True)
            largest = torch.where(largest > 0, largest, torch.ones_like(largest))
            self.register_buffer("values", (wide / largest).half())
            self.register_buffer("largest", largest)
        else:
            self.register_buffer("values", wide)

    def forward(self) -> Tensor:
        return self.values.float() * self.largest if self.half_precision else self.values


def constant(values: np.ndarray) -> Tensor:
    """Computed in float64, kept in float32."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
