"""How many runs go into one pack, and in which layout: by memory and a short measurement on this machine.

The choice changes the numbers by rounding only (on a CPU, in the layout ``loop``, not at all), but it is a choice:
it is printed, it is part of the record, and ``pack=`` and ``layout=`` make it instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline.config import InputError, TrainSettings
from pipeline.losses.learner import Inputs
from pipeline.plurals import many
from pipeline.processes import cores
from pipeline.processes.memory import free_memory as free_of_machine
from pipeline.training.fit import packed
from pipeline.training.from_files import FromFiles
from pipeline.training.graphs import graphed_step
from pipeline.training.halves import ONE_TOO_LARGE, out_of_memory
from pipeline.training.halves import in_halves as in_halves
from pipeline.training.halves import split as split
from pipeline.training.step import (
    Pack,
    Teaching,
    batch,
    both_sides,
    mixing_of,
    step,
    threads,
)
from pipeline.training.task import Run
from pipeline.training.tuning import tuned
from pipeline.training.two_views import both_views

#: Part of the memory that is free at the start which packs that are trained at a time may take, with what their teachers say.
SHARE = 0.6

#: Runs of a pack at most: more save nothing, and lose more on a failure.
LARGEST = {"cpu": 32, "cuda": 120}

#: Up to so many runs on a CPU a larger pack was never slower by as much as decides (docs/packing.md): none is timed.
FEW = 4

#: For how long pack sizes are timed.
MEASURED_SECONDS = 4.0


@dataclass(frozen=True)
class Budget:
    """Bytes that one pack may take, with the arrays in which it keeps what its teachers say."""

    free: int
    of_teacher: int = 0
    """Bytes of one teacher's arrays; 0 where none are stored for the pack alone."""
    teachers: int = 0
    """How many there are: each run may bring another one until all are there."""

    def runs(self, each: int) -> int:
        """The most runs of ``each`` bytes that fit; 1 at least."""
        beside_own = self.free // (each + self.of_teacher)
        if beside_own >= self.teachers:
            beside_own = (self.free - self.teachers * self.of_teacher) // each
        return max(1, beside_own)


def budget(samples: Tensor, processes: int = 1) -> Budget:
    """Of each of ``processes`` packs at a time on the device of ``samples``, of which every process has its own."""
    free = int(SHARE * free_memory(samples.device) / processes)
    return Budget(free - (samples.nbytes if processes > 1 and not isinstance(samples, FromFiles) else 0))


@dataclass(frozen=True)
class Choice:
    """How runs are packed on a device, and the measurement behind it."""

    device: str
    pack: int
    layout: str
    run_steps_per_second: float
    """Of the chosen pack size and layout; 0 where nothing was measured: both were given, or so few runs are to lie in a pack."""
    bytes_per_run: int
    measured: dict[str, float] = field(default_factory=dict)
    """"layout × runs" → run-steps per second."""
    asked: bool = False
    """Whether both were given."""

    @property
    def memory(self) -> str:
        """What a pack of this size takes, without what its teachers say."""
        return f"{self.pack * self.bytes_per_run / 1e9:.2f} GB of memory"

    def __str__(self) -> str:
        speed = f", {self.run_steps_per_second:.0f} run-steps/s measured" if self.run_steps_per_second else ""
        speed = ", as asked" if self.asked else speed
        return f"packs of {many(self.pack, 'run')} in layout {self.layout} on {self.device}{speed}"


