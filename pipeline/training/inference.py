"""Networks in evaluation mode: test logits of a pack, and what a teacher says of the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import label_sets
from pipeline.config import InputError
from pipeline.losses.needs import Needs
from pipeline.models import Network, Outputs
from pipeline.models.outputs import VECTORS, lacking
from pipeline.training.live import Live
from pipeline.training.step import Pack, batch, threads
from pipeline.training.task import Run, Task
from pipeline.training.teaching import File, Stored

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
    those are not read either. ``InputError`` for a name that the network has not.
    """
    network = network.to(samples.device).eval()
    parts = torch.as_tensor(rows, device=samples.device).split(chunk)

    def outputs_of(part: Tensor) -> Outputs:
        with torch.no_grad():
            told = network(samples.index_select(0, part))
            if missing := lacking(names, told):
                raise InputError(
                    f"{network.name} has no output {', '.join(missing)}; there are {', '.join(told)}: expected another network, "
                    "or terms that read these"
                )
            return Outputs({name: told[name] for name in names})

    with threads("loop" if samples.device.type == "cpu" else "vmap", len(parts)) as workers:
        each = list((workers.map if workers else map)(outputs_of, parts))
    whole = {
        name: torch.full((len(samples), *each[0][name].shape[1:]), torch.nan, device=samples.device) for name in names
    }
    for part, values in zip(parts, each):
        for name, target in whole.items():
            target.index_copy_(0, part, values[name].float())
    return Outputs(whole)


@torch.no_grad()
def stored(
    live: Live | File,
    samples: Tensor,
    rows: Sequence[np.ndarray],
    labels: Tensor,
    needs: Needs,
    learned: Sequence[Task] | None = None,
) -> Stored:
    """What each of the teachers says of its own ``rows`` of ``samples``, as far as terms need it, with their constants.

    Of files ``samples`` are the numbers of the rows. ``learned``: what its students learn, whose training rows and labels the
    constants are from (None: all of its rows, and ``labels``). Written where it is kept as it comes, so that no second copy of it is ever in
    memory. Other rows hold NaN, and are not read.
    """
    logits = {"logits"} if "logits" in live.shapes() else set()
    needs = replace(needs, outputs=tuple(sorted({*needs.outputs, *logits})))
    whole: dict[str, Tensor] = {}
    constants = []
    for teacher, asked in enumerate(rows):
        task = learned[teacher] if learned else Task(asked, asked)
        parts = torch.as_tensor(asked, device=samples.device).split(CHUNK)

        def keep(part: Tensor, teacher: int = teacher) -> None:
            with torch.no_grad():
                outputs = live.kept(teacher, samples.index_select(0, part), needs)
            for name, values in outputs.items():
                if name not in whole:
                    whole[name] = unknown((len(rows), len(samples), *values.shape[1:]), values)
                whole[name][teacher].index_copy_(0, part, values.to(whole[name].dtype))

        keep(parts[0])  # alone: the arrays are made for what it says
        with threads("loop" if samples.device.type == "cpu" else "vmap", len(parts)) as workers:
            list((workers.map if workers else map)(keep, parts[1:]))
        train = task.train
        train_labels = torch.as_tensor(task.known(labels.cpu().numpy())[train], device=labels.device)
        with threads(
            "loop" if samples.device.type == "cpu" else "vmap", 1
        ):  # sums must not depend on the number of cores
            constants.append(live.measured(teacher, samples, train, train_labels, needs))
    shared = {name: torch.stack([one[name] for one in constants]) for name in constants[0]}
    return Stored(whole, shared, live.shapes())


def unknown(shape: Sequence[int], like: Tensor) -> Tensor:
    """An array of NaN in float32, or of zeros where ``like`` holds no fractions."""
    if like.is_floating_point():
        return torch.full(tuple(shape), torch.nan, device=like.device)
    return like.new_zeros(tuple(shape))


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


def held_out_figures(
    logits: Tensor, labels: Tensor, counts: Tensor, targets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Accuracy and mean cross-entropy (R,) float64 of the first ``counts`` (R,) of n test rows of each run.

    With ``targets`` (labels, classes), of clips with several labels, the mean average precision and the binary cross-entropy.
    """
    if targets is not None:
        return of_several_labels(logits, targets[labels], counts)
    real = torch.arange(labels.shape[1], device=labels.device) < counts[:, None]
    loss = F.cross_entropy(logits.double().transpose(1, 2), labels, reduction="none")
    right = (logits.argmax(-1) == labels) & real
    return right.sum(1) / counts.double(), torch.where(real, loss, 0.0).sum(1) / counts


def of_several_labels(logits: Tensor, targets: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """``held_out_figures`` by targets (R, n, classes)."""
    figures = []
    for scores, target, count in zip(logits, targets, counts.tolist()):
        scores, target = scores[:count].double(), target[:count].double()
        precision = float("nan")
        if count:
            precision = label_sets.mean_average_precision(target.cpu().numpy(), scores.cpu().numpy())
        figures.append((precision, float(F.binary_cross_entropy_with_logits(scores, target)) if count else precision))
    first, second = torch.tensor(figures, dtype=torch.float64).T
    return first, second
