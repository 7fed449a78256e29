"""Contrast: the teacher's view of this very clip is told from its views of other clips, and the student's likewise.

v_s, v_t the unit rows of linear layers to 128 numbers, both trained; M_s, M_t memories of what either was for every training
row. Of a clip the rows 0 (its own) and K of other classes; e_k = exp(v · M[k] / τ), p_k = e_k / Z, c = K / n:
l(v, M) = −ln[p_0 / (p_0 + c + ε)] − Σ_{k≥1} ln[c / (p_k + c + ε)],  L = mean_n [l(v_s, M_t) + l(v_t, M_s)]

Z = n · mean of all e of the run's first batch, one for each direction, and then fixed. After the loss M[own] ← unit(m M[own] +
(1 − m) v), of a clip that is twice in a batch by the later one. Nothing flows into M or Z. Memories begin uniform in
±√(3/128). Both are in the checkpoint. A clip without a label has all other rows as negatives.

Tian, Krishnan and Isola 2020 (ICLR, CRD), eq. 18. K = 16384 there; the sum runs over K, so that weights do not carry over from
one K to another. At equal scores L = 2 [ln(1 + K) + K ln(1 + 1 / K)]: 15.86 at K = 1024. Published lengths have no floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.losses import Outputs
from pipeline.losses.counted import uniform_of
from pipeline.losses.embeddings import as_result
from pipeline.losses.floors import directions, unit
from pipeline.losses.probabilities import Number, mean_of_clips, per_run
from pipeline.losses.stages import Shapes

FORMULA = "mean of l(v_s, M_t) + l(v_t, M_s), l(v, M) = -ln(p_0 / (p_0 + c + eps)) - sum_k ln(c / (p_k + c + eps)), p = exp(v . M / tau) / Z"
SOURCE = "Tian, Krishnan and Isola 2020 (ICLR), CRD, eq. 18 as their code; K = 1024 for sets of a few thousand is this project's"
READS = ("hidden",)
TEACHER = ("embedding",)
WEIGHT = 0.8
MIX = "ce:1,contrast:0.8"
DRAWS = 1  # from which the K of a clip are counted
NOTE = "at equal scores it is 2 (ln(1 + K) + K ln(1 + 1/K)): 15.8639 at K = 1024"

#: The width in which views are compared.
WIDTH = 128

#: Beside a probability.
BESIDE = 1e-7

Layer = Literal["hidden", "embedding"]


class Views(nn.Module):
    """Both sides' vectors, each by a linear layer of its own: student's (B, D_s) and teacher's (B, D_t) → two (B, ``WIDTH``)."""

    def __init__(self, student: int, teacher: int, layer: str) -> None:
        super().__init__()
        self.layer = layer
        self.of_student, self.of_teacher = nn.Linear(student, WIDTH), nn.Linear(teacher, WIDTH)

    def forward(self, outputs: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        layer = self.of_teacher
        return {
            "student": self.of_student(outputs[self.layer]),
            "teacher": layer(teacher["embedding"].to(layer.weight.dtype)),
        }


def adapter(student: Shapes, teacher: Shapes, *, layer: Layer = "hidden") -> nn.Module:
    """To ``WIDTH`` numbers, of both sides."""
    return Views(student[layer][0], teacher["embedding"][0], layer)


def memory(labels: Tensor, classes: int) -> dict[str, Tensor]:
    """Of a run whose n training rows have these labels (n,) as it knows them, −1 for none, before its first step.

    ``student`` and ``teacher`` (n, ``WIDTH``); ``normaliser`` (2,): Z of either direction, 0 before the first batch; ``order`` (n,): the
    rows by their label, those without one first; ``begin`` (classes + 1,): where in it those of each class begin, and n.
    ``InputError`` where the rows that have a label are of one class.
    """
    if len(labels[labels >= 0].unique()) == 1 or len(labels) < 2:
        raise InputError(
            f"contrast: all {len(labels)} training rows are of one class, and negatives are of other classes; expected two classes "
            "at least, or other terms"
        )
    bound = (3 / WIDTH) ** 0.5
    views = ((2 * torch.rand(len(labels), WIDTH) - 1) * bound for _ in range(2))
    begin = (labels[:, None] < torch.arange(classes + 1, device=labels.device)).sum(0)
    return {
        **dict(zip(("student", "teacher"), views)),
        "normaliser": torch.zeros(2, dtype=torch.float64),  # exp(1 / tau) is beyond float32 below 0.0113
        "order": labels.argsort(stable=True),
        "begin": begin,
    }


def contrast(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor,
    rows: Tensor | None = None,
    *,
    K: Annotated[int, "[1, 65536]"] = 1024,
    tau: Number = 0.07,
    m: Annotated[Number, "[0, 1)"] = 0.5,
    layer: Layer = "hidden",
) -> Tensor:
    """Contrastive cost: adapted views (..., B, 128) of both sides, labels (..., B) → (...,), in nats, above 0.

    ``K``: negatives of a clip, with repetition; ``tau``: by which products are divided; ``m``: what a row keeps of itself (``remember``).
    ``student.memory``: as ``memory``; ``student.index`` (..., B): each clip's training row; ``student.draws`` (..., B, 1). ``rows``
    (..., B): the clips that count (None: all).
    """
    scores, fixed = both_scores(student, labels, rows, K, tau)
    kept: Mapping[str, Tensor] = student.memory  # type: ignore[assignment]
    share = (K / kept["begin"][..., -1].double())[..., None]
    total = torch.zeros_like(scores[0][..., 0])
    for e, Z in zip(scores, fixed.unbind(-1)):
        p = e / Z[..., None, None]
        right, others = p[..., 0], p[..., 1:]
        total = total - (right / (right + share + BESIDE)).log()
        total = total - (share[..., None] / (others + share[..., None] + BESIDE)).log().sum(-1)
    return as_result(mean_of_clips(total, rows), adapted_views(student)[0])


def remember(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor,
    rows: Tensor | None = None,
    *,
    K: Annotated[int, "[1, 65536]"] = 1024,
    tau: Number = 0.07,
    m: Annotated[Number, "[0, 1)"] = 0.5,
) -> dict[str, Tensor]:
    """What ``student.memory`` holds after a step: Z of the first batch, and the rows of the clips that were in it."""
    kept: Mapping[str, Tensor] = student.memory  # type: ignore[assignment]
    fixed = kept["normaliser"].double()
    if fixed.device.type != "cpu" or not bool(
        (fixed > 0).all()
    ):  # a GPU is not waited for: there it is computed in every step
        _, fixed = both_scores(student, labels, rows, K, tau)
    index = student.index
    same = index[..., :, None] == index[..., None, :]
    later = (same * torch.arange(index.shape[-1], device=index.device)).argmax(-1)
    if rows is not None:  # the first batch is the first with a clip that counts
        fixed = torch.where(rows.any(-1, keepdim=True), fixed, kept["normaliser"].double())
    told = {"normaliser": fixed.to(kept["normaliser"])}
    for name, view in zip(("student", "teacher"), adapted_views(student)):
        before = taken(kept[name], index).double()
        share = per_run(per_run(m))
        fresh = unit(share * before + (1 - share) * directions(view.double(), rows))
        fresh = taken(fresh, later).to(kept[name])
        told[name] = kept[name].scatter(-2, index[..., None].expand_as(fresh), fresh)
    return told


def both_scores(
    student: Outputs, labels: Tensor, rows: Tensor | None, K: int, tau: Number
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """e of both directions, two (..., B, 1 + K), and Z of both (..., 2)."""
    kept: Mapping[str, Tensor] = student.memory  # type: ignore[assignment]
    u = uniform_of(student.draws[..., 0], K)
    chosen = torch.cat([student.index[..., None], negatives(u, labels, student.index, kept)], -1)
    ours, theirs = (directions(view.double(), rows) for view in adapted_views(student))
    scores = tuple(
        (products(view, kept[name], chosen) / per_run(per_run(tau))).exp()
        for view, name in ((ours, "teacher"), (theirs, "student"))
    )
    means = torch.stack([mean_of_clips(e.detach().mean(-1), rows) for e in scores], -1)
    known = kept["normaliser"].double()
    first = kept["begin"][..., -1:] * means
    fixed = torch.where(known > 0, known, torch.where(first > 0, first, 1.0))  # no clip that counts: whatever is finite
    return (scores[0], scores[1]), fixed


def adapted_views(student: Outputs) -> tuple[Tensor, Tensor]:
    views: Mapping[str, Tensor] = student.adapted  # type: ignore[assignment]
    return views["student"], views["teacher"]


def products(view: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
    """v · M[k] of each clip's chosen rows: (..., B, D), (..., n, D), (..., B, k) → (..., B, k)."""
    some = taken(rows, chosen.flatten(-2)).unflatten(-2, chosen.shape[-2:]).detach()
    product: Tensor = Products.apply(view, some.to(view))
    return product


class Products(torch.autograd.Function):
    """view (..., B, D) and rows (..., B, k, D), which have no gradient → (..., B, k).

    The gradient is a row times the matrix: the same sums as the transposed matrix times a column, in a third of the time.
    """

    @staticmethod
    def forward(ctx: Any, view: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return (rows @ view[..., None])[..., 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return (gradients[0][..., None, :] @ rows)[..., 0, :], None


def taken(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (..., n, D) of an index (..., k): (..., k, D). Whole rows are copied: a gather of single numbers is several times as slow."""
    runs = rows.shape[:-2].numel()
    first = torch.arange(runs, device=index.device) * rows.shape[-2]
    places = (index.reshape(runs, -1) + first[:, None]).flatten()
    return rows.reshape(-1, rows.shape[-1]).index_select(0, places).view(*index.shape, rows.shape[-1])


def negatives(u: Tensor, labels: Tensor, index: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
    """Training rows of other classes, ⌊u · count⌋ in the table of these: u (..., B, K) in [0, 1) → (..., B, K) int64.

    Of a clip without a label: of all other rows.
    """
    begin, label = kept["begin"], labels.clamp_min(0)
    whole, first = begin[..., None, -1:], begin[..., None, :1]
    low, high = (begin.gather(-1, one)[..., None] for one in (label, label + 1))
    place = first + places(u, whole - first - (high - low))
    place = place + (place >= low) * (high - low)
    place = torch.minimum(
        place, whole - 1
    )  # of a clip without a label nothing is taken from here, and there may be nothing
    of_others = kept["order"].gather(-1, place.flatten(-2)).view_as(place)
    anyone = places(u, whole - 1)
    anyone = anyone + (anyone >= index[..., None])
    return torch.where(labels[..., None] >= 0, of_others, anyone)


def places(u: Tensor, count: Tensor) -> Tensor:
    """⌊u · count⌋, below ``count``."""
    return torch.minimum((u * count).long(), (count - 1).clamp_min(0))
