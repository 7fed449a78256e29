"""The labels that a run learns, and how often each class is among them."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.training.task import Run


def known_labels(labels: Tensor, run: Run) -> Tensor:
    """The labels of a run's training rows, as it knows them."""
    if run.task.labels is not None:
        return torch.as_tensor(run.task.labels, device=labels.device)
    return labels[torch.as_tensor(run.task.train, device=labels.device)]


def balanced(labels: Tensor, classes: int) -> Tensor:
    """(classes,) weights n / (classes · count) of the training rows, whose ``labels`` are (n,); a class without any gets 0."""
    counts = torch.bincount(labels, minlength=classes)
    return torch.where(counts > 0, len(labels) / (classes * counts.clamp(min=1)), 0.0).float()
