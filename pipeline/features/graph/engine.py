"""The graph as stage one's engine (``features.engine = "torch"``): many clips at a time, on a GPU where there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch

from pipeline.config import FeatureSpec
from pipeline.features.graph import Features

#: Clips of 4 s at a time: some 20 MB each on the way.
BATCH = 64


@torch.inference_mode()
def batched(clips: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """(clips, n) float32 → (clips, features in use, bins, 1 + n // hop_length) float32, each clip on its own.

    As near to ``features.extract`` of the default engine as docs/features.md says; on a GPU without TensorFloat-32, which has
    float16's mantissa.
    """
    if clips.shape[1] != spec.samples:
        spec = dataclasses.replace(spec, seconds=clips.shape[1] / spec.sr)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = features_on(spec, device)
    with without_tf32():
        parts = [module(part.to(device)).cpu() for part in torch.from_numpy(clips).split(BATCH)]
    return torch.cat(parts).numpy()


@lru_cache(maxsize=4)
def features_on(spec: FeatureSpec, device: str) -> Features:
    return Features(spec).to(device).eval()


@contextmanager
def without_tf32() -> Iterator[None]:
    """Products and convolutions in all of float32, and afterwards as before."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
