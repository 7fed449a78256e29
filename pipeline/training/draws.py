"""The uniform numbers of terms that draw: tables of an epoch, known before its first step, so that nothing of them is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.losses import library
from pipeline.training.sampling import generator, steps_of

if TYPE_CHECKING:
    from pipeline.training.task import Run


def draws_tables(
    runs: Sequence[Run],
    members: Mapping[str, Sequence[int]],
    batch: int,
    epoch: int,
    stopped: Sequence[bool],
    device: torch.device,
) -> dict[str, Tensor]:
    """Key of a term that draws → (steps, R', B, n) float32, uniform in [0, 1), of the R' runs that have it.

    ``members``: key of a term → the runs that have it. A run's numbers depend on (key, seed, fold, epoch) alone. Steps
    beyond a run's own, and runs that have ``stopped``, hold zeros.
    """
    steps = max(0 if stop else steps_of(run, batch) for run, stop in zip(runs, stopped))
    tables = {}
    for key, rows in members.items():
        each = library.draws(key.partition("@")[0], batch)
        if not each:
            continue
        table = torch.zeros(steps, len(rows), batch, each)
        for place, r in enumerate(rows):
            if not stopped[r]:
                count = steps_of(runs[r], batch)
                random = generator(f"draws {key}", runs[r], epoch)
                table[:count, place] = torch.rand((count, batch, each), generator=random)
        tables[key] = table.to(device)
    return tables
