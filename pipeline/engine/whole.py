"""How far all runs of a command are, by their files alone: whichever process trains them, on whichever machine."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import models, runs
from pipeline.engine.source import Source
from pipeline.images.cifar import SHAPE as IMAGE
from pipeline.runs.planned import PlannedRun

#: Multiplications that take as long as the rest of a step does per clip, on a CPU.
OVERHEAD = 3e6

#: Files are looked at again after so many seconds.
SECONDS_A_LOOK = 1.0


@dataclass
class Whole:
    """The runs that a command has to train. A value that can be handed to any process: each measures the pace for itself."""

    total: int
    """Runs of the command, finished ones too."""
    missing: tuple[tuple[Path, int, float], ...]
    """Folder, epochs and the cost of an epoch of those that it trains."""
    begun: tuple[float, float] | None = field(default=None, compare=False)
    """When this process looked first, and the cost of the epochs that were done then."""
    looked: tuple[float, str] = field(default=(-SECONDS_A_LOOK, ""), compare=False)
    share: float = field(default=0.0, compare=False)
    """Of what the command trains, done then, in [0, 1], by cost."""

    def cost_of(self, planned: Sequence[PlannedRun], *, begun: bool = False) -> float:
        """What some of the runs cost: all epochs, or those that are left where they go on from a checkpoint (``begun``); 0 of those
        that it does not train."""
        asked = {run.folder for run in planned}
        return sum(
            cost * (epochs - (min(epochs, epochs_of(folder)) if begun else 0))
            for folder, epochs, cost in self.missing
            if folder in asked
        )

    def far(self) -> tuple[float, str]:
        """The share that is done, and ``told``: for a bar."""
        words = self.told()
        return self.share, words

    def told(self) -> str:
        """ "runs 24 of 72, about 14 min left"; without a time while no pace is known; "" of a single run."""
        now = time.monotonic()
        if now - self.looked[0] < SECONDS_A_LOOK:
            return self.looked[1]
        ended, done, rest = self.total, 0.0, 0.0
        for folder, epochs, cost in self.missing:
            finished = runs.finished(folder)
            ended -= not finished
            count = epochs if finished else min(epochs, epochs_of(folder))
            done, rest = done + cost * count, rest + cost * (epochs - count)
        self.begun = self.begun or (now, done)
        since = done - self.begun[1]
        self.share = done / (done + rest) if done + rest else 1.0
        words = f"runs {ended:,} of {self.total:,}"
        if since > 0 and rest > 0:
            words += f", about {duration(rest * (now - self.begun[0]) / since)} left"
        self.looked = now, words if self.total > 1 else ""
        return self.looked[1]


def whole_of(total: int, missing: Sequence[PlannedRun], source: Source) -> Whole:
    """A command's runs, ``total`` with the finished ones."""
    if total < 2:
        return Whole(total, ())
    each = {run.folder: (run.folder, run.network.epochs, cost_of(run, source)) for run in missing}
    return Whole(total, tuple(each.values()))


def cost_of(run: PlannedRun, source: Source) -> float:
    """What an epoch costs beside those of other networks: multiplications of a clip's way through it, and a share that none has
    less than, of what a step does besides."""
    spec = source.spec(run.settings)
    return OVERHEAD + multiplications(run.network.model, spec.shape if spec else IMAGE, len(source.classes))


@functools.lru_cache(maxsize=64)
def multiplications(model: str, shape: tuple[int, ...], classes: int) -> int:
    """Of one clip, forward."""
    # torch comes here and not at the top, so that a finished stage answers at once.
    import torch

    from pipeline.models import counting

    return counting.multiplications(models.network(model, shape, classes).eval(), torch.zeros(1, *shape))


def epochs_of(folder: Path) -> int:
    """Lines of an unfinished run's ``metrics.jsonl``."""
    try:
        return (folder / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min" if minutes >= 10 else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
