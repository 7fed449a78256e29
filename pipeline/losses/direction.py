"""Towards the direction of a clip's class, and out to the teacher's length.

s the student's last hidden layer at the width of the teacher's embedding t, ĉ_y the unit mean of the teacher's embeddings over
the training clips of the label's class, which stays as it is:
L = mean_n [1 − s_n · ĉ_y / max(|s_n|, |t_n|)]

It pulls towards the class's mean and, while |s| < |t|, outwards; the maximum has its gradient. Wang et al. 2023 (KD++), whose
adapter is batch norm, dropout 0.5 and a linear layer; here it is linear alone, and there is none where widths agree. At s = 0 the
value is 1 and the gradient −ĉ / (B |t|): it revives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result, class_means
from pipeline.losses.floors import length_floor, unit
from pipeline.losses.probabilities import mean_of_labelled
from pipeline.losses.regressors import Regressor
from pipeline.losses.stages import Shapes

FORMULA = "mean over the batch of 1 - s . c / max(|s|, |t|), s = A hidden, c the unit mean of the teacher's embeddings of the class"
SOURCE = "Wang et al. 2023 (KD++), as their code; the adapter without its batch norm and dropout is this project's"
READS = ("hidden",)
TEACHER = ("embedding",)
WEIGHT = 1.0
MIX = "ce:1,direction:1,hinton:1"

Layer = Literal["hidden", "embedding"]


def adapter(student: Shapes, teacher: Shapes, *, layer: Layer = "hidden") -> nn.Module | None:
    """From the student's layer to the width of the teacher's embedding; None where they agree."""
    return None if student[layer] == teacher["embedding"] else Regressor(student, teacher, layer)


def constants(arrays: Outputs, labels: Tensor, student: Shapes) -> dict[str, Tensor]:
    """``centres`` (C, D): of each class the mean of the teacher's embeddings (n, D) over the training clips; 0 without any."""
    return {"centres": class_means(arrays.embedding, labels, student["logits"][0])}


def direction(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor,
    rows: Tensor | None = None,
    *,
    layer: Layer = "hidden",
) -> Tensor:
    """1 − the projection on the class's direction over the larger length: (..., B, D), labels (..., B) → (...,), from 0 to 2.

    ``layer``: the student's output. ``teacher.constants["centres"]`` (..., C, D). Clips without a label (−1) are left out, and so are
    those that ``rows`` (..., B) leaves out.
    """
    t = teacher.embedding.detach().double()
    own = getattr(student, layer)
    s = (own if own.shape[-1] == t.shape[-1] else student.adapted).double()
    measured: Mapping[str, Tensor] = teacher.constants  # type: ignore[assignment]
    means = measured["centres"].detach().double()
    label = labels.clamp_min(0)[..., None].expand(*labels.shape, means.shape[-1])
    along = (s * unit(means).gather(-2, label)).sum(-1)
    lengths = (torch.linalg.vector_norm(each, dim=-1) for each in (s, t))
    larger = torch.maximum(torch.maximum(*lengths), length_floor(t, rows)[..., 0])
    counted = labels if rows is None else labels.where(rows, -1)
    return as_result(mean_of_labelled(1 - along / larger, counted), own)
