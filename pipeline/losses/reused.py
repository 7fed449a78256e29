"""Terms that need the output layer of a teacher, and students that answer by it (SimKD, Chen et al. 2022). No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pipeline import models
from pipeline.errors import InputError
from pipeline.losses.library import has, names, network, reads
from pipeline.losses.signature import arguments_of, options

if TYPE_CHECKING:
    from pipeline.losses.mix import LossMix, Term

#: What a student's projector says, which its teacher's output layer is made for.
PROJECTED = "projected"

#: Name of an output → its shape without the batch: (D,) or (K, H, W).
Shapes = Mapping[str, tuple[int, ...]]


def asks_head(name: str) -> bool:
    """Whether a loss asks for the teacher's output layer, as an argument ``head`` of ``constants``."""
    return has(name, "constants") and "head" in arguments_of(name, "constants")


def fetching(mix: LossMix) -> Term | None:
    """The term that gives a student its teacher's output layer: it learns what that layer reads."""
    return next(
        (t for t in mix.terms if asks_head(t.name) and PROJECTED in (reads(t.name, dict(t.options)) or ())), None
    )


def require_fetched(mixes: Iterable[LossMix], model: str) -> None:
    """``InputError`` for a mix without such a term, where the student ``model`` has no output layer of its own."""
    if not models.reuses(model):
        return
    for mix in mixes:
        if fetching(mix) is None:
            raise InputError(
                f"{model} answers by its teacher's output layer, which no term of mix {mix} gives it; expected a mix with one of "
                f"{', '.join(remedies())}, or a network with an output layer of its own, such as cnn2"
            )


def remedies() -> list[str]:
    """The terms that give it, as a mix names them."""
    return [
        f"{name}@{key}={word},soft:0"
        for name in names()
        if asks_head(name)
        for key, option in options(name).items()
        for word in option.words
        if models.reuses(network(name, {key: word}))
    ]


def partner(student: Shapes, teacher: Shapes, whose: str = "the teacher") -> str:
    """The teacher's output that a student's projector is compared with: its last map for a map, its embedding for a vector.

    ``InputError`` where there is none of the same shape.
    """
    projected = student[PROJECTED]
    stages = [name for name in teacher if name.startswith("map") and name[3:].isdigit()]
    last = max(stages, key=lambda name: int(name[3:]), default="")
    name = last if len(projected) == 3 else "embedding"
    if not name or teacher[name] != projected:
        there = f"whose {name} is {teacher[name]}" if name else "which has no map"
        raise InputError(
            f"the student projects to {projected}, for the output layer of {whose}, {there}; expected a teacher such as resnet18, or a student "
            "with another projector (cnn2-reuse: the map of a resnet18; cnn2-reuse-hidden: 256 numbers)"
        )
    return name
