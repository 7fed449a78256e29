"""What teachers say of the batches: ``Outputs`` of each run's own teacher.

- ``Stored``: arrays that were computed once, before the first step;
- ``Live`` (``training.live``): teachers that run in the step, on the very input of the student;
- ``File``: arrays of any program, from an npz or HDF5 file by clip and view (``pipeline.teacher_files`` reads them).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses.needs import CONSTANTS, MEMBERS, REDUCED, Needs
from pipeline.models import Outputs
from pipeline.models.outputs import chosen, lacking
from pipeline.training.dropout import OutputLayers

#: Rows of arrays that are reduced at once.
CHUNK = 64


class Stored:
    """G teachers' outputs of every row of ``samples``; rows that no run trains on may hold anything."""

    def __init__(
        self,
        outputs: Mapping[str, Tensor],
        constants: Mapping[str, Tensor] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        layers: OutputLayers | None = None,
    ) -> None:
        """``outputs``: name → (G, rows, ...), for example embedding (G, rows, D) and logits (G, rows, classes).

        ``constants``: ``constants KEY NAME`` → (G, ...), where they were computed already. ``shapes``: of outputs of which
        only what ``reduced`` of a loss keeps is stored. ``layers``: the teachers' output layers, where dropout is before these.
        """
        self.layers = layers
        self.outputs, self.constants, self.known = Outputs(outputs), dict(constants or {}), dict(shapes or {})

    @property
    def any(self) -> Tensor:
        """The logits, (G, rows, ...); of teachers that have none another output."""
        return self.outputs.get("logits", next(iter(self.outputs.values())))

    def __len__(self) -> int:
        return len(self.any)

    def to(self, device: torch.device) -> Stored:
        outputs, constants = (
            {name: values.to(device) for name, values in part.items()} for part in (self.outputs, self.constants)
        )
        return Stored(outputs, constants, self.known, self.layers and self.layers.to(device))

    def batch(self, teachers: Tensor, rows: Tensor) -> Outputs:
        """What the teachers (R, 1) say of rows (R, B): every output with the axes (R, B, ...)."""
        return Outputs({name: values[teachers, rows] for name, values in self.outputs.items()})

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each output, without teachers and rows."""
        return {**self.known, **{name: tuple(values.shape[2:]) for name, values in self.outputs.items()}}

    def prepared(self, needs: Needs) -> Stored:
        """What the terms read alone: what none reads costs nothing, and of maps with a reduction only that is kept."""
        self.require(needs)
        known = {name: shape for name, shape in self.shapes().items() if not name.startswith(f"{REDUCED} ")}
        missing = tuple(term for term in needs.reduced if not self.has(REDUCED, term.key))
        names = tuple(self.outputs) if needs.vague else chosen(("logits", *needs.outputs), self.outputs)
        kept = {name: self.outputs[name] for name in names}
        kept |= {n: v for n, v in self.outputs.items() if any(self.named(n, REDUCED, t.key) for t in needs.reduced)}
        only = Needs((), reduced=missing, student=needs.student)
        for start in range(0, self.any.shape[1] if missing else 0, CHUNK):
            part = slice(start, start + CHUNK)
            for name, values in only.keep(self.rows(slice(None), part)).items():
                if name not in kept:
                    kept[name] = values.new_empty(*self.any.shape[:2], *values.shape[2:])
                kept[name][:, part] = values
        some = kept or {name: self.outputs[name] for name in list(self.outputs)[:1]}
        return Stored(some, self.constants, known, self.layers)

    def require(self, needs: Needs) -> None:
        """``InputError`` where an output that a term reads was not stored."""
        if needs.ensemble and MEMBERS not in self.outputs:
            needs.of_teacher(1, "without members")
        for name in lacking(needs.outputs, self.outputs):
            raise InputError(f"the teacher's {name!r} is not stored; expected some of {', '.join(self.outputs)}")
        for term in needs.reduced:
            if not self.has(REDUCED, term.key) and not self.outputs.maps:
                raise InputError(
                    f"{term.key} reads maps of the teacher, and none is stored; expected some of {', '.join(self.outputs)}"
                )

    def has(self, word: str, key: str) -> bool:
        return any(self.named(name, word, key) for name in (*self.outputs, *self.constants))

    @staticmethod
    def named(name: str, word: str, key: str) -> bool:
        """Whether a name is that of something that a function of a loss file gave: ``WORD KEY …``."""
        return name.split(" ")[:2] == [word, key]

    def rows(self, teachers: slice | int, part: slice | Tensor) -> Outputs:
        return Outputs({name: values[teachers, part] for name, values in self.outputs.items()})

    def measured(self, teacher: int, rows: np.ndarray, labels: Tensor, needs: Needs) -> dict[str, Tensor]:
        """The constants of one teacher, from some rows of it and their labels where they are not there yet."""
        if all(self.has(CONSTANTS, term.key) for term in needs.constants):
            wanted = {term.key for term in needs.constants}
            return {n: v[teacher] for n, v in self.constants.items() if n.split(" ")[1] in wanted}
        index = torch.as_tensor(rows, device=self.any.device)

        def parts() -> Iterator[Outputs]:
            return (self.rows(teacher, part) for part in index.split(CHUNK))

        head = None if self.layers is None else (self.layers.weight[teacher], self.layers.bias[teacher])
        return needs.measured(parts, labels, head)

    def digest(self, teacher: int, rows: np.ndarray) -> bytes:
        """Of what one teacher says of some rows: the sums of its logits, or of what it has."""
        logits = self.any
        kept = logits[teacher, torch.as_tensor(rows, device=logits.device)]
        return kept.double().sum(0).cpu().numpy().tobytes()


class File:
    """What teachers of any program say, from files: asked as ``Live`` is, by numbers of rows in place of inputs. Nothing is opened
    here."""

    def __init__(
        self, teachers: Sequence[Mapping[str, np.ndarray]], device: torch.device, channels_last: Sequence[str] = ()
    ) -> None:
        """``teachers``: each name → (rows, ...) float32, by the rows of ``samples``; rows that no run trains on may hold anything.

        ``channels_last``: names of maps that lay so in the memory of whoever wrote them: sums over channels keep their last bit.
        """
        self.channels_last = frozenset(channels_last)
        self.teachers = [
            Outputs({name: torch.from_numpy(values).to(device) for name, values in one.items()}) for one in teachers
        ]

    def __len__(self) -> int:
        return len(self.teachers)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each output of the first teacher, without rows."""
        return {name: tuple(values.shape[1:]) for name, values in self.teachers[0].items()}

    def says(self, teacher: int, rows: Tensor, needs: Needs) -> Outputs:
        """What a teacher says of some rows (n,), as far as it is needed."""
        whole = self.teachers[teacher]
        taken = {name: values.index_select(0, rows) for name, values in needs.raw(whole).items()}
        return Outputs({name: self.laid(name, values) for name, values in taken.items()})

    def kept(self, teacher: int, rows: Tensor, needs: Needs) -> Outputs:
        """What is kept of what a teacher says of some rows."""
        return needs.keep(self.says(teacher, rows, needs))

    def laid(self, name: str, values: Tensor) -> Tensor:
        return values.contiguous(memory_format=torch.channels_last) if name in self.channels_last else values

    def measured(
        self, teacher: int, numbers: Tensor, rows: np.ndarray, labels: Tensor, needs: Needs
    ) -> dict[str, Tensor]:
        """The constants of one teacher, from some of the rows ``numbers`` and their labels."""
        index = torch.as_tensor(rows, device=numbers.device)

        def parts() -> Iterator[Outputs]:
            return (self.says(teacher, numbers.index_select(0, part), needs) for part in index.split(CHUNK))

        return needs.measured(parts, labels)
