"""Speed of a step: run-steps per second by layout, settings and pack size, the floor beneath it, and where time goes."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.gpu_packs import (
    Clock,
    Data,
    Sizes,
    endless,
    free,
    made_pack,
    made_up,
    named_error,
    speed_runs,
    ways,
)
from bench.training import obvious_steps, rate
from pipeline import models
from pipeline.config import TrainSettings
from pipeline.losses.learner import LAYOUTS
from pipeline.training.tuning import tuned

BATCH = 8
Row = dict[str, Any]


def measured(
    data: Data,
    name: str,
    count: int,
    layout: str,
    graph: bool,
    size: Sizes,
    device: torch.device,
    **changed: Any,
) -> Row:
    """Run-steps per second: the median of three measurements, and their spread; peak memory of the card."""
    settings = replace(TrainSettings(model=name, lr=1e-3), **changed)
    row: Row = {"network": name, "runs": count, "layout": layout, "way": "graph" if graph else "eager"}
    try:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        pack = made_pack(data, speed_runs(name, count, len(data.samples)), settings, size.classes, layout)
        take = endless(pack, graph)
        take()
        take()
        rates = [count * rate(take, size.seconds / 3, device) for _ in range(3)]
        middle = statistics.median(rates)
        row |= {
            "run_steps_per_second": middle,
            "spread": [min(rates), max(rates)],
            "ms_per_step": 1e3 * count / middle,
        }
        if device.type == "cuda":
            row["GiB"] = torch.cuda.max_memory_allocated(device) / 2**30
    except Exception as error:
        row["error"] = named_error(error)
    return row


def data_of(size: Sizes, device: torch.device) -> Data:
    torch.manual_seed(0)
    return made_up(1024 if device.type == "cuda" else 128, size.shape, size.classes, device)


def rates(size: Sizes, device: torch.device, clock: Clock) -> dict[str, Any]:
    """A row per network, pack size, layout and way; ``times_obvious`` against torch's own modules, eager, DataLoader."""
    rows: list[Row] = []
    data = data_of(size, device)
    base = {
        name: obvious_rate(name, data, size, device) for name in ("cnn2", "resnet18")
    }  # in torch's default settings
    with tuned(device, False):
        for count in size.counts:
            for name in ("cnn2", "resnet18"):
                for layout in LAYOUTS[::-1]:
                    for way in ways(device):
                        if clock.left() < 1:
                            rows.append(
                                {
                                    "network": name,
                                    "runs": count,
                                    "layout": layout,
                                    "way": way,
                                    "error": "the time of this part is up",
                                }
                            )
                            continue
                        row = measured(data, name, count, layout, way == "graph", size, device)
                        if "run_steps_per_second" in row and base[name]:
                            row["times_obvious"] = row["run_steps_per_second"] / base[name]
                        rows.append(row)
                        free(device)
    return {"obvious": base, "rows": rows, "winners": winners(rows)}


def obvious_rate(name: str, data: Data, size: Sizes, device: torch.device) -> float | None:
    """Steps per second of one ordinary run; None where it is made for another shape than this one."""
    if size.shape != (5, 20, 173):
        data = made_up(64, (5, 20, 173), 10, device)
    steps = obvious_steps(name, data.samples, data.labels, data.teacher, device)
    next(steps)
    next(steps)
    return statistics.median(rate(lambda: next(steps), size.seconds, device) for _ in range(3))


def winners(rows: list[Row]) -> dict[str, dict[str, str]]:
    """Network → runs → the fastest layout and way."""
    fastest: dict[str, dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: row.get("run_steps_per_second", 0)):
        if "run_steps_per_second" in row:
            fastest.setdefault(row["network"], {})[str(row["runs"])] = f"{row['layout']}, {row['way']}"
    return fastest


@contextmanager
def deterministic_cudnn(wanted: bool) -> Iterator[None]:
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def settings_of_torch(size: Sizes, device: torch.device, clock: Clock) -> dict[str, Any]:
    """What cuDNN's deterministic kernels, TensorFloat-32 and bfloat16 change, for the default layout."""
    rows: list[Row] = []
    data, graph, count = data_of(size, device), device.type == "cuda", size.counts[0]
    variants = [
        ("as the project sets it", False, False, "float32"),
        ("deterministic", True, False, "float32"),
        ("tf32", False, True, "float32"),
        ("bfloat16", False, False, "bfloat16"),
    ]
    for name in ("cnn2", "resnet18"):
        for label, deterministic, tf32, precision in variants:
            if clock.left() < 1:
                rows.append({"settings": label, "network": name, "error": "the time of this part is up"})
                continue
            with tuned(device, tf32), deterministic_cudnn(deterministic):
                row = measured(data, name, count, "vmap", graph, size, device, precision=precision)
            rows.append({"settings": label, **row})
            free(device)
    return {"rows": rows}


