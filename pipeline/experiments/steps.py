"""The steps of an experiment, and which of them goes before which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import InputError
from pipeline.listed import LAST
from pipeline.losses import LossMix
from pipeline.losses.library import suggestion

#: The fold's own teacher, and of a step with rounds: the round before.
TEACHER, PREVIOUS = "teacher", "previous"

#: What a teacher is trained on: the labels alone.
LABELS = LossMix.parse("ce")

#: Steps of which each goes before the next.
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
    teachers: tuple[str, ...] = ()
    """The names of the steps that teach it, several as an ensemble; ``PREVIOUS`` among them."""
    start: str | None = None
    """The step whose last weights it begins with, or ``PREVIOUS``."""
    base: str | None = None
    """The step whose misses it learns."""
    before: str | None = None
    """The step above: what ``PREVIOUS`` is in the first round."""
    rounds: int = 0
    """0: it is trained once."""
    seeds: tuple[int, ...] = ()
    """Its own; (): those of the call, or of the step that it teaches."""
    settings: tuple[tuple[str, Any], ...] = ()
    balance: bool = False
    """Whether the weight of its term beside the base is measured before it is trained (``balancing``); 1 until then."""
    cross_fitted: bool = False
    """Whether what is said of a clip comes from a teacher that was not trained on its fold either (``pairs``)."""
    files: tuple[Path, ...] = ()
    """The files of teachers of any program that teach it beside ``teachers``: those of all held-out folds."""
    features: tuple[tuple[str, Any], ...] = ()
    """Settings of features that it has in place of the preset's (``own_features``)."""
    apart: float = 0.0
    """It is trained only where its term's weight is more than so many times the one that a step with ``balance`` got for the same term, or
    that is so much more than it; 0: in any case."""
    peer: str = ""
    """The step that learns from it while it learns from that (``peering``); "": none."""

    def at_first(self, name: str) -> str:
        """What the name of a step means in the first round."""
        return str(self.before) if name == PREVIOUS else name

    @property
    def parents(self) -> dict[str, str]:
        """Each step that goes before it in its first round → what it is to it: teaches, starts, is the base of."""
        relations = [(name, "teaches") for name in self.teachers]
        relations += [(name, word) for name, word in ((self.start, "starts"), (self.base, "is the base of")) if name]
        words: dict[str, str] = {}
        for name, word in relations:
            first = self.at_first(name)
            words[first] = f"{words[first]} and {word}" if first in words else word
        return words


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
    asked: frozenset[tuple[str, str]] = frozenset()
    """(step, setting) that whoever runs it named: no data change them."""
    notes: tuple[str, ...] = ()
    """What data of few classes changed, and how many rows were left out, a line each."""
    part: bool = False
    """Whether whoever runs it left rows out."""
    weighed: frozenset[str] = frozenset()
    """Steps with ``balance`` that are left out but for their measured weights, by which others are trained or not (``apart``)."""

    @property
    def last(self) -> tuple[Step, ...]:
        """The steps that go before no other: the experiment's results."""
        parents = {name for step in self.steps.values() for name in step.parents}
        return tuple(step for step in self.steps.values() if step.name not in {*parents, *self.weighed})


def before_in_any_round(step: Step, name: str | None) -> tuple[str, ...]:
    """The steps that a name means: ``PREVIOUS`` the one above, and in later rounds the step itself."""
    if name is None:
        return ()
    return (step.at_first(name), *([step.name] if name == PREVIOUS and step.rounds > 1 else []))


def is_labels_alone(step: Step) -> bool:
    return step.mix == LABELS and not (step.teachers or step.start or step.base or step.files or step.peer)


def is_own_teacher(step: Step) -> bool:
    """Whether it is the fold's own teacher, which all experiments have in common."""
    return (step.experiment, step.name) == (TEACHER, TEACHER)


def require_known(fields: Iterable[str], known: Sequence[str], where: str) -> None:
    for name in fields:
        if name not in known:
            near = suggestion(name, known)
            raise InputError(f"{where}: unknown field {name!r}{near}; expected one of {', '.join(known)}")


