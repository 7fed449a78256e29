"""The labels that a run learns, and how often each class is among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

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
