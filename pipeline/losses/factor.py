"""Factor transfer: the student's last map agrees with what an autoencoder, trained on the teacher's, makes of it.

F_t = the encoder of a paraphraser of the teacher's map, three 3 × 3 convolutions K → K → kK → kK with a leaky ReLU behind each, which was trained
    with a decoder to give the map again: mean |rec − t|, of the maps of the training rows, before any student;
F_s = a translator of the same form of the student's map, K_s → K_s → kK → kK, trained with it;
F̂ = F over its length, all channels and cells of a clip;  L = mean |F̂_s − F̂_t|.

Maps are after their ReLU, at their common size. Kim, Park and Kwak 2018 (NeurIPS), whose code is that, 5 epochs and weight 500; torchdistill's has no
floor of a length. RepDistiller and its copies take the mean of F² over channels first, as attention does, with weight 200: another term.
They train the paraphraser for 30 epochs on the square (``reconstruction`` = l2, ``epochs`` = 30), and normalise in the translator. Here its
optimizer is Adam at 10⁻³, 64 rows a step, on maps over their mean size. It is trained once a teacher in a process, and to the
same each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from pipeline.losses import Outputs
from pipeline.losses.floors import directions
from pipeline.losses.needs import parts_of, reduced_maps
from pipeline.losses.paraphrasing import encoded, encoder, factors, trained
from pipeline.losses.probabilities import mean_of_clips
from pipeline.losses.regressors import MapRegressors
from pipeline.losses.stages import OFTEN_LOSE, Shapes, Stages, at_common_size, full, partners
from pipeline.models.outputs import stage_maps

FORMULA = (
    "mean |F_s - F_t|, F over its length per clip, F_t the encoder of an autoencoder of the teacher's last map that is trained before, "
    "F_s one of the same form of the student's, trained with it"
)
SOURCE = "Kim, Park and Kwak 2018 (NeurIPS), as their code; the paper's square from memory, the paraphraser's optimizer this project's"
READS = ("maps",)
TEACHER = ("maps",)
WEIGHT = 500.0
MIX = "ce:1,factor:500"
NOTE = OFTEN_LOSE

Share = Annotated[float, "(0, 1]"]


class Translator(MapRegressors):
    """F_s of each pair: ``Outputs`` → {teacher's stage: (B, kK_t, h, w)}."""

    def __init__(self, student: Shapes, teacher: Shapes, stages: str, share: float) -> None:
        self.share = share
        super().__init__(student, teacher, stages, rectified=True)

    def layer(self, inputs: int, outputs: int) -> nn.Module:
        return encoder(inputs, factors(outputs, self.share))


def adapter(student: Shapes, teacher: Shapes, *, stages: Stages = "last", k: float = 0.5) -> nn.Module:
    """The translator of each compared stage."""
    return Translator(student, teacher, stages, k)


def reduced(maps: Tensor, *, stage: str, student: Shapes, teacher: Shapes, stages: Stages = "last") -> Tensor | None:
    """A compared stage of the teacher's after its ReLU, at its common size."""
    return at_common_size(full(maps).relu(), stage, student, teacher, stages)


def constants(
    arrays: Mapping[str, Tensor],
    labels: Tensor | None,
    *,
    student: Shapes,
    stages: Stages = "last",
    k: float = 0.5,
    epochs: int = 5,
    reconstruction: str = "l1",
) -> dict[str, Tensor]:
    """The paraphraser's encoder of each compared stage, trained on ``arrays``: "stage PARAMETER" → tensor."""
    shapes = {stage: tuple(maps.shape[1:]) for stage, maps in stage_maps(next(iter(parts_of(arrays)))).items()}
    weights: dict[str, Tensor] = {}
    for stage in partners(student, shapes, stages):

        def batches(stage: str = stage) -> Iterator[Tensor]:
            for part in parts_of(arrays):
                maps = reduced(part[stage], stage=stage, student=student, teacher=shapes, stages=stages)
                assert maps is not None
                yield maps

        each = trained(stage, batches, k, epochs, {"l1": 1, "l2": 2}[reconstruction])
        weights |= {f"{stage} {name}": value for name, value in each.items()}
    return weights


def factor(
    student: Outputs,
    teacher: Outputs,
    labels: Tensor | None,
    rows: Tensor | None = None,
    *,
    stages: Stages = "last",
    k: Share = 0.5,
    epochs: int = 5,
    reconstruction: Literal["l1", "l2"] = "l1",
) -> Tensor:
    """Difference of the factors: adapted maps (..., B, kK, H, W) → (...,), no unit, at most 2 / √N for N numbers of a clip.

    ``stages``: the pairs that are compared; ``k``: channels of F over the teacher's; ``epochs`` and ``reconstruction`` (l1 or l2): of
    the paraphraser's training. ``rows`` (..., B): the clips that count (None: all). ``labels`` are not used.
    """
    kept, weights = reduced_maps(reduced, student, teacher, stages=stages), dict(teacher.constants)  # type: ignore[call-overload]
    each = []
    for stage, ours in dict(student.adapted).items():
        of_stage = {
            name.split(" ")[1]: value.detach() for name, value in weights.items() if name.split(" ")[0] == stage
        }
        theirs = encoded(full(kept[stage].detach()), of_stage)
        each.append(difference(full(ours), theirs, rows))
    return torch.stack(each).sum(0)


def difference(ours: Tensor, theirs: Tensor, rows: Tensor | None = None) -> Tensor:
    """mean |F̂_s − F̂_t| of two maps (..., B, K, H, W) → (...,)."""
    s, t = (directions(maps.flatten(-3), rows) for maps in (ours, theirs))
    return mean_of_clips((s - t).abs().mean(-1), rows)
