"""Dropout that can be repeated: what it sets to 0 depends on the run, the layer and the run's own step alone.

A run's numbers must not depend on what trains beside it, nor on where it was stopped, so nothing comes from torch's own
generator: the mask is a hash of (key of run and layer, step, place). Key and step are buffers, so they get the runs axis
with the weights and are kept in checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Of 32 bits.
LOW = 0xFFFFFFFF


class Dropout(nn.Module):
    """x of any shape → in training a share ``p`` of its values 0 and the others divided by 1 − p, else x (Srivastava et al. 2014).

    Without ``begin`` it is the identity and has no buffers.
    """

    key: Tensor
    taken: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.p = 0.0

    def begin(self, p: float, key: int) -> None:
        """Set the share, in [0, 1), and what tells this layer's numbers from those of other layers and runs."""
        self.p = p
        self.register_buffer("key", torch.tensor(key & LOW), persistent=False)
        self.register_buffer("taken", torch.tensor(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        place = torch.arange(x.numel(), device=x.device).view(x.shape)
        drawn = hashed(place + hashed(self.taken + hashed(self.key)))
        self.taken.add_(1)
        return torch.where(drawn < self.p * (LOW + 1), 0, x / (1 - self.p))


def hashed(values: Tensor) -> Tensor:
    """int64 in → int64 in [0, 2³²), evenly: the low 32 bits, mixed by shifts and products (Wellons' lowbias32)."""
    mixed = values & LOW
    for factor, shift in ((1, 16), (0x7FEB352D, 15), (0x846CA68B, 16)):
        mixed = mixed * factor & LOW
        mixed = mixed ^ (mixed >> shift)
    return mixed
