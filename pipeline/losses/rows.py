"""Terms of some clips of a batch only: those with a label, or those without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.losses.probabilities import mean_of_clips


class Single:
    """Outputs (R, B, ...) with each clip as a batch of its own: (R, B, 1, ...). Constants (R, ...) become (R, 1, ...)."""

    def __init__(self, outputs: Any) -> None:
        self._outputs = outputs

    def __getattr__(self, name: str) -> Any:
        value, axis = getattr(self._outputs, name), 1 if name == "constants" else 2
        if isinstance(value, Mapping):
            return {key: each.unsqueeze(axis) for key, each in value.items()}
        return value.unsqueeze(axis)


def restricted(
    function: Callable[..., Tensor], rows: str, masked: bool, student: Any, teacher: Any, labels: Tensor
) -> Tensor:
    """A term (R,) of the clips with a label (``rows`` "labelled") or without ("unlabelled": −1); 0 where there is none.

    ``masked``: the loss takes the clips that count itself, as ``rows`` (R, B). Any other is a mean over clips: it is
    computed of each clip alone, and the mean is over those that count. Shapes do not depend on how many do.
    """
    counted = counted_clips(rows, labels)
    if masked:
        return function(student, teacher, labels, rows=counted)
    values = function(Single(student), None if teacher is None else Single(teacher), labels[..., None])
    return mean_of_clips(values, counted)


def counted_clips(rows: str, labels: Tensor) -> Tensor:
    """Which clips of labels (R, B) have a label (``rows`` "labelled"), or none ("unlabelled": −1)."""
    return labels >= 0 if rows == "labelled" else labels < 0


def of_rows(values: Tensor, rows: Tensor | None) -> Tensor:
    """0, without a gradient, at the clips that do not count: (..., B, N), rows (..., B) → (..., B, N). ``rows`` None: all count."""
    return values if rows is None else torch.where(rows[..., None], values, 0.0)


def mean_of_clip_pairs(values: Tensor, rows: Tensor | None) -> Tensor:
    """Mean over all pairs of clips that count, each with itself too: (..., B, B) → (...,); 0 where none counts."""
    if rows is None:
        return values.mean((-2, -1))
    return mean_of_clips(mean_of_clips(values, rows[..., None, :]), rows)
