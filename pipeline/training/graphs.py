"""A step as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def graphed_step(
    take: Callable[[], None], written: Sequence[Tensor], memory: Any = None, warmup: int = 3
) -> Callable[[], None]:
    """``take`` as one CUDA graph: what it does, without the launches. ``written``: every tensor that it writes.

    ``take`` must read and write the same tensors each time and wait for nothing. It is run ``warmup`` times on a
    side stream first, as capturing asks for. After each of these ``written`` is put back to what it was, so that every
    one of them is the step that comes next: those behind it may be past the end of the epoch's tables. ``memory``
    (``torch.cuda.graph_pool_handle``): shared by graphs that are never replayed at the same time and leave nothing
    but ``written`` behind.
    """
    before = [tensor.clone() for tensor in written]

    def put_back() -> None:
        for tensor, old in zip(written, before):
            tensor.copy_(old)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(stream):
            for _ in range(warmup):
                take()
                put_back()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=memory):
            take()
    finally:
        put_back()
    return graph.replay