def choose(
    samples: Tensor,
    labels: Tensor,
    runs: Sequence[Run],
    settings: TrainSettings,
    *,
    classes: int,
    teaching: Teaching | None = None,
    pack: int | None = None,
    layout: str | None = None,
    seconds: float | None = None,
    measure: bool = False,
    memory: Budget | None = None,
    most: int | None = None,
) -> Choice:
    """Pack size and layout for ``runs`` (which share ``settings``) on the device of ``samples``.

    ``pack`` and ``layout`` where given are kept. Otherwise the layout is ``loop`` on a CPU (the others only when asked
    for), and ``vmap`` on a GPU; then pack sizes that ``memory`` (by default ``budget`` of one process) allows are timed, all
    within about ``seconds`` (by default ``MEASURED_SECONDS``), and the most runs within 5 % of the fastest are taken. ``most``: runs
    that a pack is to have at most, so that each process has some; up to ``FEW`` on a CPU nothing is timed.
    ``measure``: time it even where both are given, or few are wanted. Reads only rows that the runs train on, and changes nothing.
    """
    if not runs:
        raise InputError("no runs to pack; expected at least one")
    if pack is not None and pack < 1:
        raise InputError(f"a pack of {many(pack, 'run')}; expected at least 1")
    memory = memory or budget(samples)
    seconds = MEASURED_SECONDS if seconds is None else seconds
    try:
        wanted = len(runs) if most is None else whole_units(most, runs)
        return chosen(
            samples, labels, runs, settings, classes, teaching, pack, layout, seconds, measure, memory, wanted
        )
    except Exception as error:
        if not out_of_memory(error):
            raise
        if len(runs) <= runs[0].unit:
            raise InputError(ONE_TOO_LARGE) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    fewer = runs[: whole_units(len(runs) // 2, runs)]  # their number bounds the pack
    again = measure or pack is None  # what did not fit is tried, not assumed
    more: dict[str, Any] = {"pack": pack, "layout": layout, "seconds": seconds, "measure": again, "memory": memory}
    return choose(samples, labels, fewer, settings, classes=classes, teaching=teaching, most=most, **more)


def chosen(
    samples: Tensor,
    labels: Tensor,
    runs: Sequence[Run],
    settings: TrainSettings,
    classes: int,
    teaching: Teaching | None,
    pack: int | None,
    layout: str | None,
    seconds: float,
    measure: bool,
    memory: Budget,
    wanted: int,
) -> Choice:
    """``choose`` where the memory suffices."""
    device, at_once = samples.device, cores.of_torch()
    pack = None if pack is None else whole_units(min(pack, len(runs)), runs)

    def pack_of(kind: str, count: int) -> Pack:
        statistics = [unit_statistics(samples)] * count
        return packed(samples, labels, runs[:count], settings, classes, teaching, kind, statistics)

    # On a CPU the bits must not depend on a stopwatch: only ``loop`` gives the same ones in packs of any size.
    kind = layout or ("loop" if device.type == "cpu" else "vmap")
    each = bytes_per_run(pack_of(kind, runs[0].unit if kind == "loop" else min(2, len(runs))))
    most = whole_units(min(len(runs), wanted, LARGEST[device.type], memory.runs(each)), runs)
    if pack is not None and layout is not None and not measure:
        return Choice(str(device), pack, layout, 0.0, each, asked=True)
    if pack is None and most <= FEW and device.type == "cpu" and not measure:
        return Choice(str(device), most, kind, 0.0, each)
    few = 2 * at_once if device.type == "cpu" else 10
    counts = (
        [pack]
        if pack
        else sorted({whole_units(min(size, most), runs) for size in (few, at_once, 30, LARGEST[device.type])})
    )
    with tuned(device, settings.tf32):
        speeds = {count: speed(pack_of(kind, count), seconds / 4) for count in counts}
    fastest = max(speeds.values())
    count = max(count for count in speeds if speeds[count] >= 0.95 * fastest)
    measured = {f"{kind} × {size}": round(value, 1) for size, value in speeds.items()}
    return Choice(str(device), count, kind, round(speeds[count], 1), each, measured)


def whole_units(count: int, runs: Sequence[Run]) -> int:
    """At most ``count`` of the runs, of those that learn from each other all or none; one or a pair at least."""
    return max(1, count // runs[0].unit) * runs[0].unit


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def unit_statistics(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean 0 and deviation 1: what is timed does not depend on the real ones."""
    zeros = torch.zeros(
        *samples.shape[1:3], 1, device=samples.device, dtype=torch.promote_types(samples.dtype, torch.float32)
    )
    return zeros, torch.ones_like(zeros)


def speed(pack: Pack, seconds: float) -> float:
    """Run-steps per second of a pack, from whole steps after a warm-up, for about ``seconds`` (one step at least)."""
    device, steps = pack.samples.device, len(pack.tables.rows)
    with threads(pack.learner.layout, pack.learner.runs) as workers:
        pack.learner.workers = workers
        take: Callable[[], None] = lambda: step(pack, False)
        begun = time.perf_counter()
        take()
        if device.type == "cuda" and pack.learner.layout != "loop":
            pack.counter.zero_()
            take = graphed_step(take, list(pack.written().values()))
            wait(device)
            begun = time.perf_counter()
        best, done = float("inf"), int(pack.counter)
        while best == float("inf") or time.perf_counter() - begun < seconds:
            if done % steps == 0:
                pack.counter.zero_()
            start = time.perf_counter()
            take()
            wait(device)
            best, done = min(best, time.perf_counter() - start), done + 1
    return pack.learner.runs / best


def bytes_per_run(pack: Pack) -> int:
    """Memory that a run of a pack takes: what its backward pass keeps, twice (gradients), and its weights."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        rows = pack.tables.rows[0]
        inputs: Inputs = lambda runs: torch.cat([batch(pack, rows[runs], None)] * (1 + pack.loss.two_views))
        keys = None if pack.tables.keys is None else pack.tables.keys[0]
        outputs, teacher = both_sides(pack, rows, inputs, inputs, keys=keys)
        draws = {key: table[0] for key, table in pack.draws.items()}
        first, second = both_views(pack.loss, outputs, teacher)
        total, _ = pack.loss(*first, pack.truth(rows), draws, mixing_of(pack), pack.remembered(rows), second)
    kept.pop(pack.weights.untyped_storage().data_ptr(), None)
    del total
    # Weights, momentum, gradients (two), the best epoch's, and a checkpoint's copy of three of them; an epoch's draws twice.
    # Other states of the optimizer and averages: themselves, a checkpoint's copy, and the latest that an average stands in for.
    draws_bytes = sum(table.nbytes for table in pack.draws.values())
    more = [
        *pack.averages.values(),
        *(pack.memory.arrays.values() if pack.memory else ()),
        *(pack.optimizer_state[name] for name in pack.optimizer_state if name != "momentum"),
    ]
    state_bytes = 8 * pack.weights.nbytes + 3 * sum(tensor.nbytes for tensor in more)
    return (2 * sum(kept.values()) + state_bytes + 2 * draws_bytes) // pack.learner.runs


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had: of the card, or of the machine within its container's limit."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_of_machine()
