"""Which terms learn from clips with several labels each, and what a mix and its settings must leave aside then. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import InputError, TrainSettings
from pipeline.label_sets import SETTINGS
from pipeline.losses.library import constant, has, names, reads, teacher_reads
from pipeline.losses.mixable import without_labels
from pipeline.losses.reused import asks_head

if TYPE_CHECKING:
    from pipeline.losses.mix import LossMix, Term

#: Outputs that say of each class how likely it is: of these a term takes a softmax, which shares one label out.
OF_CLASSES = frozenset({"logits", "members", "own", "cosines"})

#: What ``LABELS`` of a loss's file may be.
KINDS = ("one", "several")


def takes_several(term: Term) -> bool:
    """Whether a term is right for clips with several labels: as ``LABELS`` of its file says, else where it asks for no label and
    reads no output that shares one out over the classes."""
    kind = constant(term.name, "LABELS", None)
    if kind is not None:
        if kind not in KINDS:
            raise InputError(f"loss {term.name}: LABELS = {kind!r}; expected one of {', '.join(KINDS)}")
        return bool(kind == "several")
    options = dict(term.options)
    outputs = (reads(term.name, options), teacher_reads(term.name, options))
    if None in outputs or any(OF_CLASSES & set(one or ()) for one in outputs):
        return False
    return without_labels(term.name) and not asks_for_classes(term.name)


def asks_for_classes(name: str) -> bool:
    """Whether a loss remembers labels, or wants its teacher's output layer."""
    return has(name, "memory") or asks_head(name)


def require_several(mix: LossMix, how: TrainSettings, table: str = "", where: str = "") -> None:
    """``InputError`` where a term of a mix needs one label a clip, or a setting does. ``where``: the corpus, for the line; ``table``:
    that of the settings."""
    of = f" of {where}" if where else ""
    for term in mix.terms:
        if not takes_several(term):
            raise InputError(
                f"{term.key} of mix {mix}: it needs one label a clip, and the clips{of} have several; expected terms such as "
                f"{', '.join(suited())}, for example angle:40,area:20,ce:1"
            )
    dot = f"{table}." if table else ""
    for name, (usual, reason) in SETTINGS.items():
        if (value := getattr(how, name)) != usual:
            raise InputError(
                f"{dot}{name} = {value!r}: the clips{of} have several labels each, and {reason}; expected {usual!r}"
            )


def suited() -> list[str]:
    """The names of terms that take several labels, with the options that they have by themselves."""
    from pipeline.losses.mix import Term

    return [name for name in names() if takes_several(Term(name, 1.0))]
