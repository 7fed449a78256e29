"""What a clip costs, measured: multiply-adds of a network, times of networks and features on this machine.

Conventions. Multiply-adds are those of convolutions and linear layers, one for each weight and place; batch norm,
ReLU, pooling and standardisation are left out. Times are in ms, the median and the 90th percentile of single calls.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from pipeline import features
from pipeline.config import FeatureSpec
from pipeline.deploy import export
from pipeline.models import Network


@torch.inference_mode()
def multiply_adds(network: Network) -> int:
    """Of one clip through a network, counted at its convolutions and linear layers as they run."""
    counts: list[int] = []

    def count(layer: torch.nn.Module, _: Any, output: torch.Tensor) -> None:
        places = output.shape[-2] * output.shape[-1] if isinstance(layer, nn.Conv2d) else 1
        counts.append(layer.weight.numel() * places)  # type: ignore[index, union-attr, operator]

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        network(torch.zeros(1, *network.shape))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)


def times_ms(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median and 90th percentile of the wall time of ``call``, in ms, after a tenth as many calls of warm-up."""
    for _ in range(max(2, repeats // 10)):
        call()
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        milliseconds.append(1000 * (time.perf_counter() - start))
    return float(np.median(milliseconds)), float(np.percentile(milliseconds, 90))


@contextmanager
def torch_threads(count: int) -> Any:
    """torch on ``count`` threads, and on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def feature_times(spec: FeatureSpec, repeats: int) -> tuple[float, float]:
    """Median and 90th percentile in ms of one clip's features on one thread: of a decaying tone in noise."""
    seconds = np.arange(spec.samples) / spec.sr
    tone = 0.3 * np.sin(2 * np.pi * 440 * seconds) * np.exp(-seconds)
    sound = (tone + 0.01 * np.random.default_rng(0).standard_normal(spec.samples)).astype(np.float32)
    with threadpool_limits(1), torch_threads(1):
        return times_ms(lambda: features.extract(sound, spec), repeats)


@torch.inference_mode()
def torch_times(network: Network, batch: int, threads: int, repeats: int) -> tuple[float, float]:
    values = torch.randn(batch, *network.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), torch_threads(threads):
        return times_ms(lambda: network(values), repeats)


def onnx_times(file: Path, shape: Sequence[int], batch: int, threads: int, repeats: int) -> tuple[float, float]:
    session = export.session(file, threads)
    values = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
    return times_ms(lambda: session.run([export.OUTPUT], {export.INPUT: values}), repeats)


def sound_times(file: Path, samples: int, batch: int, threads: int, repeats: int) -> tuple[float, float]:
    """Of a model from samples to class, on noise of so many samples a clip."""
    session = export.session(file, threads)
    values = 0.1 * np.random.default_rng(0).standard_normal((batch, samples), dtype=np.float32)
    return times_ms(lambda: session.run([export.OUTPUT], {"samples": values}), repeats)


def processor() -> str:
    """The processor's model where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
