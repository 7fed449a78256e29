"""Which terms of a mix learn from clips without a label, and what a mix, its settings and such clips must have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline import samplers
from pipeline.config import InputError, TrainSettings
from pipeline.losses.library import teacher_reads

if TYPE_CHECKING:
    from pipeline.losses.mix import LossMix, Term


def term_learns(term: Term) -> bool:
    """Whether a term learns from clips without a label: it is of these alone, or listens to a teacher, and not of the others."""
    options = dict(term.options)
    rows = options.get("rows", "all")
    return rows == "unlabelled" or (rows == "all" and teacher_reads(term.name, options) != ())


def learns_unlabelled(mix: LossMix) -> bool:
    """Whether a term of a mix learns from clips without a label; where none does, none is in a batch."""
    return any(map(term_learns, mix.terms))


def listens_unlabelled(mix: LossMix) -> bool:
    """Whether a teacher says something of the clips without a label that a mix learns from."""
    return any(term_learns(term) and teacher_reads(term.name, dict(term.options)) != () for term in mix.terms)


def asked(mix: LossMix, how: TrainSettings) -> str:
    """The first words of a mix or of its settings that ask for clips without a label; "" where none does."""
    if any(("rows", "unlabelled") in term.options for term in mix.terms):
        return f"mix {mix}: rows=unlabelled"
    if samplers.parts(how.sampler)[0] == samplers.UNLABELLED:
        return f"sampler = {how.sampler!r}"
    if how.unlabelled_threshold:
        return f"unlabelled_threshold = {how.unlabelled_threshold:g}"
    if how.unlabelled_per_class:
        return f"unlabelled_per_class = {how.unlabelled_per_class}"
    return ""


def require_unlabelled(mix: LossMix, how: TrainSettings, place: str = "") -> None:
    """``InputError`` where a mix or its settings ask for clips without a label, of data in which every clip has one."""
    if words := asked(mix, how):
        kind = "a mix" if words.startswith("mix ") else "settings"
        raise InputError(
            f"{place}{words}, and every clip has a label; expected {kind} without it, or clips without a label: a folder "
            "'unlabelled' beside the classes (--dataset folder), or --set unlabelled=0.8, which hides the labels of a share"
        )


def require_use(mix: LossMix, how: TrainSettings, dot: str = "") -> None:
    """``InputError`` for settings that would do nothing with a mix. ``dot``: what stands before a setting's name."""
    kind = samplers.parts(how.sampler)[0]
    if kind == samplers.UNLABELLED and not learns_unlabelled(mix):
        raise InputError(
            f"{dot}sampler = {how.sampler!r}: no term of mix {mix} learns from clips without a label; expected one, for example "
            "soft:3@rows=unlabelled, or another sampler"
        )
    if kind == samplers.CLASSES and any(("rows", "unlabelled") in term.options for term in mix.terms):
        raise InputError(
            f"{dot}sampler = {how.sampler!r} draws clips with a label alone, and mix {mix} has rows=unlabelled; expected "
            "'unlabelled:3' or 'shuffle'"
        )
    for name in ("unlabelled_threshold", "unlabelled_per_class"):
        if getattr(how, name) and not listens_unlabelled(mix):
            raise InputError(
                f"{dot}{name} = {getattr(how, name):g} chooses by what a teacher says of clips without a label, and no term of "
                f"mix {mix} learns that; expected for example soft:3@rows=unlabelled, or 0"
            )
    if how.teacher_dropout and not mix.needs_teacher:
        raise InputError(
            f"{dot}teacher_dropout = {how.teacher_dropout:g}: mix {mix} has no teacher; expected a term that has one, for "
            "example hinton, or 0"
        )
