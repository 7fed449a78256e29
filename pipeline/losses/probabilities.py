"""Probabilities of outputs, and what a teacher's are where it is wrong, as several losses need them.

An option of a mix is one number, or a tensor (...,) with a number per run where it changes from epoch to epoch.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Number = float | Tensor
"""One number, or one per run (...,)."""

Share = Annotated[Number, "(0, 1)"]
"""The same between 0 and 1."""

#: What teaches where a teacher names another class than the label (``targets``).
Wrong = Literal["keep", "label", "swap", "smooth"]

#: What a term takes of outputs: as they are, or of each clip standardised over its classes (``standardised``).
Logits = Literal["raw", "standard"]

#: A standard deviation over the classes that is smaller counts as this: a fresh student has about 0.1.
LEAST_DEVIATION = 1e-3


def log_probabilities(logits: Tensor, T: Number = 1.0) -> Tensor:
    """log softmax(z / T) over the last axis, in float32 at least: logits (..., B, C)."""
    return log_probabilities_of_clips(logits, per_run(T))


def log_probabilities_of_clips(logits: Tensor, T: Number) -> Tensor:
    """log softmax(z_n / T_n): logits (..., B, C), ``T`` one number or (..., B)."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.log_softmax(wide / per_run(T, wide), -1)


def log_shares(scores: Tensor, members: Tensor) -> Tensor:
    """log softmax over the ``members`` alone, of scores and a mask that fit together, along the last axis; 0 of others, and
    where there is none: theirs may be so much larger than all members' that a share would be infinite."""
    among = torch.where(members, scores, -torch.inf)
    nobody = ~members.any(-1, keepdim=True)
    return torch.where(members, scores - torch.where(nobody, 0.0, among).logsumexp(-1, keepdim=True), 0.0)


def prepared(logits: Tensor, which: Logits) -> Tensor:
    """Outputs as a term takes them, in float64: (..., B, C), ``standardised`` where ``which`` says so."""
    wide = logits.double()
    return standardised(wide) if which == "standard" else wide


def standardised(logits: Tensor) -> Tensor:
    """(z − mean) / max(sd, 10⁻³) over the classes of each clip, sd with C − 1, with its gradient: (..., B, C) (Sun et al. 2024, CVPR).

    Unchanged where outputs become a z + b with a > 0, as long as sd is above its floor; equal outputs are 0. With C = 2 every clip is
    ±0.7071, without gradient.
    """
    centred = logits - logits.mean(-1, keepdim=True)
    deviation = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / max(logits.shape[-1] - 1, 1) ** 0.5
    return centred / deviation.clamp_min(LEAST_DEVIATION)


def per_run(number: Number, like: Tensor | None = None) -> Number:
    """A number per run with one more axis, so that it meets what a run has; of the type of ``like``."""
    if not isinstance(number, Tensor):
        return number
    return (number if like is None else number.to(like))[..., None]


def targets(
    logits: Tensor, labels: Tensor | None, T: Number = 1.0, wrong: Wrong = "keep", epsilon: Number = 0.95
) -> Tensor:
    """The probabilities that teach: softmax(z_t / T), corrected where the teacher is wrong. (..., B, C), without gradient.

    ``wrong`` says what stands where the teacher's first largest output is not the label: ``keep`` its probabilities,
    ``label`` all on the label (Meng et al. 2019), ``swap`` those of the top class and of the label exchanged, ``smooth``
    ``epsilon`` on the label and (1 − epsilon) / (C − 1) on each other class (both Wen et al. 2019). A clip without a label
    (−1) keeps the teacher's.
    """
    return corrected(log_probabilities(logits.detach(), T), logits, labels, wrong, epsilon).exp()


def corrected(log_p: Tensor, logits: Tensor, labels: Tensor | None, wrong: Wrong, epsilon: Number) -> Tensor:
    """Logarithms of ``targets``, from those of the teacher's probabilities; log 0 is a number, so that 0 · log 0 is 0."""
    if wrong == "keep":
        return log_p
    assert labels is not None
    top, label = logits.detach().argmax(-1, keepdim=True), labels.clamp_min(0)[..., None]
    classes = torch.arange(log_p.shape[-1], device=log_p.device)
    if wrong == "swap":
        partner = torch.where(classes == label, top, torch.where(classes == top, label, classes))
        instead = log_p.gather(-1, partner)
    elif wrong == "label":
        instead = torch.full_like(log_p, torch.finfo(log_p.dtype).min).scatter(-1, label, 0.0)
    else:
        instead = log_of_smooth(label, log_p, epsilon)
    return torch.where((labels[..., None] >= 0) & (top != label), instead, log_p)


def log_of_smooth(label: Tensor, like: Tensor, share: Number) -> Tensor:
    """log of ``share`` on the label and (1 − share) / (C − 1) on each other class, of the type and shape of ``like``.

    label (..., B, 1), like (..., B, C).
    """
    classes = torch.arange(like.shape[-1], device=like.device)
    on = share.to(like)[..., None, None] if isinstance(share, Tensor) else torch.full_like(like[..., :1], share)
    return torch.where(classes == label, on, (1 - on) / max(len(classes) - 1, 1)).log()


def mean_of_labelled(values: Tensor, labels: Tensor) -> Tensor:
    """Mean over the clips that have a label (not −1): values, labels (..., B) → (...,); 0 with gradient 0 without any."""
    return mean_of_clips(values, labels >= 0)


def mean_of_clips(values: Tensor, rows: Tensor | None) -> Tensor:
    """Mean over the clips that count: values, rows (..., B) → (...,); of all where ``rows`` is None, 0 where none counts.

    ``rows``: boolean, or by how much each counts.
    """
    if rows is None:
        return values.mean(-1)
    if rows.is_floating_point():
        total = rows.to(values).sum(-1)
        weighted = torch.where(rows > 0, values, 0.0) * rows.to(values)
        return weighted.sum(-1) / torch.where(total > 0, total, 1.0)
    return torch.where(rows, values, 0.0).sum(-1) / rows.sum(-1).clamp_min(1)
