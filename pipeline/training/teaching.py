"""What teachers say of the batches: ``batch(rows)`` → ``Outputs`` of each run's own teacher.

- ``Stored``: arrays that were computed once, before the first step;
- ``Live``: teachers that run in the step, on the very input of the student (not built yet);
- ``File``: arrays of any program, from an npz or HDF5 file by clip and view (not built yet).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.models import Outputs
from pipeline.models.outputs import chosen, lacking


class Stored:
    """G teachers' outputs of every row of ``samples``; rows that no run trains on may hold anything."""

    def __init__(self, outputs: Mapping[str, Tensor]) -> None:
        """``outputs``: name → (G, rows, ...), for example embedding (G, rows, D) and logits (G, rows, classes)."""
        self.outputs = Outputs(outputs)

    def __len__(self) -> int:
        return len(self.outputs.logits)

    def to(self, device: torch.device) -> Stored:
        return Stored({name: values.to(device) for name, values in self.outputs.items()})

    def batch(self, teachers: Tensor, rows: Tensor) -> Outputs:
        """What the teachers (R, 1) say of rows (R, B): every output with the axes (R, B, ...)."""
        return Outputs({name: values[teachers, rows] for name, values in self.outputs.items()})

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each output, without teachers and rows."""
        return {name: tuple(values.shape[2:]) for name, values in self.outputs.items()}

    def only(self, names: Sequence[str]) -> Stored:
        """These outputs alone: what no term reads costs nothing."""
        return Stored({name: self.outputs[name] for name in chosen(names, self.outputs)})

    def require(self, names: Sequence[str]) -> None:
        """``InputError`` where an output that a term reads was not stored."""
        for name in lacking(names, self.outputs):
            raise InputError(f"the teacher's {name!r} is not stored; expected some of {', '.join(self.outputs)}")

    def digest(self, teacher: int, rows: np.ndarray) -> bytes:
        """Of what one teacher says of some rows: the sums of its logits."""
        logits = self.outputs.logits
        kept = logits[teacher, torch.as_tensor(rows, device=logits.device)]
        return kept.double().sum(0).cpu().numpy().tobytes()


class Live:
    """Teachers that run in the step. Their place; what would use them is refused until they are built."""

    def __init__(self) -> None:
        raise InputError("a live teacher: not built yet; expected a teacher whose outputs are stored, a run's folder")


class File:
    """A teacher of another program, from a file. Its place; it is refused until it is built."""

    def __init__(self, path: Path) -> None:
        raise InputError(f"{path}: a teacher from a file is not built yet; expected a run's folder")
