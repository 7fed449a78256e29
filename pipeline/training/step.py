"""One step of a pack of runs: batch, forward, losses, backward, optimizer, sums. Nothing here waits for the device.

Layouts, all equal up to rounding:

- ``grouped``, ``channels_last``, ``bmm``, or one of them for each convolution (see ``models.set_kernels``): one network
  of R runs; on a GPU a CUDA graph of the whole step;
- ``loop``: R networks of one run that share the pack's weights, spread over threads, the losses of all runs
  together. Best on a CPU, where a packed layer only loses the caches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline import models
from pipeline.config import TrainSettings
from pipeline.losses import MixedLoss
from pipeline.models import Network, Outputs
from pipeline.training import optimizer
from pipeline.training.run import Plan, TeacherOutputs

Augment = Callable[[Tensor, Tensor], Tensor]
"""(x (N, C, H, W), draws (N, 3) uniform in [0, 1)) → x of the same shape."""


@dataclass(eq=False)
class Pack:
    """Everything that a step reads and writes."""

    network: Network
    samples: Tensor
    labels: Tensor
    teacher: TeacherOutputs | None
    teachers: Tensor
    """(R, 1) which teacher teaches a run."""
    loss: MixedLoss
    terms: tuple[str, ...]
    """Keys of the terms, in the order of the rows of ``sums``, which the total precedes."""
    settings: TrainSettings
    layout: str
    plan: Plan
    augment: Augment | None = None
    weights: Tensor = field(init=False)
    momentum: Tensor = field(init=False)
    sums: Tensor = field(init=False)
    """(1 + terms + 1, R) float64: total, each term, and correct answers, summed over the steps of the epoch."""
    bad: Tensor = field(init=False)
    """(1 + terms, R) int64: the first step of the epoch at which the value was not finite, or -1."""
    counter: Tensor = field(init=False)
    """(1,) int64: the step of the epoch that comes next."""
    singles: list[Network] = field(init=False, default_factory=list)
    workers: ThreadPoolExecutor | None = None

    def __post_init__(self) -> None:
        runs, device = self.network.runs, self.samples.device
        self.weights = optimizer.flattened(self.network)
        self.momentum = torch.zeros_like(self.weights)
        self.sums = torch.zeros(len(self.terms) + 2, runs, dtype=torch.float64, device=device)
        self.bad = torch.full((len(self.terms) + 1, runs), -1, device=device)
        self.counter = torch.zeros(1, dtype=torch.int64, device=device)
        if self.layout == "loop":
            self.singles = [models.view(self.network, run) for run in range(runs)]
        else:
            models.set_kernels(self.network, self.layout)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.samples.device.type, torch.bfloat16, self.settings.precision == "bfloat16")

    def spread(self, work: Callable[[int], None], runs: Sequence[int]) -> None:
        """``work(run)`` for each run, in threads where there are any; the first exception is raised."""
        if self.workers is None or len(runs) == 1:
            for run in runs:
                work(run)
        else:
            for _ in self.workers.map(work, runs):
                pass


@contextmanager
def threads(layout: str, runs: int) -> Iterator[ThreadPoolExecutor | None]:
    """Threads for the layout ``loop``: as many as torch would use, each with whole runs.

    An operation is never split over threads, so that a run's numbers depend neither on the number of cores nor on
    the runs beside it, and a busy machine slows it only by its share.
    """
    cores = torch.get_num_threads()
    if layout != "loop":
        yield None
        return
    torch.set_num_threads(1)
    try:
        if min(runs, cores) < 2:
            yield None
            return
        with ThreadPoolExecutor(min(runs, cores), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(cores)


def step(pack: Pack, masked: bool) -> None:
    """Take the step that ``pack.counter`` says, and count on. ``masked``: some run does not take part in it."""
    plan = pack.plan
    rows, lr, alive = (table.index_select(0, pack.counter)[0] for table in (plan.rows, plan.lr, plan.alive))
    draws = None if plan.draws is None else plan.draws.index_select(0, pack.counter)[0]
    labels, teacher = pack.labels[rows], taught(pack, rows)
    mask = alive if masked else None
    if pack.layout == "loop":
        logits, values = loop_step(pack, rows, labels, teacher, lr, mask, draws)
    else:
        logits, values = packed_step(pack, rows, labels, teacher, lr, mask, draws)
    tally(pack, values, (logits.argmax(-1) == labels).sum(-1), mask)
    pack.counter += 1


def taught(pack: Pack, rows: Tensor) -> Outputs | None:
    """What each run's teacher says of its batch: (R, B, D) and (R, B, classes)."""
    if pack.teacher is None:
        return None
    embedding = pack.teacher.embedding[pack.teachers, rows]
    return Outputs(embedding, embedding, pack.teacher.logits[pack.teachers, rows])