def require_parents(step: Step, steps: Mapping[str, Step], where: str) -> None:
    """``InputError`` for a step that is not there, or a mix that needs a teacher or a base and has none."""
    where = f"{where}: step {step.name}"
    if step.balance and any(step.name in other.parents for other in steps.values()):
        raise InputError(f"{where}: a step with balance teaches nobody; expected another teacher")
    if not (step.teachers or step.files or step.peer) and step.mix.needs_teacher:
        raise InputError(
            f"{where}: mix {step.mix} learns from a teacher; expected for example teacher = 'teacher', the fold's own"
        )
    for name, word in step.parents.items():
        if name in steps:
            continue
        several = [other.name for other in steps.values() if other.label == name]
        more = f": it is {len(several)} steps, by each" if several else suggestion(name, steps)
        purpose = {"teaches": "to teach it", "starts": "to start from", "is the base of": "to be its base"}
        raise InputError(
            f"{where}: no step {name!r} {purpose.get(word, 'to go before it')}{more}; expected one of {', '.join(steps)}"
        )
    if step.rounds and step.start != PREVIOUS and not step.mix.needs_teacher:
        raise InputError(
            f"{where}: mix {step.mix} reads no teacher, so its rounds learn nothing from each other; expected a mix such as "
            "ce:1,soft:1, or start = 'previous'"
        )
    require_base(step, steps, where)


def require_teacher_of_epoch(step: Step, asked: str, where: str) -> None:
    """``InputError`` for the epoch of a teacher that is none, or a file. ``asked``: which one the step's network is to learn from, by the
    step or its table; a table's is of steps that have a teacher."""
    epoch = asked if step.files else dict(step.settings).get("teacher_epoch", LAST)
    if not step.teachers and epoch != LAST:
        reason = "a file has no epochs" if step.files else "it has no teacher"
        raise InputError(
            f"{where}: teacher_epoch = {epoch}: {reason}; expected a step that teaches, or no teacher_epoch"
        )


def require_base(step: Step, steps: Mapping[str, Step], where: str) -> None:
    """``InputError`` for a base that was not taught to speak as the step's own teacher does."""
    reads = "base" in (step.mix.teacher_reads or ())
    if step.base is None:
        if reads:
            raise InputError(
                f"{where}: mix {step.mix} learns what a student before it missed; expected base = its step, with a mix such as "
                "ce:1,hint:1@layer=hidden"
            )
        return
    if not reads:
        raise InputError(f"{where}: base = {step.base!r}, and mix {step.mix} reads none; expected a mix with residual")
    base = steps[step.base]
    if not base.mix.regressed:
        raise InputError(
            f"{where}: base = {step.base!r}: its mix {base.mix} does not learn the teacher's embedding; expected a term such as "
            "hint:1@layer=hidden there"
        )
    if base.teachers != step.teachers or len(step.teachers) != 1:
        raise InputError(
            f"{where}: base = {step.base!r} learns from {in_words(base.teachers)}, this step from {in_words(step.teachers)}; "
            "expected one teacher, the same for both"
        )


def model_of(network: str, model: str) -> str:
    """The model of a step's ``network``, where that of its table is ``model``: ``student+16`` has the width in place of the table's."""
    base, plus, width = network.partition("+")
    if base not in ("teacher", "student"):
        return network
    return model.partition("+")[0] + plus + width if plus else model


def in_words(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nobody"


def require_no_cycle(steps: Mapping[str, Step], where: str) -> None:
    """``InputError`` where steps go before each other in a circle, or too many behind each other."""
    known: dict[str, int] = {}

    def depth(name: str, chain: tuple[str, ...]) -> int:
        if name in chain:
            loop = " ← ".join([*chain[chain.index(name) :], name])
            raise InputError(f"{where}: {loop}: steps that teach each other in a circle; expected a first one")
        if len(chain) > LONGEST:
            raise InputError(f"{where}: more than {LONGEST} steps behind each other; expected rounds for so many")
        if name not in known:
            above = [depth(parent, (*chain, name)) for parent in steps[name].parents]
            known[name] = 1 + max(above, default=-1)
        return known[name]

    for name in steps:
        if depth(name, ()) >= LONGEST:
            raise InputError(f"{where}: more than {LONGEST} steps behind each other; expected rounds for so many")
