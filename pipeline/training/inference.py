"""Networks in evaluation mode: test logits of a pack, and what a teacher says of the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import models
from pipeline.models import Network, Outputs
from pipeline.training.run import Run, TeacherOutputs
from pipeline.training.step import Pack, threads

#: Rows a run and forward pass; fixed, so that the numbers do not depend on it.
CHUNK = 64


@torch.no_grad()
def outputs(network: Network, samples: Tensor, rows: np.ndarray | Tensor, chunk: int = CHUNK) -> Outputs:
    """What a network of one run says of some rows of ``samples`` (all rows, C, H, W), in evaluation mode.

    Each output is (all rows, D) float32 on the samples' device, NaN on the rows that were not asked for; those are
    not read either.
    """
    network = network.to(samples.device).eval()
    parts = torch.as_tensor(rows, device=samples.device).split(chunk)

    def said(part: Tensor) -> Outputs:
        with torch.no_grad():
            return network(samples.index_select(0, part))

    with threads("loop" if samples.device.type == "cpu" else "grouped", len(parts)) as workers:
        found = list((workers.map if workers else map)(said, parts))
    whole = [torch.full((len(samples), v.shape[-1]), torch.nan, device=samples.device) for v in found[0]]
    for part, values in zip(parts, found):
        for target, value in zip(whole, values):
            target.index_copy_(0, part, value[0].float())
    return Outputs(*whole)


def teacher_outputs(
    states: Sequence[Mapping[str, Tensor]],
    name: str,
    classes: int,
    samples: Tensor,
    rows: Sequence[np.ndarray],
) -> TeacherOutputs:
    """The outputs of G teachers (``state_dict`` of each), each for its own rows of ``samples``; NaN elsewhere."""
    found = []
    for state, own in zip(states, rows, strict=True):
        network = models.build(name, samples.shape[1:], classes)
        network.load_state_dict(state)
        found.append(outputs(network, samples, own))
    return TeacherOutputs(
        torch.stack([one.embedding for one in found]), torch.stack([one.logits for one in found])
    )


def held_out_rows(runs: Sequence[Run], device: torch.device) -> Tensor:
    """(R, n) test rows, shorter lists padded with their own first row."""
    longest = max(len(run.test) for run in runs)
    table = np.stack(
        [np.concatenate([run.test, np.repeat(run.test[:1], longest - len(run.test))]) for run in runs]
    )
    return torch.from_numpy(table).to(device)


@torch.no_grad()
def held_out_logits(pack: Pack, rows: Tensor, active: Sequence[int]) -> Tensor:
    """Logits (R, n, classes) of test rows (R, n), by batch norm's running statistics; 0 for runs not ``active``."""
    runs, count = rows.shape
    logits = pack.weights.new_zeros(runs, count, pack.network.classes)

    def evaluate(run: int) -> None:
        with torch.no_grad():
            for start in range(0, count, CHUNK):
                part = rows[run, start : start + CHUNK]
                logits[run, start : start + CHUNK] = pack.singles[run](
                    pack.samples.index_select(0, part)
                ).logits[0]

    networks = pack.singles or [pack.network]
    for network in networks:
        network.eval()
    if pack.singles:
        pack.spread(evaluate, active)
    else:
        for start in range(0, count, CHUNK):
            part = rows[:, start : start + CHUNK].t()
            x = pack.samples.index_select(0, part.reshape(-1)).unflatten(0, part.shape)
            logits[:, start : start + CHUNK] = pack.network(x).logits
    for network in networks:
        network.train()
    return logits


def held_out_figures(logits: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Accuracy and mean cross-entropy (R,) float64 of the first ``counts`` (R,) of n test rows of each run."""
    real = torch.arange(labels.shape[1], device=labels.device) < counts[:, None]
    loss = F.cross_entropy(logits.double().transpose(1, 2), labels, reduction="none")
    right = (logits.argmax(-1) == labels) & real
    return right.sum(1) / counts.double(), torch.where(real, loss, 0.0).sum(1) / counts