def batch(pack: Pack, rows: Tensor, draws: Tensor | None) -> Tensor:
    """Samples (B, R, C, H, W) of rows (R, B)."""
    x = pack.samples.index_select(0, rows.t().reshape(-1))
    if pack.augment is not None and draws is not None:
        x = pack.augment(x, draws.transpose(0, 1).reshape(-1, draws.shape[-1]))
    return x.unflatten(0, (rows.shape[1], rows.shape[0]))


def packed_step(pack: Pack, rows: Tensor, labels: Tensor, teacher: Outputs | None, lr: Tensor,
                alive: Tensor | None, draws: Tensor | None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """All runs through one network. Returns logits (R, B, classes) and values (1 + terms, R)."""
    kept = []
    if alive is not None:  # batch norm's running statistics of a run that is past its end stay as they are
        kept = [
            (buffer, buffer.clone()) for buffer in pack.network.buffers() if buffer.shape[0] == len(alive)
        ]
    with pack.autocast():
        outputs = pack.network(batch(pack, rows, draws))
    total, raw = pack.loss(outputs, teacher, labels)
    gradients = optimizer.gradients(pack.network, [total.sum()])
    keep = None if alive is None else alive[:, None]
    optimizer.descend(pack.weights, gradients, pack.momentum, lr, pack.settings, keep)
    for buffer, before in kept:
        assert alive is not None
        buffer.copy_(torch.where(alive.view(-1, *[1] * (buffer.ndim - 1)), buffer, before))
    return outputs.logits.detach(), values_of(pack, total, raw)


def loop_step(pack: Pack, rows: Tensor, labels: Tensor, teacher: Outputs | None, lr: Tensor,
              alive: Tensor | None, draws: Tensor | None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Run by run through networks of one run; the losses of all runs at once. Returns what ``packed_step`` does."""
    runs = list(range(len(rows))) if alive is None else alive.nonzero()[:, 0].tolist()
    found: dict[int, Outputs] = {}

    def forward(run: int) -> None:
        with pack.autocast():
            x = batch(pack, rows[run : run + 1], None if draws is None else draws[run : run + 1])
            found[run] = pack.singles[run](x)

    def backward(run: int) -> None:
        own = slice(run, run + 1)
        roots = [(value, slope[own]) for value, slope in zip(found.pop(run), slopes) if slope is not None]
        gradients = optimizer.gradients(pack.singles[run], *zip(*roots))
        optimizer.descend(pack.weights[own], gradients, pack.momentum[own], lr[own], pack.settings)

    pack.spread(forward, runs)
    leaves = leaves_of(found, len(rows))
    total, raw = pack.loss(leaves, teacher, labels)
    slopes = torch.autograd.grad(total.sum(), leaves, allow_unused=True)
    pack.spread(backward, runs)
    return leaves.logits.detach(), values_of(pack, total, raw)


def leaves_of(found: dict[int, Outputs], runs: int) -> Outputs:
    """The runs' outputs as one, cut off from their networks; zeros for runs that took no part."""
    some = next(iter(found.values()))
    filler = Outputs(*(torch.zeros_like(value) for value in some)) if len(found) < runs else some
    parts = [found.get(run, filler) for run in range(runs)]
    return Outputs(*(torch.cat([value.detach() for value in each]).requires_grad_() for each in zip(*parts)))


def values_of(pack: Pack, total: Tensor, raw: dict[str, Tensor]) -> Tensor:
    """(1 + terms, R): the total and each term, unweighted; 0 where a run does not have the term."""
    return torch.stack([total.detach(), *(raw[term].detach() for term in pack.terms)])


def tally(pack: Pack, values: Tensor, correct: Tensor, alive: Tensor | None) -> None:
    """Add a step's values to the sums of the epoch, and note where one was not finite for the first time."""
    values = torch.cat([values.double(), correct.double()[None]])
    if alive is not None:
        values = torch.where(alive, values, 0.0)
    pack.sums += values
    fresh = (pack.bad < 0) & ~torch.isfinite(values[:-1])
    pack.bad.copy_(torch.where(fresh, pack.counter, pack.bad))


def graphed_step(take: Callable[[], None], state: Sequence[Tensor], memory: Any = None,
                 warmup: int = 3) -> Callable[[], None]:  # fmt: skip
    """``take`` as one CUDA graph: what it does, without the launches. ``state``: every tensor that it writes.

    ``take`` must read and write the same tensors each time and wait for nothing. It is run ``warmup`` times on a
    side stream first, as capturing asks for. After each of these ``state`` is put back to what it was, so that every
    one of them is the step that comes next: those behind it may be past the end of the epoch's plan. ``memory``
    (``torch.cuda.graph_pool_handle``): shared by graphs that are never replayed at the same time and leave nothing
    but ``state`` behind.
    """
    before = [tensor.clone() for tensor in state]

    def put_back() -> None:
        for tensor, old in zip(state, before):
            tensor.copy_(old)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(stream):
            for _ in range(warmup):
                take()
                put_back()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=memory):
            take()
    finally:
        put_back()
    return graph.replay
