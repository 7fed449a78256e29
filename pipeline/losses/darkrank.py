"""DarkRank: the student orders the neighbours of each clip as its teacher does.

e = unit rows;  score of clip j for query q  s_j = −α |e_q − e_j|^β;  π: the n clips nearest to q in the teacher's space
P(π) = Π_i exp(s_πi) / Σ_{k ≥ i} exp(s_πk)   (Plackett and Luce; by the student's scores or by the teacher's)

hard:  L = mean over q of −log P_s(π)
soft:  L = mean over q of Σ over the orders o of π of P_t(o) (log P_t(o) − log P_s(o))

Chen, Wang and Zhang 2018 (AAAI). Their code takes −(c d²)^p, α = c^p and β = 2p here, and half of the batch as queries; that
of Park et al. 2019 α = 2 or 3, β = 3, n = 4, all queries, hard, beside a triplet loss. Of equal distances the clip that comes first is the nearer.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result, unit_rows
from pipeline.losses.probabilities import Number, mean_of_clips, per_run
from pipeline.relations import distances

FORMULA = (
    "mean over clips q of -log P_s(the n nearest to q by the teacher, in this order), P: Plackett-Luce of scores "
    "-alpha |e_q - e_j|^beta, unit rows; soft: KL(P_t || P_s) over all orders of the n. n = 0: 4, or 3 if soft"
)
SOURCE = "Chen, Wang and Zhang 2018 (AAAI); alpha, beta and n as in the code of Park et al. 2019"
READS = ("embedding",)
TEACHER = ("embedding",)
WEIGHT = 1.0
MIX = "ce:1,darkrank:2,triplet:1"
SAMPLER = "classes:4"
ROWS = 3  # two clips have one neighbour each, and a list of one has one order
LEAST_AT_TEACHER = False  # the hard rank is least where the scores lie far apart

#: The n of each rank where none is given.
NEIGHBOURS = {"hard": 4, "soft": 3}

#: The score of who is in no list.
NOWHERE = -1e30

#: The soft rank goes through all n! orders.
MOST_SOFT = 4


def darkrank(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    rank: Literal["hard", "soft"] = "hard",
    n: Annotated[int, "[2, inf)"] = 0,
    alpha: Annotated[Number, "(0, 1000]"] = 3.0,
    beta: Annotated[Number, "[2, 10]"] = 3.0,
    layer: Literal["embedding", "hidden"] = "embedding",
) -> Tensor:
    """Loss of the neighbours' order: embeddings (..., B, D) → (...,), in nats; widths may differ; 0 of up to two clips.

    ``n``: neighbours in a list, at most B − 1 of them; 0: 4, or 3 of the soft rank. ``alpha`` and ``beta``: of the scores
    −α d^β; the gradient of a score by its distance is at most α β 2^(β − 1). ``layer``: the student's output; ``rows`` (..., B):
    the clips that count.
    """
    check(rank, n)
    embeddings = getattr(student, layer)
    length = int(n) or NEIGHBOURS[rank]
    ours, theirs = (distances(unit_rows(each, rows)) for each in (embeddings, teacher.embedding.detach()))
    return as_result(ranked(ours, theirs, rank, length, alpha, beta, rows), embeddings)


def check(rank: str = "hard", n: float = 0, **others: object) -> None:
    """``InputError`` for options that do not go together."""
    if rank == "soft" and n > MOST_SOFT:
        raise InputError(
            f"darkrank: n = {n:g} with rank = soft goes through all orders of {n:g} clips; expected at most "
            f"{MOST_SOFT}, or rank = hard"
        )


def ranked(
    ours: Tensor, theirs: Tensor, rank: str, length: int, alpha: Number, beta: Number, rows: Tensor | None = None
) -> Tensor:
    """The loss of the student's and the teacher's distances (..., B, B), as they are → (...,). ``rows`` (..., B): the clips that
    count, as queries and as neighbours."""
    weight, power = per_run(per_run(alpha)), per_run(per_run(beta))
    out = torch.eye(ours.shape[-1], dtype=torch.bool, device=ours.device)
    out = out if rows is None else out | ~rows[..., None, :]
    nearest = theirs.masked_fill(out, torch.inf).argsort(dim=-1, stable=True)[..., : min(length, ours.shape[-1] - 1)]
    there = ~out.expand(ours.shape).gather(-1, nearest)
    scores, taught = (
        (-weight * side.gather(-1, nearest).pow(power)).masked_fill(~there, NOWHERE) for side in (ours, theirs)
    )
    if rank == "hard":
        return mean_of_clips(-log_likelihood(scores, there), rows)
    count = nearest.shape[-1]
    permuted = list(itertools.permutations(range(count)))
    orders = torch.tensor(permuted, dtype=torch.int64, device=ours.device).view(len(permuted), count)
    in_place = orders == torch.arange(count, device=ours.device)
    orders_of_list = (in_place | there[..., None, :]).all(-1)  # whoever is not in the list stays behind it
    log_t, log_s = (log_likelihood(side[..., orders], there[..., None, :]) for side in (taught, scores))
    return mean_of_clips(torch.where(orders_of_list, log_t.exp() * (log_t - log_s), 0.0).sum(-1), rows)


def log_likelihood(scores: Tensor, there: Tensor) -> Tensor:
    """log P of the order in which the scores stand (Plackett and Luce): (..., n) → (...,), in nats. ``there``: those that are in
    the list, which stand before the others."""
    terms = scores - scores.flip(-1).logcumsumexp(-1).flip(-1)
    # Whoever is left at the end comes last for sure.
    return torch.where(there[..., 1:], terms[..., :-1], 0.0).sum(-1)
