"""Teachers that run in the step: frozen networks on the very input of the student.

For what cannot be stored: maps that do not fit into memory, inputs that are augmented anew in every step.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses.adapting import shapes
from pipeline.losses.learner import Inputs, Learner
from pipeline.losses.needs import MEMBERS, Needs
from pipeline.models import Network, Outputs
from pipeline.models.outputs import lacking
from pipeline.training.dropout import Dropout, output_layer, with_masks
from pipeline.training.members import as_one
from pipeline.training.task import Run
from pipeline.training.teaching import CHUNK
from pipeline.training.tuning import tuned


class Live:
    """G frozen teachers, each a network or several (an ensemble); in evaluation mode, without gradients, in float32.

    Runs with the same teacher and the same batches share one forward pass.
    """

    def __init__(self, teachers: Sequence[Sequence[Network]], average: str = "probabilities") -> None:
        """``average``: of an ensemble, what its logits are the mean of, see ``members.as_one``."""
        self.average = average
        self.teachers = [[network.eval().requires_grad_(False) for network in members] for members in teachers]

    def __len__(self) -> int:
        return len(self.teachers)

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Live:
        """Copies, so that a caller's networks stay as they are."""
        moved = [[copy.deepcopy(network).to(device, dtype) for network in members] for members in self.teachers]
        return Live(moved, self.average)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each output of the first teacher; of an ensemble: of its first member, but the embeddings of all lie side by side."""
        each = [shapes(member) for member in self.teachers[0]]
        return {**each[0], "embedding": (sum(one["embedding"][0] for one in each),)}

    def require(self, needs: Needs) -> None:
        """``InputError`` where a teacher lacks an output that a term reads."""
        for members in self.teachers:
            needs.of_teacher(
                len(members), f"{len(members)} × {members[0].name}" if len(members) > 1 else members[0].name
            )
        maps = ("maps",) if needs.reduced else ()
        names = tuple(name for name in (*needs.outputs, *maps) if name != MEMBERS)
        for network in {member.name: member for members in self.teachers for member in members}.values():
            for name in lacking(names, there := shapes(network)):
                raise InputError(
                    f"the teacher's {name!r}: {network.name} has {', '.join(there)}; expected a teacher that has it"
                )

    def digest(self, teacher: int, rows: np.ndarray) -> bytes:
        """Of one teacher's weights, and that it runs."""
        content = hashlib.sha256(b"live")
        for network in self.teachers[teacher]:
            for name, tensor in sorted(network.state_dict().items()):
                content.update(name.encode() + tensor.cpu().numpy().tobytes())
        return content.digest()

    @torch.no_grad()
    def says(self, teacher: int, x: Tensor, needs: Needs) -> Outputs:
        """What a teacher says of a batch (B, C, H, W), as far as it is needed."""
        outputs = [needs.raw(network(x)) for network in self.teachers[teacher]]
        return as_one(outputs, needs.members, self.average)

    @torch.no_grad()
    def kept(self, teacher: int, x: Tensor, needs: Needs, networks: Sequence[Network] | None = None) -> Outputs:
        """What is kept of what a teacher says of a batch; of members of an ensemble, whose maps may be unlike, of each by itself.

        ``networks``: in place of its own.
        """
        outputs = [needs.keep(needs.raw(network(x))) for network in networks or self.teachers[teacher]]
        return as_one(outputs, needs.members, self.average)

    def bytes_of_row(self, needs: Needs) -> int:
        """Memory that what is kept of a clip takes for one teacher."""
        first = self.teachers[0][0]
        kept = self.kept(0, torch.zeros(1, *first.shape, dtype=first.mean.dtype, device=first.mean.device), needs)
        return sum(values.nbytes for values in kept.values())

    def measured(
        self, teacher: int, samples: Tensor, rows: np.ndarray, labels: Tensor, needs: Needs
    ) -> dict[str, Tensor]:
        """The constants of one teacher, from some rows of the samples and their labels."""
        index = torch.as_tensor(rows, device=samples.device)

        def parts() -> Iterator[Outputs]:
            return (self.says(teacher, samples.index_select(0, part), needs) for part in index.split(CHUNK))

        with tuned(samples.device, tf32=False):  # what is distilled is not rounded
            return needs.measured(parts, labels, output_layer(self.teachers[teacher]) if needs.heads else None)


