"""Similarity-preserving distillation: clips that excite the teacher alike excite the student alike.

G = F Fᵀ, F the layer of a batch, flattened (B, N);  each row of G over its length: G̃;
L = mean over the B² entries of (G̃_s − G̃_t)².

Tung and Mori 2019 (ICCV), section 3: the squared Frobenius norm over B², which is the same. Public code (RepDistiller, mdistiller,
torchdistill) computes that too, of the last maps after their ReLU (``layer`` = maps), but divides by a length of 10⁻¹² at least:
at features of 10⁻⁶ its gradient is 10⁴. The features are not centred.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from pipeline.losses import Outputs
from pipeline.losses.embeddings import as_result
from pipeline.losses.floors import directions
from pipeline.losses.needs import reduced_maps
from pipeline.losses.rows import mean_of_clip_pairs, of_rows
from pipeline.losses.stages import Shapes, full
from pipeline.models.outputs import stage_maps

FORMULA = "mean over i, j of (G_s(i, j) - G_t(i, j))^2, G = rows of F F^T over their length, F the layer of a batch"
SOURCE = "Tung and Mori 2019 (ICCV), section 3; from memory, and as public code has it"
READS = {"embedding": ("embedding",), "hidden": ("hidden",), "maps": ("maps",)}
TEACHER = {"embedding": ("embedding",), "hidden": ("embedding",), "maps": ("maps",)}
WEIGHT = 3000.0
MIX = "ce:1,similarity:3000"
ROWS = 2  # of one clip G̃ is 1

Layer = Literal["embedding", "hidden", "maps"]


def reduced(maps: Tensor, *, stage: str, teacher: Shapes, layer: Layer = "embedding") -> Tensor | None:
    """The teacher's last map after its ReLU, where maps are compared."""
    return full(maps).relu() if layer == "maps" and stage == last(teacher) else None


def last(maps: Mapping[str, Any]) -> str:
    """The name of the last stage."""
    return list(stage_maps(maps))[-1]


def similarity(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    layer: Layer = "embedding",
) -> Tensor:
    """Difference of the clips' similarities: features (..., B, D) or maps (..., B, K, H, W) → (...,), no unit, at most 4 / B.

    ``layer``: of the student; beside its hidden layer the teacher's embedding, beside its last map the teacher's last. Widths may
    differ. ``rows`` (..., B): the clips that count (None: all). ``labels`` are not used.
    """
    if layer == "maps":
        (target,) = reduced_maps(reduced, student, teacher, layer=layer).values()
        ours, theirs = full(student.maps[last(student.maps)]).relu().flatten(-3), target.detach().flatten(-3)
    else:
        ours, theirs = getattr(student, layer), teacher.embedding.detach()
    apart = similarities(ours, rows) - similarities(theirs, rows)
    return as_result(mean_of_clip_pairs(apart.square(), rows), ours)


def similarities(features: Tensor, rows: Tensor | None) -> Tensor:
    """G̃ in float64: (..., B, N) → (..., B, B); 0 at clips that do not count."""
    wide = of_rows(features.double(), rows)
    return directions(wide @ wide.mT, rows)
