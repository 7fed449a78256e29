"""The labels that a run learns, and how often each class is among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.training.task import Run


def known_labels(labels: Tensor, run: Run) -> Tensor:
    """The labels of a run's training rows, as it knows them."""
    if run.task.labels is not None:
        return torch.as_tensor(run.task.labels, device=labels.device)
    known = labels[torch.as_tensor(run.task.train, device=labels.device)]
    if run.task.classes is None:
        return known
    return torch.as_tensor(run.task.places(known.cpu().numpy()), device=labels.device)


def places_of(runs: Sequence[Run], labels: Tensor) -> Tensor | None:
    """(R, C + 1) int64: of each class of the samples, whose ``labels`` are (rows,), its place in a run's classes, −1 where it has
    none, and behind them −1 for no class. None where all runs have all classes."""
    if all(run.task.classes is None for run in runs):
        return None
    most = max([int(labels.max()), *(max(run.task.classes or (0,)) for run in runs)])
    every = np.append(np.arange(most + 1), -1)
    return torch.from_numpy(np.stack([run.task.places(every) for run in runs])).to(labels.device)


def balanced(labels: Tensor, classes: int) -> Tensor:
    """(classes,) weights n / (classes · count) of the training rows, whose ``labels`` are (n,); a class without any gets 0."""
    counts = torch.bincount(labels, minlength=classes)
    return torch.where(counts > 0, len(labels) / (classes * counts.clamp(min=1)), 0.0).float()


def weights_of(labels: Tensor, classes: int, targets: Tensor | None) -> Tensor:
    """The ``class_weights`` "balanced" of a run: of one label a clip those of its classes, of several those of their positives."""
    return balanced(labels, classes) if targets is None else positive_weights(labels, targets)


def targets_of(runs: Sequence[Run], device: torch.device) -> Tensor | None:
    """(labels, classes) float32 of a pack whose clips have several labels each; None where they have one.

    ``InputError`` where its runs do not agree on them.
    """
    each = [run.task.targets for run in runs]
    first = each[0]
    for other in each:
        if other is not first and (other is None or first is None or not np.array_equal(other, first)):
            raise InputError("runs whose labels stand for different classes; expected those of one corpus in a pack")
    return None if first is None else torch.from_numpy(first).to(device)


def positive_weights(labels: Tensor, targets: Tensor) -> Tensor:
    """(classes,) weights (n − n_c) / n_c of the clips that have a class, n_c of the n training rows, whose ``labels`` are (n,), so that
    those with it weigh as much as those without; 1 of a class that none has, or all have."""
    counts = targets.double()[labels].sum(0)
    mixed = (counts > 0) & (counts < len(labels))
    return torch.where(mixed, (len(labels) - counts) / counts.clamp(min=1), 1.0).float()
