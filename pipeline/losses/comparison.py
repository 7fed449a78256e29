"""Comparison matching: how much nearer a clip is to one of its own class than to others, as the teacher's space has it.

D = distances of unit rows; for every ordered pair (a, p) of one class, N its negatives that the student holds for semi-hard, clips of
other classes with 0 < D_s(a, n) − D_s(a, p) ≤ margin, the K nearest of them (K = 0: all):
L = mean over the pairs with N ≠ ∅ of KL(P_t ‖ P_s),  P = softmax over p and N of −D(a, ·) / τ

Ye, Lu and Zhan (REFILLED), stage one: it asks for no class in common between the teacher and the student. With K = 1 it is
ρ Diff + log(1 + exp(−Diff)) but for a constant, Diff = (D_s(a, n) − D_s(a, p)) / τ and ρ the teacher's P of n. The later version
of their code cuts every tuple to the smallest N of the batch; here each keeps its own. Batches by class give it pairs:
``--set student.sampler=classes:4 --set student.batch=16``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result, pairs_of_labels, unit_rows
from pipeline.losses.probabilities import Number, log_shares, per_run
from pipeline.relations import distances

FORMULA = (
    "mean over pairs a, p of one class of KL(P_t || P_s), P = softmax(-D(a, .) / tau) over p and the student's semi-hard negatives, "
    "0 < D_s(a, n) - D_s(a, p) <= margin; D of unit rows"
)
SOURCE = "Ye, Lu and Zhan (REFILLED), stage one, as their later code; each tuple with all of its negatives"
READS = ("embedding",)
TEACHER = ("embedding",)
WEIGHT = 1000.0
MIX = "comparison:1000,soft:0"
ROWS = 3  # a pair and a negative
SAMPLER = "classes:4"
LEAST_AT_TEACHER = False  # it is 0 there, and wherever the student has no semi-hard negative
NOTE = "batches by class give it pairs, and larger ones better negatives (make experiment NAME=refilled)"

#: A distance below it counts as this, and has no gradient.
NEAR = 1e-6


def comparison(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor,
    rows: Tensor | None = None,
    *,
    margin: Annotated[Number, "(0, 2]"] = 0.2,
    tau: Number = 4.0,
    K: Annotated[int, "[0, 65536]"] = 0,
    layer: Literal["embedding", "hidden"] = "embedding",
) -> Tensor:
    """Divergence of comparisons: embeddings (..., B, D) of both, labels (..., B) → (...,), in nats; 0 without a tuple.

    ``margin``: in distances of unit rows, which are at most 2; ``tau``: what distances are divided by; ``K``: the most negatives of a
    tuple, the nearest of them, of equally near ones the first (0: all); ``layer``: the student's output. Mining has no gradient.
    Clips without a label (−1) are in no tuple, nor are those that ``rows`` (..., B) leaves out.
    """
    labels = labels if rows is None else labels.where(rows, -1)
    ours = getattr(student, layer)
    apart, taught = (distances(unit_rows(side, rows)) for side in (ours, teacher.embedding.detach()))
    chosen = tuples(apart.detach(), labels, per_run(per_run(per_run(margin))), K)
    compared = chosen.any(-1)
    itself = torch.eye(labels.shape[-1], dtype=torch.bool, device=labels.device)
    members = chosen | itself  # p stands in its own place: it is no negative of a
    log_q, log_p = (
        log_shares((-side.clamp_min(NEAR) / per_run(per_run(tau)))[..., :, None, :], members)
        for side in (apart, taught.detach())
    )
    divergence = torch.where(members, log_p.exp() * (log_p - log_q), 0.0).sum(-1)
    each = torch.where(compared, divergence, 0.0).sum((-2, -1))
    return as_result(each / compared.sum((-2, -1)).clamp_min(1), ours)


def tuples(apart: Tensor, labels: Tensor, margin: Number, most: int) -> Tensor:
    """Which n stand beside (a, p), at [..., a, p, n], from the student's distances (..., B, B) → (..., B, B, B) boolean."""
    pairs, others = pairs_of_labels(labels)
    farther = apart[..., :, None, :] - apart[..., :, :, None]
    chosen = pairs[..., None] & others[..., :, None, :] & (farther > 0) & (farther <= margin)
    if not most:
        return chosen
    order = apart.argsort(dim=-1, stable=True)[..., :, None, :].expand(chosen.shape)
    in_order = chosen.gather(-1, order)
    nearest = in_order & (in_order.cumsum(-1) <= most)
    return torch.zeros_like(chosen).scatter(-1, order, nearest)
