"""One step of a pack of runs: batch, forward, losses, backward, optimizer, sums. Nothing here waits for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.config import TrainSettings
from pipeline.losses.learner import Inputs, Learner
from pipeline.losses.mixed import Memory, MixedLoss
from pipeline.losses.mixing import Mixing, mixed_inputs
from pipeline.models import Outputs
from pipeline.processes import cores, heap
from pipeline.training import optimizer
from pipeline.training.draws import normal
from pipeline.training.dropout import INPUT
from pipeline.training.live import Lesson, Live
from pipeline.training.memory import Recollection
from pipeline.training.mixing_tables import with_styles
from pipeline.training.peers import Peers
from pipeline.training.sampling import EpochTables
from pipeline.training.teaching import Stored
from pipeline.training.two_views import both_views

Teaching = Stored | Live
"""Where what teachers say comes from."""

Augment = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x (N, C, H, W), draws (N, n) uniform in [0, 1), means (N, C, H, 1) of the training rows) → x of the same shape."""


@dataclass(eq=False)
class Pack:
    """Everything that a step reads and writes."""

    learner: Learner
    samples: Tensor
    labels: Tensor
    teaching: Stored | Lesson | Peers | None
    teachers: Tensor
    """(R, 1) which teacher teaches a run."""
    loss: MixedLoss
    settings: TrainSettings
    tables: EpochTables
    augment: Augment | None = None
    draws: dict[str, Tensor] = field(default_factory=dict)
    """Key of a term that draws → (steps, R', B, n), as ``draws_tables`` makes them."""
    means: Tensor | None = None
    """(R, C, H, 1): of each run's training rows, which hidden parts of inputs take; None where inputs are not augmented."""
    deviation: Tensor | None = None
    """(R, C, H, 1): of each run's inputs, by which noise on them is measured; None without any."""
    constants: dict[str, Tensor] = field(default_factory=dict)
    """What ``constants`` of loss files gave of each run's teacher: ``constants KEY NAME`` → (R, ...)."""
    places: Tensor | None = None
    """(R, C + 1) int64: the labels of runs that have some of the C classes alone (``labels.places_of``); None: all have all."""
    memory: Recollection | None = None
    """What terms remember of each run's training rows; None where none does."""
    targets: Tensor | None = None  # (labels, classes) of clips with several labels: no answer is correct then
    optimizer_state: dict[str, Tensor] = field(init=False)
    """What the optimizer remembers of each run (``optimizer.state_of``)."""
    averages: dict[str, Tensor] = field(init=False)
    """Moving averages of ``weights`` and of batch norm's statistics, where the settings ask for them."""
    frozen: Tensor | None = field(init=False)
    """(P,) the weights that stay as they are; None: all learn."""
    decays: Tensor | None = field(init=False)
    """(P,) the weights that decay; None: all."""
    sums: Tensor = field(init=False)
    """(1 + terms + 1, R) float64: total, each term, and correct answers, summed over the steps of the epoch."""
    bad: Tensor = field(init=False)
    """(1 + terms, R) int64: the first step of the epoch at which the value was not finite, or -1."""
    counter: Tensor = field(init=False)
    """(1,) int64: the step of the epoch that comes next."""

    def __post_init__(self) -> None:
        runs, device = self.learner.runs, self.samples.device
        self.frozen, self.decays = self.learner.frozen, self.learner.decays
        self.optimizer_state = optimizer.state_of(self.weights, self.settings)
        self.averages = {}
        if self.settings.average:
            self.averages = {name: tensor.detach().clone() for name, tensor in self.averaged_tensors().items()}
        self.sums = torch.zeros(len(self.terms) + 2, runs, dtype=torch.float64, device=device)
        self.bad = torch.full((len(self.terms) + 1, runs), -1, device=device)
        self.counter = torch.zeros(1, dtype=torch.int64, device=device)

    @property
    def weights(self) -> Tensor:
        return self.learner.weights

    @property
    def terms(self) -> tuple[str, ...]:
        """Keys of the terms, in the order of the rows of ``sums``, which the total precedes."""
        return self.loss.keys

    def written(self) -> dict[str, Tensor]:
        """Every tensor that a step writes: what a checkpoint keeps, and what a captured graph puts back."""
        statistics = {f"buffer.{name}": buffer for name, buffer in self.learner.statistics().items()}
        return {
            "weights": self.weights,
            **self.optimizer_state,
            "sums": self.sums,
            "bad": self.bad,
            "counter": self.counter,
            **statistics,
            **{f"memory.{name}": array for name, array in (self.memory.arrays if self.memory else {}).items()},
            **{f"average.{name}": average for name, average in self.averages.items()},
        }

    def truth(self, rows: Tensor) -> Tensor:
        """The right labels of rows (R, B), as each run has them: (R, B) int64."""
        labels = self.labels[rows]
        if self.places is None:
            return labels
        return self.places.gather(1, torch.where(labels < 0, self.places.shape[1] - 1, labels))

    def averaged_tensors(self) -> dict[str, Tensor]:
        """The latest of what ``averages`` are of."""
        statistics = {f"buffer.{name}": buffer for name, buffer in self.learner.statistics().items()}
        return {"weights": self.weights, **{name: one for name, one in statistics.items() if one.is_floating_point()}}

    def remembered(self, rows: Tensor) -> Memory | None:
        return None if self.memory is None else self.memory.of(rows)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the networks have their averaged weights, where there are any; afterwards the latest again."""
        latest = self.averaged_tensors() if self.averages else {}
        kept = {name: tensor.detach().clone() for name, tensor in latest.items()}
        with torch.no_grad():
            for name, tensor in latest.items():
                tensor.copy_(self.averages[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in latest.items():
                    tensor.copy_(kept[name])


def step(pack: Pack, masked: bool) -> None:
    """Take the step of number ``pack.counter``, and count it. ``masked``: some run does not take part in it."""
    tables = pack.tables
    rows, lr, alive = (table.index_select(0, pack.counter)[0] for table in (tables.rows, tables.lr, tables.alive))
    augmenting = None if tables.draws is None else tables.draws.index_select(0, pack.counter)[0]
    draws = {key: table.index_select(0, pack.counter)[0] for key, table in pack.draws.items()}
    keys = None if tables.keys is None else tables.keys.index_select(0, pack.counter)[0]
    mask, mixing = alive if masked else None, mixing_of(pack)

    def inputs(runs: slice) -> Tensor:
        x = batch(pack, rows[runs], None if augmenting is None else augmenting[runs], runs)
        x = mixed_inputs(with_styles(tables, pack.counter, x, runs), mixing, runs)
        return torch.cat([batch(pack, rows[runs], None, runs), x]) if pack.loss.two_views else x

    def seen(runs: slice) -> Tensor:
        return with_noise(pack, inputs(runs), runs, keys)

    def descend(runs: slice, gradients: Tensor) -> None:
        # On a CPU only runs that take part come here.
        keep = None if mask is None or pack.learner.layout == "loop" else mask[runs, None]
        state = {name: tensor[runs] for name, tensor in pack.optimizer_state.items()}
        with held(pack, runs, gradients):
            optimizer.descend(pack.weights[runs], gradients, state, lr[runs], pack.settings, keep, pack.decays)

    truth = labels = pack.truth(rows)
    if tables.labels is not None:  # accuracy is by the true one, of clips that have one
        labels = tables.labels.index_select(0, pack.counter)[0]
        truth = torch.where(labels >= 0, truth, -1)
    with pack.learner.unchanged(mask):  # buffers are put back only when no gradient needs them any more
        outputs, teacher = both_sides(pack, rows, inputs, seen, mask, keys)
        memory = pack.remembered(rows)
        (first, heard), second = both_views(pack.loss, outputs, teacher)
        total, raw = pack.loss(first, heard, labels, draws, mixing, memory, second)
        grad_outputs = torch.autograd.grad(total.sum(), list(outputs.values()), allow_unused=True)
        pack.learner.backward(dict(zip(outputs, grad_outputs)), descend)
    if pack.memory and memory:
        pack.memory.write(pack.loss.remembered(first, heard, labels, draws, memory), mask)
    if pack.averages:
        taken = pack.optimizer_state["taken"]
        optimizer.follow(pack.averages, pack.averaged_tensors(), taken, pack.settings.average, mask)
    values = torch.stack([total.detach(), *(raw[term].detach() for term in pack.terms)])
    answers = first.logits.detach().argmax(-1) if pack.targets is None else -2
    tally(pack, values, (truth == answers).sum(-1), mask)
    pack.counter += 1


def mixing_of(pack: Pack, number: Tensor | None = None) -> Mixing | None:
    """How the inputs of a step are mixed, that of ``number`` (1,) or else of ``pack.counter``; None where they are not."""
    if pack.tables.partners is None or pack.tables.shares is None:
        return None
    at = pack.counter if number is None else number
    partners, shares = (table.index_select(0, at)[0] for table in (pack.tables.partners, pack.tables.shares))
    return Mixing(partners, shares, isinstance(pack.teaching, Lesson | Peers))


@contextmanager
def held(pack: Pack, runs: slice, gradients: Tensor) -> Iterator[None]:
    """Frozen weights come out bit for bit, whatever the optimizer: no gradient (nor part in its norm), decay or momentum."""
    if pack.frozen is None:
        yield
        return
    gradients.masked_fill_(pack.frozen, 0.0)
    before = pack.weights[runs].clone()
    yield
    pack.weights[runs] = torch.where(pack.frozen, before, pack.weights[runs])
    momentum = pack.optimizer_state["momentum"]
    momentum[runs] = momentum[runs].masked_fill(pack.frozen, 0.0)


def both_sides(
    pack: Pack, rows: Tensor, inputs: Inputs, seen: Inputs, alive: Tensor | None = None, keys: Tensor | None = None
) -> tuple[Outputs, Outputs | None]:
    """What the students say of a batch, as they have ``seen`` it, and what they hear of it: of their teachers, or of each other."""
    teacher = taught(pack, rows, inputs, alive, keys)
    outputs = pack.learner.forward(seen, alive, teacher)
    return outputs, pack.teaching.batch(outputs) if isinstance(pack.teaching, Peers) else teacher


def taught(
    pack: Pack, rows: Tensor, inputs: Inputs, alive: Tensor | None = None, keys: Tensor | None = None
) -> Outputs | None:
    """What the runs' teachers say of rows (R, B), or of the very ``inputs``, and the constants that terms have of them.

    ``keys`` (R,): from which they draw what they drop.
    """
    if pack.teaching is None or isinstance(pack.teaching, Peers):
        return None
    if isinstance(pack.teaching, Lesson):
        outputs = pack.teaching.batch(inputs, alive, pack.learner, keys)
    else:
        outputs = pack.teaching.batch(pack.teachers, rows)
        if pack.teaching.layers is not None and keys is not None and pack.settings.teacher_dropout:
            rate = pack.settings.teacher_dropout
            outputs["logits"] = pack.teaching.layers.logits(pack.teachers, rows, rate, keys)
    return Outputs({**outputs, **pack.constants})


def batch(pack: Pack, rows: Tensor, draws: Tensor | None, runs: slice = slice(None)) -> Tensor:
    """Samples (B, R, C, H, W) of rows (R, B) of ``runs``, augmented where there are ``draws``."""
    x = pack.samples.index_select(0, rows.t().reshape(-1))
    if pack.augment is not None and draws is not None:
        means = None if pack.means is None else pack.means[runs].repeat(rows.shape[1], 1, 1, 1)
        x = pack.augment(x, draws.transpose(0, 1).reshape(-1, draws.shape[-1]), means)
    return x.unflatten(0, (rows.shape[1], rows.shape[0]))


def with_noise(pack: Pack, x: Tensor, runs: slice, keys: Tensor | None) -> Tensor:
    """Samples (B, R', C, H, W) of some runs as the students see them: x + σ · std · ε, std each run's own deviation of the input.

    Soft randomisation (Arani et al. 2021): Gaussian noise that is added, so that it is heard in silence too.
    """
    if pack.deviation is None or keys is None:
        return x
    noise = normal(keys[runs], x[:, 0].numel(), INPUT).view(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)
    return x + pack.settings.input_noise * pack.deviation[runs] * noise


def tally(pack: Pack, values: Tensor, correct: Tensor, alive: Tensor | None) -> None:
    """Add a step's values to the sums of the epoch, and note where one was not finite for the first time.

    ``values`` (1 + terms, R): the total and each term, unweighted; 0 where a run does not have the term.
    """
    values = torch.cat([values.double(), correct.double()[None]])
    if alive is not None:
        values = torch.where(alive, values, 0.0)
    pack.sums += values
    fresh = (pack.bad < 0) & ~torch.isfinite(values[:-1])
    pack.bad.copy_(torch.where(fresh, pack.counter, pack.bad))


@contextmanager
def threads(layout: str, runs: int) -> Iterator[ThreadPoolExecutor | None]:
    """Threads for the layout ``loop``: as many as torch would use, each with whole runs.

    No operation is split over threads: a run's numbers depend neither on the number of cores nor on the runs beside it.
    """
    if layout != "loop":
        yield None
        return
    before, count = torch.get_num_threads(), min(runs, cores.of_torch())
    torch.set_num_threads(1)
    heap.keep_freed()
    try:
        if count < 2:
            yield None
            return
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
