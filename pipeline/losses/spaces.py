"""Terms of networks that name no classes: whose last layer is an embedding (``models``, NAME+16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import InputError, TrainSettings
from pipeline.losses.library import reads
from pipeline.models import width_of

if TYPE_CHECKING:
    from pipeline.losses.mix import LossMix


def require_space(mix: LossMix, how: TrainSettings, dot: str = "") -> None:
    """``InputError`` where a term reads the logits of a network that has an embedding in their place."""
    for term in mix.terms if width_of(how.model) else ():
        outputs = reads(term.name, dict(term.options))
        if term.weight != 0 and (outputs is None or "logits" in outputs):
            raise InputError(
                f"{dot}model = {how.model!r} has an embedding in place of the classes, and {term.key} of mix {mix} reads its logits; "
                "expected terms of embeddings or maps alone, for example distance:1,angle:2,soft:0"
            )
