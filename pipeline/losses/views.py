"""Terms of two views of a clip in one step: as it is, and as the setting ``augment`` changes it. No torch here.

``@views=2`` of any term: the sum of what it is of either view, each a batch of its own (Jin et al. 2023, CVPR: a weak and a strong one).
Other terms of the mix are of the clips as they are. Student and teacher hear both views, the student as one batch of twice as many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import InputError, TrainSettings

if TYPE_CHECKING:
    from pipeline.losses.mix import LossMix, Term

#: The option, and what stands for it in a mix.
VIEWS = "views"


def of_both(term: Term) -> bool:
    """Whether a term is of two views of each clip."""
    return dict(term.options).get(VIEWS, 1) == 2


def two(mix: LossMix) -> bool:
    """Whether a step has two views of each clip."""
    return any(map(of_both, mix.terms))


def require_views(mix: LossMix, how: TrainSettings, dot: str = "") -> None:
    """``InputError`` where there is no second view of a clip, or it is of two clips. ``dot``: what stands before a setting's name."""
    term = next(filter(of_both, mix.terms), None)
    if term is None:
        return
    if how.augment == "none":
        raise InputError(
            f"{dot}augment = 'none': {term.key} of mix {mix} is of a clip as it is and as augment changes it; expected for example "
            f"--set {dot or 'student.'}augment=shift,blank, or the term without views=2"
        )
    if how.teacher_hears == "views" and mix.needs_teacher:
        raise InputError(
            f"{dot}teacher_hears = 'views': {term.key} of mix {mix} is of a clip as augment changes it, too, of which nothing is stored; "
            "expected 'inputs', or the term without views=2"
        )
    if how.mixup:
        raise InputError(
            f"{dot}mixup = {how.mixup:g}: {term.key} of mix {mix} has two views of each clip, and a mixed input is of two clips; expected "
            "0, or the term without views=2"
        )
