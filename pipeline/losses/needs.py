"""What terms need of a teacher besides plain outputs: what they keep of its maps, constants, its members."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses import library
from pipeline.losses.mix import LossMix, Term
from pipeline.losses.schedule import Ramp
from pipeline.models import Outputs
from pipeline.models.outputs import MAPS, VECTORS, chosen, stage_maps

#: What an ensemble has besides: the logits (..., B, M, C) of each of its M members.
MEMBERS = "members"

#: A teacher's logits over its own classes, whichever these are: its output ``logits`` for a term that does not take them for its own.
OWN = "own"

#: Optional functions of a loss file; what they give stands under these words and a key among the teacher's outputs.
REDUCED, CONSTANTS = "reduced", "constants"

#: Name of an output → its shape without the batch.
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Needs:
    """Of the terms of some mixes; plain values, so that what was computed for them can be kept by them."""

    outputs: tuple[str, ...]
    """The teacher's outputs that are read as they are."""
    vague: bool = False
    """Whether a term does not say what it reads: it sees what every network has."""
    reduced: tuple[Term, ...] = ()
    """One for each reduction: the loss, and the options that its ``reduced`` takes."""
    constants: tuple[Term, ...] = ()
    """The same for ``constants``."""
    student: Shapes = ()
    """The shapes of the student's outputs, which both functions may ask for."""
    single: tuple[str, ...] = ()
    """Terms that read what only a single teacher has: of several there is no mean."""
    ensemble: tuple[str, ...] = ()
    """Terms that ask for members, so for an ensemble."""
    members: bool = False
    """Whether a term takes what every member of an ensemble says."""

    @property
    def large(self) -> bool:
        """Whether something is kept of every clip that is more than a few vectors."""
        return bool(self.reduced) or bool(stage_names(self.outputs))

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.outputs, *VECTORS) if self.vague else self.outputs

    def of_teacher(self, members: int, teacher: str) -> None:
        """``InputError`` where a term asks for what a teacher of so many ``members`` does not have."""
        if members > 1 and self.single:
            raise InputError(
                f"{', '.join(self.single)} reads what an ensemble of {members} teachers does not have; expected a single "
                f"teacher, or terms that read the embedding and logits; the teacher is {teacher}"
            )
        if members == 1 and self.ensemble:
            raise InputError(
                f"{', '.join(self.ensemble)} asks for the members of an ensemble, and its teacher is a single run "
                f"({teacher}); expected a teacher of several runs"
            )

    def keep(self, outputs: Outputs) -> Outputs:
        """Of a teacher's outputs what is kept of every clip: those that are read as they are, and each reduction of the maps.

        Leading axes are any. A reduction stands under ``reduced KEY STAGE``.
        """
        kept = {name: outputs[name] for name in chosen(self.names, outputs)}
        for term in self.reduced:
            function, maps = given(term, REDUCED), read_maps(term, outputs)
            for stage, value in reductions(function, maps, dict(self.student), term.arguments).items():
                kept[f"{REDUCED} {term.key} {stage}"] = value
        return Outputs(kept)

    def raw(self, outputs: Outputs) -> Outputs:
        """Those of a network's outputs from which ``keep`` takes what it keeps."""
        names = (
            "embedding",
            "logits",
            *self.names,
            *(name for term in self.reduced for name in teacher_reads(term) or ()),
        )
        return Outputs({name: outputs[name] for name in chosen(names, outputs)})

    @property
    def heads(self) -> tuple[str, ...]:
        """The terms that ask for the teacher's output layer."""
        return tuple(t.key for t in self.constants if "head" in inspect.signature(given(t, CONSTANTS)).parameters)

    def measured(
        self, parts: Callable[[], Iterator[Outputs]], labels: Tensor, head: tuple[Tensor, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """``constants KEY NAME`` → tensor, from a teacher's outputs of its student's training rows and their labels (n,).

        ``head``: its output layer, weights (C, D) and bias (C,); None where there is none to be had.
        """
        measured = {}
        if head is None and self.heads:
            raise InputError(
                f"{', '.join(self.heads)} asks for the teacher's output layer, and this teacher has no single linear one; expected "
                "a single run such as one of resnet18, or other terms"
            )
        for term in self.constants:
            function = given(term, CONSTANTS)
            more = accepted(function, {"student": dict(self.student), "head": head, **term.arguments})
            for name, value in function(Arrays(parts), labels, **more).items():
                measured[f"{CONSTANTS} {term.key} {name}"] = value
        return measured


class Arrays(Mapping[str, Tensor]):
    """What a teacher says of the training rows, by name, of all rows at once, computed when it is asked for.

    Maps of all rows may take gigabytes: ``parts_of`` has the same, some rows after the other.
    """

    def __init__(self, parts: Callable[[], Iterator[Outputs]]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[str]:
        return iter(next(self.parts()))

    def __len__(self) -> int:
        return len(next(self.parts()))

    def __getitem__(self, name: str) -> Tensor:
        return torch.cat([part[output_of(name)] for part in self.parts()])

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no output {name!r}; there are {', '.join(self)}") from None


def output_of(name: str) -> str:
    """Which output of a teacher a term reads under a name."""
    return "logits" if name == OWN else name


def parts_of(arrays: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """For a loss's ``constants``: the outputs of some rows after the other, in their order; of plain arrays: all at once."""
    return arrays.parts() if isinstance(arrays, Arrays) else iter([arrays])


def needs_of(mixes: Iterable[LossMix], student: Mapping[str, tuple[int, ...]] | None = None) -> Needs:
    """Of the terms that have a teacher. ``student``: the shapes of the student's outputs, where a term may ask for them."""
    terms = {term.key: term for mix in mixes for term in mix.terms if teacher_reads(term) != ()}
    reading = {key: teacher_reads(term) for key, term in terms.items()}
    reducing = {key for key, names in reading.items() if has(terms[key], REDUCED) and stage_names(names or (MAPS,))}
    asking = {key for key, names in reading.items() if MEMBERS in (names or ())}
    several = asking | {key for key, term in terms.items() if library.constant(term.name, "MEMBERS", False)}
    plain = {key for key, names in reading.items() if names is not None and not set(names) - {"embedding", "logits"}}
    outputs = (
        name
        for key, names in reading.items()
        for name in names or ()
        if key not in reducing or not stage_names((name,))
    )
    return Needs(
        outputs=tuple(sorted(set(outputs))),
        vague=None in reading.values(),
        reduced=in_order(about(terms[key], REDUCED) for key in reducing),
        constants=in_order(about(term, CONSTANTS) for term in terms.values() if has(term, CONSTANTS)),
        student=tuple((student or {}).items()),
        single=tuple(sorted(reading.keys() - several - plain)),
        ensemble=tuple(sorted(asking)),
        members=bool(several),
    )


def teacher_reads(term: Term) -> tuple[str, ...] | None:
    """The teacher's outputs that a term reads, with its options."""
    names = library.teacher_reads(term.name, term.arguments)
    return None if names is None else tuple(dict.fromkeys(map(output_of, names)))


def has(term: Term, function: str) -> bool:
    return library.has(term.name, function)


def given(term: Term, function: str) -> Callable[..., Any]:
    """A function of a loss's file."""
    return getattr(library.module(term.name), function)  # type: ignore[no-any-return]


def about(term: Term, function: str) -> Term:
    """The term with only those of its options that a function of its file takes: the same value, the same result."""
    taken = accepted(given(term, function), term.arguments)
    if changing := [name for name, value in taken.items() if isinstance(value, Ramp)]:
        raise InputError(
            f"{term.key}: {changing[0]} is of what is kept of the teacher, once; expected a number, no ramp"
        )
    return Term(term.name, 1.0, tuple(sorted(taken.items())))


def in_order(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Each once, by their keys."""
    return tuple({term.key: term for term in sorted(terms, key=lambda term: term.key)}.values())


def accepted(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments ``offered`` that a function names."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in offered.items() if name in names}


def stage_names(names: Iterable[str]) -> list[str]:
    """Those of the names that mean stage maps."""
    return [name for name in names if name == MAPS or stage_maps({name: None})]


def read_maps(term: Term, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The stage maps of a teacher that a term reads."""
    names = teacher_reads(term)
    return stage_maps({name: outputs[name] for name in (outputs if names is None else chosen(names, outputs))})


def reductions(
    function: Callable[..., Tensor | None],
    maps: Mapping[str, Tensor],
    student: Mapping[str, tuple[int, ...]],
    options: Mapping[str, Any],
) -> dict[str, Tensor]:
    """Stage → what ``reduced`` of a loss file keeps of a teacher's map (..., K, H, W); stages of which it keeps None are left
    out. It is given those of these arguments that it names: ``stage``, its name; ``student`` and ``teacher``, the shapes of
    both sides' outputs (K, H, W); and the options of the term."""
    teacher = {stage: tuple(value.shape[-3:]) for stage, value in maps.items()}
    kept = {}
    for stage, value in maps.items():
        more = accepted(function, {"stage": stage, "student": student, "teacher": teacher, **options})
        if (reduced := function(value, **more)) is not None:
            kept[stage] = reduced
    return kept


def of_member(name: str, member: int) -> str:
    """The name ``reduced KEY STAGE`` for one member's alone, where members are unlike: ``reduced KEY MEMBER STAGE``."""
    word, key, stage = name.split(" ", 2)
    return f"{word} {key} {member} {stage}"


def by_member(kept: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """What is kept of the maps of each member, stage → (..., B, ...), where members are unlike; all in one where they are alike,
    with an axis of members, or where there is one."""
    each: dict[str, dict[str, Tensor]] = {}
    for name, value in kept.items():
        member, _, stage = name.rpartition(" ")
        each.setdefault(member, {})[stage] = value
    return [each[member] for member in sorted(each, key=lambda member: int(member or 0))]


def reduced_maps(
    function: Callable[..., Tensor | None], student: Any, teacher: Any, **options: Any
) -> Mapping[str, Tensor]:
    """``teacher.reduced`` where a pack keeps it, else what ``function`` keeps of ``teacher.maps``: for a loss that is called on
    plain outputs too. ``options``: those of the term."""
    if (kept := getattr(teacher, REDUCED, None)) is not None:
        return kept  # type: ignore[no-any-return]
    shapes = {stage: tuple(value.shape[-3:]) for stage, value in student.maps.items()}
    return reductions(function, teacher.maps, shapes, options)
