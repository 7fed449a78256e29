"""The steps of an experiment, and who teaches whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.config import InputError
from pipeline.losses import LossMix
from pipeline.losses.library import suggestion

#: The fold's own teacher, and of a step with rounds: the round before.
TEACHER, PREVIOUS = "teacher", "previous"


#: Steps of which each teaches the next.
LONGEST = 200


@dataclass(frozen=True)
class Step:
    """One training of an experiment, for every fold and seed."""

    experiment: str
    name: str
    """Of an included one ``EXPERIMENT/NAME``."""
    label: str
    """As the file calls it: the steps of one ``each`` have it in common."""
    mix: LossMix
    network: str = "student"
    teacher: str | None = None
    """The name of the step that teaches it, or ``PREVIOUS``."""
    before: str | None = None
    """The step above: what ``PREVIOUS`` is in the first round."""
    rounds: int = 0
    """0: it is trained once."""
    seeds: tuple[int, ...] = ()
    """Its own; (): those of the call, or of the step that it teaches."""
    settings: tuple[tuple[str, Any], ...] = ()
    balance: bool = False
    """Whether the weight of its term beside the base is measured before it is trained (``balancing``); 1 until then."""

    @property
    def first(self) -> str | None:
        """The step that teaches it, in its first round."""
        return self.before if self.teacher == PREVIOUS else self.teacher


@dataclass(frozen=True)
class Experiment:
    """Steps, each above those that learn from it in ``order``."""

    name: str
    title: str
    steps: dict[str, Step]
    preset: str | None = None
    dataset: str | None = None
    untrained: dict[str, str] = field(default_factory=dict)
    """Rows of the report that no single training gives → why."""

    @property
    def last(self) -> tuple[Step, ...]:
        """The steps that teach no other: the experiment's results."""
        teachers = {step.first for step in self.steps.values()}
        return tuple(step for step in self.steps.values() if step.name not in teachers)


def require_teacher(step: Step, steps: Mapping[str, Step], where: str) -> None:
    """``InputError`` for a teacher that is not there, or a mix that needs one and has none."""
    first = step.first
    if step.balance and any(other.first == step.name for other in steps.values()):
        raise InputError(f"{where}: step {step.name}: a step with balance teaches nobody; expected another teacher")
    if first is None:
        if step.mix.needs_teacher:
            raise InputError(
                f"{where}: step {step.name}: mix {step.mix} learns from a teacher; expected for example teacher = 'teacher', the "
                "fold's own"
            )
        return
    if first not in steps:
        several = [other.name for other in steps.values() if other.label == first]
        near = suggestion(first, steps)
        more = f": it is {len(several)} steps, by each" if several else near
        raise InputError(
            f"{where}: step {step.name}: no step {first!r} to teach it{more}; expected one of {', '.join(steps)}"
        )
    if step.rounds and not step.mix.needs_teacher:
        raise InputError(
            f"{where}: step {step.name}: mix {step.mix} reads no teacher, so its rounds learn nothing from each other; "
            "expected a mix such as ce:1,soft:1"
        )


def require_no_cycle(steps: Mapping[str, Step], where: str) -> None:
    for step in steps.values():
        chain: list[str] = []
        name: str | None = step.name
        while name is not None:
            if name in chain:
                loop = " ← ".join([*chain[chain.index(name) :], name])
                raise InputError(f"{where}: {loop}: steps that teach each other in a circle; expected a first one")
            chain.append(name)
            if len(chain) > LONGEST:
                raise InputError(f"{where}: more than {LONGEST} steps behind each other; expected rounds for so many")
            name = steps[name].first
