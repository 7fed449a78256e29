"""Multiplications of a network's way forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class _Counter(TorchDispatchMode):
    """What ``torch.utils.flop_counter.FlopCounterMode`` counts, which would import torch's compiler first: two seconds of a processor."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def multiplications(network: nn.Module, *inputs: Any) -> int:
    """Of ``network(*inputs)`` in its matrix products and convolutions, by torch's own formulas; an addition goes with each."""
    with _Counter() as counter, torch.no_grad():
        network(*inputs)
    return counter.flops // 2