def counted(name: str, shape: tuple[int, int, int], classes: int, batch: int) -> dict[str, float]:
    """Operations and bytes (float32) of one run's step: what it cannot do without.

    Operations: forward, and backward to weights and inputs (not to the network's own input). Bytes: each layer's input
    and output once forward and twice backward; weights, gradients and momentum once in and once out.
    """
    network, total = models.network(name, shape, classes), {"operations": 0.0, "bytes": 0.0}
    first = True

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal first
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        times, first = (2 if first else 3), False
        total["operations"] += times * 2 * output.numel() * layer.weight[0].numel()
        total["bytes"] += 3 * 4 * (inputs[0].numel() + output.numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    network(torch.zeros(batch, *shape))
    total["bytes"] += 6 * 4 * models.parameters(network)
    return total


def floor(size: Sizes, device: torch.device, report: dict[str, Any]) -> dict[str, Any]:
    """Operations and bytes per run-step over what the card shows for a product and a copy, beside what was measured."""
    card = card_rates(size, device)
    entry: dict[str, Any] = {"card": card, "networks": {}}
    for name in ("cnn2", "resnet18"):
        need = counted(name, size.shape, size.classes, BATCH)
        least = max(need["operations"] / card["operations_per_second"], need["bytes"] / card["bytes_per_second"])
        rows = [
            row
            for row in report.get("rates", {}).get("rows", [])
            if row["network"] == name and "run_steps_per_second" in row
        ]
        best = max((row["run_steps_per_second"] for row in rows), default=None)
        entry["networks"][name] = need | {
            "least_us_per_run_step": 1e6 * least,
            "most_run_steps_per_second": 1 / least,
            "best_measured": best,
            "share_of_floor": best * least if best else None,
        }
    return entry


def card_rates(size: Sizes, device: torch.device) -> dict[str, float]:
    """Float32 operations per second of a product (TensorFloat-32 off and on), and bytes per second of a copy."""
    side = size.card
    a, big = torch.randn(side, side, device=device), torch.empty(side * side * 4, device=device)
    other = torch.empty_like(big)
    seconds = 2 * size.seconds
    with tuned(device, False):
        product = 2 * side**3 * rate(lambda: a @ a, seconds, device)
    with tuned(device, True):
        coarse = 2 * side**3 * rate(lambda: a @ a, seconds, device)
    copied = 2 * big.nbytes * rate(lambda: other.copy_(big), seconds, device)
    return {
        "operations_per_second": product,
        "tf32_operations_per_second": coarse,
        "bytes_per_second": copied,
    }


def profile(size: Sizes, device: torch.device, clock: Clock) -> dict[str, Any]:
    """The kernels of a graphed step under ``vmap`` at 30 and 90 runs, by their time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    data = data_of(size, device)
    rows: list[Row] = []
    for count, name in itertools.product([n for n in size.counts if n > 1][:2], ("cnn2", "resnet18")):
        if clock.left() < 3:
            return {"rows": rows, "error": "the time of this part is up"}
        row: Row = {"network": name, "runs": count, "layout": "vmap"}
        try:
            with tuned(device, False):
                settings = TrainSettings(model=name, lr=1e-3)
                runs = speed_runs(name, count, len(data.samples))
                take = endless(made_pack(data, runs, settings, size.classes, "vmap"), device.type == "cuda")
                take()
                with profiler(activities=[activity]) as seen:
                    for _ in range(size.profiled):
                        take()
                    if device.type == "cuda":
                        torch.cuda.synchronize()
            row["kernels"] = kernels(seen, size.profiled, device)
        except Exception as error:
            row["error"] = named_error(error)
        rows.append(row)
        free(device)
    return {"rows": rows}


def kernels(seen: Any, steps: int, device: torch.device, most: int = 14) -> dict[str, Any]:
    """Microseconds and launches per step, in all and of the kernels that take the most time."""
    field = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = [(getattr(event, field) / steps, event.count / steps, event.key[:150]) for event in seen.key_averages()]
    events = sorted((event for event in events if event[0] > 0), reverse=True)
    return {
        "us": sum(event[0] for event in events),
        "launches": sum(event[1] for event in events),
        "top": [{"us": round(us, 1), "launches": launches, "kernel": key} for us, launches, key in events[:most]],
    }
