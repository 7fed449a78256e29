"""How a GPU computes for a while: TensorFloat-32 or not, and cuDNN's own measuring."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def tuned(device: torch.device, tf32: bool) -> Iterator[None]:
    """On a GPU, for a while: TensorFloat-32 in float32 products and convolutions or not, and cuDNN's own measuring.

    Without it cuDNN's rules choose kernels that take 1.3 to 2.2 times as long (docs/gpu.md). What it chooses may differ
    from one process to the next: whoever asks for ``cudnn.deterministic`` gets the rules instead, and the same bits.
    """
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = tf32, tf32, not cudnn.deterministic
    try:
        with torch.cuda.device(device):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
