"""What both sides say of two views of a batch's clips, told apart: the views lie one behind the other in one forward pass."""

from __future__ import annotations

from pipeline.losses.mixed import MixedLoss
from pipeline.losses.needs import CONSTANTS
from pipeline.models import Outputs

Sides = tuple[Outputs, Outputs | None]
"""What students and teachers say."""


def both_views(loss: MixedLoss, outputs: Outputs, teacher: Outputs | None) -> tuple[Sides, Sides | None]:
    """Of the first view and of the second one: outputs (R, 2B, ...) → (R, B, ...) of each; as they are, and None, where there is one."""
    if not loss.two_views:
        return (outputs, teacher), None
    clips = outputs.logits.shape[1] // 2
    first, second = (
        (half(outputs, part), None if teacher is None else half(teacher, part))
        for part in (slice(clips), slice(clips, None))
    )
    return first, second


def half(outputs: Outputs, part: slice) -> Outputs:
    """Some of the clips; what is measured of a teacher is of no clip."""
    return Outputs({n: v if n.startswith(f"{CONSTANTS} ") else v[:, part] for n, v in outputs.items()})
