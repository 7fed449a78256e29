"""What every part of ``bench.gpu`` needs: sizes, the time that is left, made-up data, packs in either layout."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline import losses
from pipeline.config import TrainSettings
from pipeline.losses import TABLE3_MIXES, LossMix
from pipeline.training import (
    Run,
    Stored,
    Task,
    packing,
)
from pipeline.training.fit import packed
from pipeline.training.graphs import graphed_step
from pipeline.training.step import Pack, step

#: The loss of a speed measurement: the teacher's, and the costliest pair of Table 3.
MIXES = {"resnet18": "ce", "cnn2": "angle,area", "resnet56": "ce"}


@dataclass(frozen=True)
class Sizes:
    """How much of everything is measured."""

    shape: tuple[int, int, int] = (5, 20, 173)
    classes: int = 10
    counts: tuple[int, ...] = (30, 90, 10, 1)
    """Runs in a pack, the most telling first."""
    steps: int = 12
    """Steps of the comparison of equality."""
    teachers: int = 5
    """Residual networks in that comparison's pack."""
    seconds: float = 0.4
    """Of one measurement of speed."""
    clips: int = 8732
    """Of Table 3; every clip has two rows."""
    folds: int = 10
    epochs: int = 20
    image: tuple[int, int, int] = (3, 32, 32)
    """As CIFAR-100 has them."""
    images: int = 50_000
    image_batch: int = 256
    image_runs: int = 8
    resume_rows: int = 2000
    profiled: int = 5
    """Steps that the profiler sees."""
    card: int = 8192
    """Side of the matrices whose product is timed."""


SMALL = Sizes(
    shape=(5, 8, 8),
    counts=(2, 1),
    steps=2,
    teachers=2,
    seconds=0.01,
    clips=30,
    folds=3,
    epochs=2,
    image=(3, 8, 8),
    images=16,
    image_batch=4,
    image_runs=2,
    resume_rows=40,
    profiled=1,
    card=256,
)


class Clock:
    """Seconds until a deadline."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()

    def part(self, seconds: float) -> Clock:
        """At most ``seconds`` of what is left."""
        return Clock(max(0.0, min(seconds, self.left())))


@dataclass(frozen=True)
class Data:
    """Made-up samples (rows, C, H, W), labels (rows,) and what one teacher says of each row."""

    samples: Tensor
    labels: Tensor
    teacher: Stored

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Data:
        teacher = Stored({name: values.to(device, dtype) for name, values in self.teacher.outputs.items()})
        return Data(self.samples.to(device, dtype), self.labels.to(device), teacher)


def made_up(
    rows: int, shape: Sequence[int], classes: int, device: torch.device, teachers: int = 1, width: int = 256
) -> Data:
    """Noise around a level of the class: with it a network learns, and its losses stay finite."""
    generator = torch.Generator(device=device).manual_seed(0)

    def noise(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, device=device)

    labels = torch.arange(rows, device=device) % classes
    samples = noise(rows, *shape) + 0.3 * labels[:, None, None, None]
    return Data(
        samples,
        labels,
        Stored({"embedding": noise(teachers, rows, width), "logits": noise(teachers, rows, classes)}),
    )


def every_mix() -> list[LossMix]:
    """Each loss that fits, alone, the options that change its path, and the mixes of Table 3."""
    options = ("angle:40@layer=hidden", "distance:20@layer=hidden,soft:0", "hinton@T=4,area:20,ce:0.5")
    fitting = [name for name in losses.names() if not unfit(name)]
    return [LossMix.parse(text) for text in (*fitting, *options, *TABLE3_MIXES)]


def unfit(name: str) -> str:
    """Why a loss cannot be in one pack with the others, on the outputs that ``made_up`` makes; "" where it can."""
    mix = LossMix.parse(name)
    reads = {*(mix.reads or ()), *(mix.teacher_reads or ())} - {"embedding", "hidden", "logits"}
    return "an adapter" if mix.adapted else f"reads {', '.join(sorted(reads))}" if reads else ""


def runs_of(mixes: Sequence[LossMix], rows: int, less: int = 0) -> list[Run]:
    """A run per mix on rows of its own order; every second one trains on ``less`` rows fewer, and ends sooner."""
    every = np.arange(rows)
    return [Run(fold, 0, mix, Task(every[: rows - less * (fold % 2)], every[:8])) for fold, mix in enumerate(mixes)]


def speed_runs(name: str, count: int, rows: int) -> list[Run]:
    return runs_of([LossMix.parse(MIXES[name])] * count, rows)


def made_pack(
    data: Data,
    runs: Sequence[Run],
    settings: TrainSettings,
    classes: int,
    layout: str,
    statistics: Sequence[tuple[Tensor, Tensor]] | None = None,
) -> Pack:
    """A pack in one of the learner's layouts; its input is standardised by nothing unless ``statistics`` say so."""
    statistics = statistics or [packing.unit_statistics(data.samples)] * len(runs)
    return packed(data.samples, data.labels, runs, settings, classes, data.teacher, layout, statistics)


def endless(pack: Pack, graph: bool) -> Callable[[], None]:
    """One step, round and round through an epoch; ``graph``: as one CUDA graph."""

    def take() -> None:
        step(pack, False)
        pack.counter.remainder_(len(pack.tables.rows))

    return graphed_step(take, list(pack.written().values())) if graph else take


def default_layout(device: torch.device) -> str:
    """The layout that ``fit`` takes where nobody asks for one."""
    return "loop" if device.type == "cpu" else "vmap"


def ways(device: torch.device) -> tuple[str, ...]:
    return ("graph", "eager") if device.type == "cuda" else ("eager",)


def free(device: torch.device) -> None:
    """Give back what packs held that are gone."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def named_error(error: BaseException) -> str:
    """The kind and the first lines of an error, for a table."""
    return f"{type(error).__name__}: {str(error).strip()[:600]}"
