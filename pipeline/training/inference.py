"""Networks in evaluation mode: test logits of a pack, and what a teacher says of the training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models import Network, Outputs
from pipeline.models.outputs import VECTORS
from pipeline.training.step import Pack, batch, threads
from pipeline.training.task import Run

#: Rows per run and forward pass; fixed, so that the numbers do not depend on it.
CHUNK = 64


@torch.no_grad()
def outputs(
    network: Network,
    samples: Tensor,
    rows: np.ndarray | Tensor,
    names: Sequence[str] = VECTORS,
    chunk: int = CHUNK,
) -> Outputs:
    """What a network of one run says of some rows of ``samples`` (all rows, C, H, W), in evaluation mode.

    Each output of ``names`` is (all rows, ...) float32 on the samples' device, NaN on the rows that were not asked for;
    those are not read either.
    """
    network = network.to(samples.device).eval()
    parts = torch.as_tensor(rows, device=samples.device).split(chunk)

    def outputs_of(part: Tensor) -> Outputs:
        with torch.no_grad():
            return network(samples.index_select(0, part))

    with threads("loop" if samples.device.type == "cpu" else "vmap", len(parts)) as workers:
        each = list((workers.map if workers else map)(outputs_of, parts))
    whole = {
        name: torch.full((len(samples), *each[0][name].shape[1:]), torch.nan, device=samples.device) for name in names
    }
    for part, values in zip(parts, each):
        for name, target in whole.items():
            target.index_copy_(0, part, values[name].float())
    return Outputs(whole)


def held_out_rows(runs: Sequence[Run], device: torch.device) -> Tensor:
    """(R, n) test rows, shorter lists padded with their own first row."""
    longest = max(len(run.task.test) for run in runs)
    table = np.stack(
        [np.concatenate([run.task.test, np.repeat(run.task.test[:1], longest - len(run.task.test))]) for run in runs]
    )
    return torch.from_numpy(table).to(device)


def held_out_logits(pack: Pack, rows: Tensor, active: Sequence[int]) -> Tensor:
    """Logits (R, n, classes) of test rows (R, n), by batch norm's running statistics; 0 for runs not ``active``."""

    def inputs(runs: slice, part: slice) -> Tensor:
        return batch(pack, rows[runs, part], None)

    return pack.learner.logits(inputs, rows.shape[1], active, CHUNK)


def held_out_figures(logits: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Accuracy and mean cross-entropy (R,) float64 of the first ``counts`` (R,) of n test rows of each run."""
    real = torch.arange(labels.shape[1], device=labels.device) < counts[:, None]
    loss = F.cross_entropy(logits.double().transpose(1, 2), labels, reduction="none")
    right = (logits.argmax(-1) == labels) & real
    return right.sum(1) / counts.double(), torch.where(real, loss, 0.0).sum(1) / counts
