"""One term on one batch, for a training loop of a user's own; what it is given is looked at first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses import Outputs, load
from pipeline.losses.library import teacher_reads
from pipeline.losses.mix import Term
from pipeline.losses.several import suited, takes_several


def one_batch(name: str, student: Outputs, teacher: Outputs | None, labels: Tensor, **options: Any) -> Tensor:
    """A term of a mix; see ``audio_rkd.loss``."""
    function = load(name)
    words = tuple(sorted((key, value) for key, value in options.items() if isinstance(value, str)))
    if teacher is None and (read := teacher_reads(name, dict(words))):
        raise InputError(
            f"{name} reads {', '.join(read)} of a teacher, and none is given; expected what one says of the batch"
        )
    require_one_batch(student, teacher)
    logits = student.get("logits")
    if labels is not None and logits is not None:
        labels, more = as_terms_take_them(Term(name, 1.0, words), tuple(logits.shape), labels)
        options |= more
    value: Tensor = function(student, teacher, labels, **options)
    return value


def require_one_batch(student: Outputs, teacher: Outputs | None) -> None:
    """``InputError`` for what no network says, and where student and teacher say it of other batches: one row of a teacher would stand for all."""
    for told, side in ((student, "student"), (teacher, "teacher")):
        if not isinstance(told, Outputs) and (told is not None or side == "student"):
            raise InputError(
                f"{side}: {type(told).__name__}; expected what a network says, or Outputs(embedding=…, logits=…)"
            )
    for name in ("embedding", "logits"):
        if teacher is not None and name in student and name in teacher:
            ours, theirs = (told[name].shape[-2] for told in (student, teacher))
            if ours != theirs:
                raise InputError(
                    f"{name} of {ours} rows by the student, of {theirs} by the teacher; expected both of one batch"
                )


def as_terms_take_them(term: Term, shape: tuple[int, ...], labels: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Labels (..., B) int64 for logits of ``shape``; of several labels a clip, given as (..., B, classes), the number of each clip, and ``targets``."""
    expected = f"expected {shape[:-1]} int64, or {shape} of 0 and 1 where clips have several labels"
    if not isinstance(labels, Tensor):
        raise InputError(
            f"labels: {type(labels).__name__}; expected a torch tensor, such as torch.from_numpy(fold.train_labels)"
        )
    found = f"labels {tuple(labels.shape)} of {labels.dtype} for logits {shape}"
    if tuple(labels.shape) == shape:
        return of_several(term, labels, found, expected)
    if tuple(labels.shape) != shape[:-1] or labels.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8):
        raise InputError(f"{found}: {expected}")
    if labels.numel() and labels.device.type == "cpu" and not -1 <= int(labels.min()) <= int(labels.max()) < shape[-1]:
        raise InputError(
            f"labels from {int(labels.min())} to {int(labels.max())} for {shape[-1]} classes; expected 0 to {shape[-1] - 1}, or -1 without one"
        )
    return labels.long(), {}


def of_several(term: Term, labels: Tensor, found: str, expected: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The number of each clip, and for terms that read labels their ``targets`` (clips, classes)."""
    if not takes_several(term):
        raise InputError(
            f"{found}: {term.name} needs one label a clip; expected labels {tuple(labels.shape[:-1])}, or one of {', '.join(suited())}"
        )
    if labels.device.type == "cpu" and not bool(((labels == 0) | (labels == 1)).all()):
        raise InputError(f"{found}, not all 0 or 1: {expected}")
    targets = labels.reshape(-1, labels.shape[-1]).float()
    numbers = torch.arange(len(targets), device=labels.device).reshape(labels.shape[:-1])
    return numbers, {"targets": targets} if term.name == "ce" else {}
