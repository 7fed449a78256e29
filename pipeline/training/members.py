"""Several teachers as one, and many teachers side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses.needs import MEMBERS, REDUCED, of_member
from pipeline.models import Outputs


def as_one(members: Sequence[Outputs], each: bool = False, average: str = "probabilities") -> Outputs:
    """Several teachers' outputs, embedding (B, D_m) and logits (B, classes), as one teacher's; one alone stays as it is.

    Embedding (B, Σ D_m): each member's divided by its length; logits: log of the mean probabilities, or the mean of the members'
    logits with ``average`` = logits (as EfficientAT and PaSST have it). What one of them lacks is left out. ``each``: also
    ``members`` (B, M, classes), every member's logits, and of all else every member's side by side, (B, M, ...); what terms keep
    of maps by itself where members are unlike (``needs.by_member``). Without it raises ``InputError`` for other outputs: maps of
    several networks have no mean.
    """
    if len(members) == 1:
        return members[0]
    others = sorted({name for one in members for name in one} - {"embedding", "logits"})
    if others and not each:
        raise InputError(
            f"{', '.join(others)} of an ensemble of {len(members)} teachers; expected a single teacher, "
            "or terms that read its embedding and logits"
        )
    whole = Outputs()
    if all("embedding" in one for one in members):
        whole["embedding"] = torch.cat([torch.nn.functional.normalize(one.embedding, dim=-1) for one in members], -1)
    if alike("logits", members):  # of unlike classes there is no mean
        whole["logits"] = mean_logits([one.logits for one in members], average)
        if each:
            whole[MEMBERS] = torch.stack([one.logits for one in members], 1)
    reduced = [name for name in others if name.startswith(f"{REDUCED} ")]
    for name in others:
        if name not in reduced:
            whole[name] = stacked(name, members)
    if all(alike(name, members) for name in reduced):
        return Outputs({**whole, **{name: stacked(name, members) for name in reduced}})
    each_own = {of_member(name, i): one[name] for name in reduced for i, one in enumerate(members) if name in one}
    return Outputs({**whole, **each_own})


def alike(name: str, members: Sequence[Outputs]) -> bool:
    """Whether all have an output, of one shape."""
    return all(name in one for one in members) and len({one[name].shape[1:] for one in members}) == 1


def stacked(name: str, members: Sequence[Outputs]) -> Tensor:
    """(B, M, ...): every member's side by side."""
    if not alike(name, members):
        raise InputError(f"{name} of an ensemble's members differ in shape; expected members of one network")
    return torch.stack([one[name] for one in members], 1)


def mean_logits(members: Sequence[Tensor], average: str) -> Tensor:
    """M × (B, classes) → (B, classes): log of the mean of softmax(z), or the mean of z; in float64, given back as it came."""
    logits = torch.stack([one.double() for one in members])
    if average == "logits":
        return logits.mean(0).to(members[0].dtype)
    return (logits.log_softmax(-1).logsumexp(0) - math.log(len(members))).to(members[0].dtype)


def side_by_side(teachers: Iterable[Outputs], count: int) -> dict[str, Tensor]:
    """The outputs of ``count`` teachers (rows, ...), which are asked for one after the other, as arrays (count, rows, ...).

    Embeddings of unlike widths get zeros behind up to the largest: no distance, angle or area changes by that.
    """
    whole: dict[str, Tensor] = {}
    embeddings: list[Tensor] = []
    for teacher, outputs in enumerate(teachers):
        embeddings += [outputs.embedding] if "embedding" in outputs else []
        for name, values in outputs.items():
            if name == "embedding":
                continue
            if count == 1:
                whole[name] = values.unsqueeze(0)
                continue
            if name not in whole:
                whole[name] = values.new_empty(count, *values.shape)
            whole[name][teacher] = values
    if not embeddings:
        return whole
    widest = max(one.shape[-1] for one in embeddings)
    wide = [torch.nn.functional.pad(one, (0, widest - one.shape[-1])) for one in embeddings]
    return {"embedding": torch.stack(wide), **whole}
