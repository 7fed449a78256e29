"""Of ``bench.gpu``: the five features as a torch module on the card, in clips per second.

The module's constants are librosa's banks. Where librosa is not, the module comes from a file that was written where it is
(``write``): torch's own format of exported programs, which needs torch alone.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.gpu_packs import SMALL, Clock, Sizes
from pipeline.config import FeatureSpec

#: Clips that are computed at once, the most telling first.
BATCHES = (64, 256, 1)


def program() -> torch.export.ExportedProgram:
    """The features of the default settings, with tuning 0: samples (clips, n) → (clips, feature, bin, frame)."""
    from pipeline.features.graph import Features  # librosa, soxr

    spec = FeatureSpec(tuning=0.0)
    clips = torch.export.Dim("clips")
    return torch.export.export(Features(spec).eval(), (torch.zeros(2, spec.samples),), dynamic_shapes=({0: clips},))


def write(path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(program(), file)


def read(path: Path | None) -> torch.export.ExportedProgram:
    """From the file, else built here; ``FileNotFoundError`` where neither can be."""
    if path is not None:
        with path.open("rb") as file:
            return torch.export.load(file)
    if find_spec("librosa") is None:
        raise FileNotFoundError(
            "no librosa here; expected --banks FILE, which bench.gpu --banks FILE writes where it is"
        )
    return program()


def frontend(size: Sizes, device: torch.device, clock: Clock, banks: Path | None) -> dict[str, Any]:
    """Clips per second by clips at once, in float32 without TensorFloat-32, and how far the card's numbers are from the CPU's."""
    from torch.export.passes import move_to_device_pass

    torch.backends.cudnn.allow_tf32 = False
    here = read(banks)
    there = move_to_device_pass(here, str(device)).module() if device.type != "cpu" else here.module()
    spec = FeatureSpec(tuning=0.0)
    noise = torch.randn(max(BATCHES), spec.samples, generator=torch.Generator().manual_seed(0)) / 10
    report: dict[str, Any] = {"read_from": "a file" if banks else "librosa", "rows": []}
    with torch.inference_mode():
        differences = (there(noise[:2].to(device)).cpu() - here.module()(noise[:2])).abs().amax((0, 2, 3))
        report["largest_difference"] = dict(zip(spec.names, differences.tolist()))
        for count in (2, 1) if size is SMALL else BATCHES:
            rate = clips_per_second(there, noise[:count].to(device), size.seconds)
            report["rows"].append({"clips": count, "clips_per_second": rate})
            if clock.left() < 0:
                break
    return report


def clips_per_second(module: nn.Module, clips: Tensor, seconds: float) -> float:
    """Of whole batches for so long, once it is warm."""

    def wait() -> None:
        if clips.device.type == "cuda":
            torch.cuda.synchronize(clips.device)

    for _ in range(2):
        module(clips)
    wait()
    begun, batches = time.perf_counter(), 0
    while batches < 1 or time.perf_counter() - begun < seconds:
        module(clips)
        batches += 1
        wait()
    return batches * len(clips) / (time.perf_counter() - begun)
