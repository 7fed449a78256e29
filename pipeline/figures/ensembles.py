"""Ensembles: any number of runs of one fold as one, from what they left on disk, and as a teacher.

Conventions. The ensemble's answer is the mean of its members' class probabilities (Furlanello et al. 2018, BAN's
ensemble; Cho et al. 2023, section 4.3.1), kept as its logarithm, so that a softmax gives the mean back. For the
relations its embedding is the members' embeddings side by side, each of length 1, so that none outweighs the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import runs
from pipeline.config import InputError
from pipeline.figures import evaluation
from pipeline.runs import Predictions

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models import Outputs


def mean_log_probabilities(logits: Sequence[np.ndarray]) -> np.ndarray:
    """log(mean over the members of softmax(logits)): M × (clips, classes) → (clips, classes) float64."""
    members = np.stack([evaluation.log_softmax(one) for one in logits])
    top = members.max(axis=0)
    return top + np.log(np.exp(members - top).mean(axis=0))


def ensemble(folders: Sequence[Path]) -> Predictions:
    """The kept predictions of finished runs as one; ``logits`` are the log of the mean probabilities.

    Raises ``InputError`` without runs, and for runs of another fold, other clips, labels or classes than the first's.
    """
    if not folders:
        raise InputError("an ensemble of no runs; expected at least one run folder")
    members = [runs.read_predictions(folder) for folder in folders]
    folds = [runs.read(folder).fold for folder in folders]
    first = members[0]
    for folder, member, fold in zip(folders, members, folds, strict=True):
        if fold != folds[0]:
            raise InputError(
                f"{folder} is of fold {fold}, {folders[0]} of fold {folds[0]}: they were tested on other "
                "clips; expected runs of one fold"
            )
        same = np.array_equal(member.clips, first.clips) and np.array_equal(member.labels, first.labels)
        if not same or member.logits.shape != first.logits.shape:
            raise InputError(
                f"{folder} was tested on other clips, labels or classes than {folders[0]}; expected runs of "
                "one corpus in one state"
            )
    return first._replace(logits=mean_log_probabilities([member.logits for member in members]).astype(np.float32))


def teacher(members: Sequence[Outputs]) -> Outputs:
    """Several teachers' outputs, embedding (..., D_m) and logits (..., classes), as one teacher's; one alone stays as it is.

    Embedding (..., Σ D_m): each member's divided by its length; logits: log of the mean probabilities, float32. Raises
    ``InputError`` for other outputs: maps of several networks have no mean.
    """
    import torch  # tables vote without it

    from pipeline.models import Outputs

    if len(members) == 1:
        return members[0]
    if others := members[0].keys() - {"embedding", "logits"}:
        raise InputError(
            f"{', '.join(sorted(others))} of an ensemble of {len(members)} teachers; expected a single teacher, "
            "or terms that read its embedding and logits"
        )
    embedding = torch.cat([torch.nn.functional.normalize(one.embedding, dim=-1) for one in members], -1)
    each = torch.stack([one.logits.double().log_softmax(-1) for one in members])
    logits = each.logsumexp(0) - math.log(len(members))
    return Outputs(embedding=embedding, logits=logits.to(members[0].logits.dtype))


def side_by_side(teachers: Sequence[Outputs]) -> dict[str, Tensor]:
    """The outputs of G teachers (rows, ...) as arrays (G, rows, ...).

    Embeddings of unlike widths get zeros behind up to the largest: no distance, angle or area changes by that.
    """
    import torch  # tables vote without it

    widest = max(one.embedding.shape[-1] for one in teachers)
    wide = [torch.nn.functional.pad(one.embedding, (0, widest - one.embedding.shape[-1])) for one in teachers]
    return {name: torch.stack(wide if name == "embedding" else [one[name] for one in teachers]) for name in teachers[0]}
