"""Which terms students can learn from each other: from what a network under training says in a step. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import InputError
from pipeline.losses.library import has, teacher_reads

if TYPE_CHECKING:
    from pipeline.losses.mix import LossMix

#: What a loss file may define that is made once, of a teacher that stays as it is.
OF_TEACHERS = {
    "constants": "is measured of a teacher once, before the first step",
    "memory": "keeps what a teacher said in earlier steps",
}

#: Outputs that no single network has.
NO_OUTPUTS = ("members", "base")


def require_heard_at_once(mix: LossMix, where: str = "") -> None:
    """``InputError`` where a mix learns nothing from a peer, or a term asks for what a network under training does not have."""
    if not mix.needs_teacher:
        raise InputError(
            f"{where}mix {mix} reads no teacher, so peers learn nothing from each other; expected a mix such as ce:1,hinton:1@T=1"
        )
    for term in mix.terms:
        reads = teacher_reads(term.name, dict(term.options))
        reasons = [why for name, why in OF_TEACHERS.items() if has(term.name, name) and reads != ()]
        reasons += [f"reads the teacher's {name}" for name in reads or () if name in NO_OUTPUTS]
        if reasons:
            raise InputError(
                f"{where}{term.key} of mix {mix} {reasons[0]}, and a peer learns itself; expected terms of what it says in the step, such "
                "as hinton:1@T=1"
            )
