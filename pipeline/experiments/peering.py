"""Steps that learn from each other: ``teacher = "peer"``. One table is two steps, NAME-1 and NAME-2, trained in the same packs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.config import InputError, TrainSettings
from pipeline.experiments.steps import Step
from pipeline.losses.peers import require_heard_at_once

#: In place of a teacher.
PEER = "peer"

#: Settings of a student that are about a teacher which was there before it.
OF_TEACHERS = ("teacher_dropout", "unlabelled_threshold", "unlabelled_per_class")


def paired(spread: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """(name, fields) of steps, those with a peer as two."""
    both = [
        [(f"{name}-1", fields), (f"{name}-2", fields)] if fields.get("teacher") == PEER else [(name, fields)]
        for name, fields in spread
    ]
    return [step for each in both for step in each]


def peer_of(name: str, fields: Mapping[str, Any], where: str) -> str:
    """The name of the other step of a pair; "" of a step that has none. ``InputError`` for what goes with no peer."""
    teacher = fields.get("teacher")
    if isinstance(teacher, list) and PEER in teacher:
        raise InputError(f"{where}: teacher = {teacher!r}: a peer learns itself; expected it alone, teacher = 'peer'")
    if teacher != PEER:
        return ""
    for field, why in (
        ("start", "both would begin with the same weights, and stay equal"),
        ("base", "a base is of one teacher, which does not learn"),
        ("balance", "weights are measured against a teacher that does not learn"),
        ("cross_fitted", "no teacher was trained before"),
        ("rounds", "no round goes before"),
    ):
        if fields.get(field):
            raise InputError(
                f"{where}: {field} = {fields[field]!r} with teacher = 'peer': {why}; expected it without {field}"
            )
    return name[:-1] + ("2" if name.endswith("1") else "1")


def check(step: Step, steps: Mapping[str, Step], network: TrainSettings, where: str) -> None:
    """``InputError`` where two that learn from each other were made unlike, or hear what no network under training says."""
    if not step.peer:
        return
    other = steps[step.peer]
    if replace(other, name=step.name, peer=step.peer) != step:
        raise InputError(
            f"{where}: it differs from {other.name}, with which it learns in one pack; expected both alike: --set step.{step.label}.KEY=VALUE is "
            "of both"
        )
    require_heard_at_once(step.mix, f"{where}: ")
    for name in OF_TEACHERS:
        if value := getattr(network, name):
            raise InputError(f"{where}: {name} = {value:g}: it has a peer, and no teacher before it; expected 0")
    weigh = [term.key for term in step.mix.terms if dict(term.options).get("weigh", "off") != "off"]
    if network.mixup and weigh:
        raise InputError(
            f"{where}: mixup = {network.mixup:g}: {weigh[0]} asks how sure the teacher is of one label, and a peer hears mixtures of two clips; "
            "expected it without weigh, or 0"
        )
