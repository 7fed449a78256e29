"""Local distillation: among the classes of the batch, what the teacher's space says by the class centres, weighted by how sure it is.

c_k = unit mean of the teacher's embeddings over the training clips of class k, the student's classes; S the classes of the batch:
L = mean over n of λ_n KL(softmax(e_n · c_S / T) ‖ softmax(z_n restricted to S)),  e the teacher's embedding, z the student's output

The teacher need not know these classes. λ_n, ``adaptive``, from the teacher's own outputs, over its own classes:
w_n = −log max softmax(own_n),  ŵ = (w − min) / (max − min),  λ_n = 2 σ(−ŵ), from 1 where it is surest to 0.5379
    batch   min and max over the batch, as published: of two clips one always has 1, the other 0.5379, whatever the teacher says
    set     over all training clips: without the batch's noise
    off     λ = 1
Where all w are equal (a batch of one clip, too) λ = 1; theirs is NaN.

Ye, Lu and Zhan (REFILLED), stage two, started from ``comparison``. T is on the teacher alone, with weight 1, as their later code; their
earlier code has it on both sides, with weight 100. Their centres are kept by data and network name, so that another fold's may serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result, class_means
from pipeline.losses.floors import unit
from pipeline.losses.probabilities import Number, log_shares, mean_of_clips, per_run

FORMULA = (
    "mean over the batch of lambda KL(softmax(e c_S / T) || softmax(z_S)), S its classes, c the unit class means of the teacher's "
    "embeddings e; lambda = 2 sigmoid(-w), w the teacher's own doubt from 0 to 1"
)
SOURCE = "Ye, Lu and Zhan (REFILLED), stage two, as their later code; adaptive = set is this project's"
READS = ("logits",)
TEACHER = {
    "adaptive=batch": ("embedding", "own"),
    "adaptive=set": ("embedding", "own"),
    "adaptive=off": ("embedding",),
}
WEIGHT = 1.0
MIX = "ce:1,local:1"
ROWS = 3  # of fewer in one class nothing is learned
CHAIN = "a first training by comparison, which it goes on from"
RECIPE = "refilled-same"
NOTE = "the teacher may have other classes: it speaks by its space, and by how sure it is among its own"

Adaptive = Literal["batch", "set", "off"]


def constants(
    arrays: Outputs, labels: Tensor, student: Mapping[str, tuple[int, ...]], *, adaptive: Adaptive = "batch"
) -> dict[str, Tensor]:
    """``centres`` (C, D): of each class the unit mean of the teacher's embeddings (n, D) over the training clips, 0 without any;
    ``doubt`` (2,): the least and the largest w of these."""
    centres = unit(class_means(arrays.embedding.double(), labels, student["logits"][0]))
    if adaptive == "off":
        return {"centres": centres}
    return {"centres": centres, "doubt": torch.stack(doubt(arrays.own).aminmax())}


def local(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor,
    rows: Tensor | None = None,
    *,
    T: Number = 2.0,
    classes: Literal["batch", "all"] = "batch",
    adaptive: Adaptive = "batch",
) -> Tensor:
    """Divergence among some classes: logits (..., B, C), labels (..., B) → (...,), in nats; 0 where these are fewer than two.

    ``T``: by which the teacher's products are divided; ``classes``: those of the batch, or all that have a training clip. ``teacher``:
    ``embedding`` (..., B, D), ``own`` (..., B, C_T), its logits over its own classes, and ``constants``, ``centres`` (..., C, D) and
    ``doubt`` (..., 2). Clips without a label (−1) are left out, and so are those that ``rows`` (..., B) leaves out.
    """
    counted = labels >= 0 if rows is None else (labels >= 0) & rows
    kept: Mapping[str, Tensor] = teacher.constants  # type: ignore[assignment]
    centres = kept["centres"].detach().double()
    there = centres.any(-1)
    if classes == "batch":
        number = torch.arange(student.logits.shape[-1], device=labels.device)
        there = there & ((labels[..., None] == number) & counted[..., None]).any(-2)
    there = (there & (there.sum(-1, keepdim=True) > 1))[..., None, :]
    taught = teacher.embedding.detach().double() @ centres.mT / per_run(per_run(T))
    log_p, log_q = (log_shares(side, there) for side in (taught, student.logits.double()))
    divergence = torch.where(there, log_p.exp() * (log_p - log_q), 0.0).sum(-1)
    if adaptive != "off":
        own = doubt(teacher.own.detach())
        divergence = (
            weights(own, *(ends_of(own, counted) if adaptive == "batch" else kept["doubt"].unbind(-1))) * divergence
        )
    return as_result(mean_of_clips(divergence, counted), student.logits)


def doubt(own: Tensor) -> Tensor:
    """w = −log max softmax of a teacher's own logits: (..., C_T) → (...), in nats, float64; 0 where it is sure."""
    return -own.double().log_softmax(-1).amax(-1)


def ends_of(doubts: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest over the clips that count: (..., B) → two (...,)."""
    return (
        torch.where(counted, doubts, torch.inf).amin(-1),
        torch.where(counted, doubts, -torch.inf).amax(-1),
    )


def weights(doubts: Tensor, least: Tensor, largest: Tensor) -> Tensor:
    """λ = 2 σ(−ŵ) of w (..., B), between its ends (...,): (..., B), from 0.5379 to 1; 1 where these are equal."""
    span = (largest - least)[..., None]
    share = torch.where(span > 0, (doubts - least[..., None]) / torch.where(span > 0, span, 1.0), 0.0)
    return 2 * (-share.clamp(0, 1)).sigmoid()
