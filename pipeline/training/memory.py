"""What terms remember of the training rows of their runs, from step to step: in the checkpoint, as weights are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.losses.adapting import memories
from pipeline.losses.mixed import Memory
from pipeline.models import Network

if TYPE_CHECKING:
    from pipeline.training.task import Run


@dataclass(frozen=True)
class Recollection:
    """Of the R runs of a pack."""

    arrays: dict[str, Tensor]
    """``KEY NAME`` → (R, ...), with zeros behind the shorter."""
    rows: Tensor
    """(R, n) int64: each run's training rows in their order; behind the fewer the largest number."""

    def of(self, rows: Tensor) -> Memory:
        """What terms see of it in a step of rows (R, B)."""
        return Memory(self.arrays, torch.searchsorted(self.rows, rows))

    def write(self, changed: Mapping[str, Tensor], alive: Tensor | None) -> None:
        """Take what terms remember of a step, of the runs that took part in it, in place: captured graphs read it."""
        for name, fresh in changed.items():
            if alive is not None:
                fresh = torch.where(alive.view(-1, *[1] * (fresh.ndim - 1)), fresh, self.arrays[name])
            self.arrays[name].copy_(fresh)


def recollection(runs: Sequence[Run], network: Network, labels: Tensor, classes: int) -> Recollection | None:
    """What the runs' terms remember before the first step; None where none does. ``labels``: of all samples."""
    there, device = labels.cpu().numpy(), labels.device
    rows = [np.unique(run.task.rows) for run in runs]

    def known(run: Run, own: np.ndarray) -> Tensor:
        return torch.from_numpy(run.task.known(there)[own])

    each = [memories(run.mix, (run.seed, run.fold), network, known(run, own), classes) for run, own in zip(runs, rows)]
    names = dict.fromkeys(name for one in each for name in one)
    if not names:
        return None
    arrays = {name: padded([one.get(name) for one in each]).to(device) for name in names}
    return Recollection(
        arrays, padded([torch.from_numpy(own) for own in rows], torch.iinfo(torch.int64).max).to(device)
    )


def padded(arrays: Sequence[Tensor | None], fill: int = 0) -> Tensor:
    """Arrays of several lengths as one, with ``fill`` behind the shorter, and in place of those that there are not."""
    some = [array for array in arrays if array is not None]
    whole = some[0].new_full((len(arrays), max(map(len, some)), *some[0].shape[1:]), fill)
    for place, array in enumerate(arrays):
        if array is not None:
            whole[place, : len(array)] = array
    return whole
