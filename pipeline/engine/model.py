"""A trained network with all that is needed to use it, in memory and as a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import runs
from pipeline.config import InputError
from pipeline.files import write_atomic
from pipeline.models import Network
from pipeline.models.saved import network_of, weights_digest
from pipeline.runs.weights import read_weights


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with all that is needed to use it; ``payload`` is what its ``model.pt`` holds."""

    payload: Mapping[str, Any]
    network: Network
    """In evaluation mode, on the CPU, with the weights of the last epoch."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record per epoch, as in ``metrics.jsonl``; empty of a model that was read."""
    logits: np.ndarray | None = None
    """(clips, classes) float32 of the held-out clips after the last epoch; None of a model that was read."""
    data: Mapping[int, str] | None = None
    """Fold → digest of its content when it was trained; None where it is not known."""

    @property
    def fold(self) -> int:
        """The fold that it was not trained on; 0 of a corpus without a fold 0: trained on all."""
        return int(self.payload["fold"])

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.payload["classes"])

    @property
    def mix(self) -> str:
        return str(self.payload["mix"])

    @property
    def weights(self) -> str:
        """SHA-256 of its weights, as ``result.json`` of a run has it."""
        return weights_digest(self.payload)

    def __str__(self) -> str:
        return f"{self.payload['model']} of {self.mix}, fold {self.fold}, seed {self.payload['seed']}"


def save(model: Model, path: Path) -> Path:
    """``model.pt`` of a model; see ``audio_rkd.save``."""
    if path.suffix != ".pt":
        raise InputError(f"{path}: expected a name that ends with .pt, by which the commands know weights")
    content = io.BytesIO()  # torch hides what the system says to its writing
    torch.save(dict(model.payload), content)
    write_atomic(path, lambda file: file.write(content.getbuffer()))
    return path


def load(path: Path) -> Model:
    """The model of a run's folder or a ``.pt`` file; see ``audio_rkd.load``."""
    payload = read_weights(path)
    recorded = runs.read(path).data if runs.finished(path) else None
    return Model(payload, network_of(payload), data=recorded)


def given(value: Any) -> Model:
    """A model as a caller gives it: itself, or where it lies. ``InputError`` for anything else."""
    if isinstance(value, str | Path):
        return load(Path(value))
    if not isinstance(value, Model):
        raise InputError(f"{value!r:.80}: expected a Model (of fit or load), a run's folder, or a .pt file")
    return value


def several(values: Any) -> list[Model]:
    """One or several of them; none of None."""
    if values is None:
        return []
    return [given(value) for value in (values if isinstance(values, list | tuple) else [values])]
