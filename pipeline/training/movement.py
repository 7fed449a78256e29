"""How far the weights of each run's network move in an epoch, of runs that keep epochs: what ``explain`` adds up."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from pipeline.losses.learner import Learner

#: Keys of an epoch's record: the length of each tensor's step in it; of the first epoch, each tensor's length before it.
MOVED, FIRST = "moved", "first_norm"


class Movement:
    """The networks' weights at the beginning of an epoch, without adapters and statistics."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.before = {name: tensor.detach().clone() for name, tensor in self.weights().items()}

    def weights(self) -> dict[str, Tensor]:
        """Name in the network → (R, ...)."""
        named = {self.learner.own_name(name): tensor for name, tensor in self.learner.stacked.named_parameters()}
        return {name: tensor for name, tensor in named.items() if name}

    def figures(self, run: int, first: bool) -> dict[str, dict[str, float]]:
        """Of one run, tensor by tensor, for its record: ‖w_k − w_{k−1}‖₂, and ``first`` ‖w_0‖₂ too. Then the next epoch begins."""
        told: dict[str, dict[str, float]] = {FIRST: {}} if first else {}
        told[MOVED] = {}
        for name, tensor in self.weights().items():
            before = self.before[name][run]
            if first:
                told[FIRST][name] = length(before)
            told[MOVED][name] = length(tensor.detach()[run].double() - before.double())
            before.copy_(tensor.detach()[run])
        return told


def length(tensor: Tensor) -> float:
    """‖·‖₂ in float64, added up by numpy: torch's sum may depend on the number of threads."""
    return math.sqrt(float(np.sum(np.square(tensor.double().cpu().contiguous().numpy()))))