class Lesson:
    """Live teachers as a pack uses them: which of its runs share a forward pass, and what is kept of it."""

    def __init__(
        self, live: Live, runs: Sequence[Run], needs: Needs, device: torch.device, dropout: Dropout | None = None
    ) -> None:
        keys = [(run.teacher, *run.batches()) for run in runs]
        self.live, self.needs = live, needs
        #: One for each forward pass, sorted by teacher: the runs that share it.
        self.groups = [[r for r, other in enumerate(keys) if other == key] for key in sorted(set(keys))]
        self.taught_by = [runs[group[0]].teacher for group in self.groups]
        #: (groups,) of each the run whose input is taken; (R,) of each run its group.
        self.taken = torch.tensor([group[0] for group in self.groups], device=device)
        self.group = torch.tensor(
            [next(i for i, g in enumerate(self.groups) if r in g) for r in range(len(runs))], device=device
        )

        #: (groups,) from what each forward pass draws its masks, and the networks with masks of each group, where they drop.
        self.keys = torch.zeros(len(self.groups), dtype=torch.int64, device=device)
        self.masked: dict[tuple[int, int], list[Network]] = {}
        self.dropout = dropout

    def asked(self, first: int, count: int, x: Tensor) -> Outputs:
        """What is kept of what the teacher of ``count`` groups from the ``first`` on says of their batches, one behind the other."""
        teacher = self.taught_by[first]
        if self.dropout is None:
            return self.live.kept(teacher, x, self.needs)
        return self.live.kept(teacher, x, self.needs, self.networks(first, count, self.dropout))

    def networks(self, first: int, count: int, dropout: Dropout) -> list[Network]:
        """Those of ``asked``, with masks."""
        if (first, count) not in self.masked:
            keys, members = self.keys[first : first + count], self.live.teachers[self.taught_by[first]]
            self.masked[first, count] = [
                with_masks(network, dropout, keys, member) for member, network in enumerate(members)
            ]
        return self.masked[first, count]

    def start_epoch(self, stopped: Sequence[bool]) -> None:
        """Take the input of a run that goes on: the rows of one that has stopped are not those of its batches."""
        going = [next((r for r in group if not stopped[r]), group[0]) for group in self.groups]
        self.taken.copy_(torch.tensor(going))

    @torch.no_grad()
    def batch(self, inputs: Inputs, alive: Tensor | None, learner: Learner, keys: Tensor | None = None) -> Outputs:
        """Every output with the axes (R, B, ...); zeros for runs that take no part and are computed one by one.

        ``keys`` (R,): from which runs draw their noise in this step.
        """
        if self.dropout is not None:
            assert keys is not None
            self.keys.copy_(keys[self.taken])
        with tuned(self.taken.device, tf32=False):  # what is distilled is not rounded
            each = self.one_by_one(inputs, alive, learner) if learner.layout == "loop" else self.at_once(inputs)
        return Outputs({name: value.index_select(0, self.group) for name, value in each.items()})

    def one_by_one(self, inputs: Inputs, alive: Tensor | None, learner: Learner) -> dict[str, Tensor]:
        taken = self.taken.tolist()
        going = [i for i, run in enumerate(taken) if alive is None or alive[run]]
        parts: dict[int, Outputs] = {}

        def ask(group: int) -> None:
            run = taken[group]
            with torch.no_grad():
                x = inputs(slice(run, run + 1))[:, 0]
                parts[group] = self.asked(group, 1, x)

        learner.spread(ask, going)
        some = parts[going[0]]
        filler = Outputs({name: torch.zeros_like(value) for name, value in some.items()})
        return {name: torch.stack([parts.get(i, filler)[name] for i in range(len(taken))]) for name in some}

    def at_once(self, inputs: Inputs) -> dict[str, Tensor]:
        """Of each teacher one batch with those of all its runs."""
        x = inputs(slice(None)).index_select(1, self.taken)  # (B, groups, C, H, W)
        parts = []
        for teacher in sorted(set(self.taught_by)):
            first, count = self.taught_by.index(teacher), self.taught_by.count(teacher)
            its_input = x[:, first : first + count].transpose(0, 1).flatten(0, 1)
            kept = self.asked(first, count, its_input)
            parts.append({name: value.unflatten(0, (count, len(x))) for name, value in kept.items()})
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
