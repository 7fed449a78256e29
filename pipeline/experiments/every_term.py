"""``each.term = "all"``: a step for every loss there is, in its published combination or beside soft targets.

What one training with one teacher cannot be is the recipe that its file names (``RECIPE``), included under the recipe's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline import losses
from pipeline.experiments.steps import Step
from pipeline.losses.library import constant

#: What the weight of a term is balanced against.
BASE = "soft"


def mixes(beside_base: bool) -> list[str]:
    """The mixes, one per loss: ``MIX`` of its file, else its own name; or each with the weight 1 beside ``BASE``.

    Without those that are a recipe of their own, or that ``untrained`` names.
    """
    wanted = [name for name in losses.names() if not chained(name, beside_base) or (beside_base and recipe(name))]
    if beside_base:
        return [f"{BASE}:1,{name}:1" for name in wanted if name != BASE]
    return [str(constant(name, "MIX", name)) for name in wanted]


def besides(mix: str, published: bool, included: Callable[[str], Step]) -> dict[str, Any]:
    """What a step with this mix needs besides: the network without which a loss has nothing to read (``NETWORK`` of its file),
    of the published combination how its batches are drawn (``SAMPLER``), and beside ``BASE`` whoever teaches its recipe's last
    step, which ``included`` knows by the recipe's name."""
    names = [term.name for term in losses.LossMix.parse(mix).terms]
    keys = {"network": "NETWORK", **({"sampler": "SAMPLER"} if published else {})}
    words = {key: [word for name in names if (word := constant(name, which, ""))] for key, which in keys.items()}
    fields: dict[str, Any] = {key: each[0] for key, each in words.items() if each}
    for name in names if not published else ():
        if chained(name, True):
            step = included(recipe(name))
            fields |= {"teacher": list(step.teachers), **({"base": step.base} if step.base else {})}
    return fields


def chained(name: str, beside_base: bool) -> str:
    """What a loss needs besides one training with one teacher; "" where it needs nothing.

    A file says so of its published combination by ``CHAIN``; of the term itself by ``ALONE = False``.
    """
    needed = str(constant(name, "CHAIN", ""))
    return needed if needed and not (beside_base and constant(name, "ALONE", True)) else ""


def recipe(name: str) -> str:
    """The experiment that trains a loss in its published combination; "" of one that is a training by itself."""
    return str(constant(name, "RECIPE", ""))


def recipes(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of tables ``[[step]]``: the recipes that take the place of steps of every term."""
    named = [
        recipe(name)
        for table in tables
        if of_every_term(table)
        for name in losses.names()
        if chained(name, bool(table.get("balance")))
    ]
    return list(dict.fromkeys(filter(None, named)))


def of_every_term(table: Mapping[str, Any]) -> bool:
    each = table.get("each", {})
    return isinstance(each, Mapping) and each.get("term") == "all"


def untrained(table: Mapping[str, Any]) -> dict[str, str]:
    """Of one table ``[[step]]``: row of the report → why it is not trained."""
    if not of_every_term(table):
        return {}
    reasons = {name: chained(name, bool(table.get("balance"))) for name in losses.names() if not recipe(name)}
    return {f"{table.get('name')}-{name}": f"needs a chain: {why}" for name, why in reasons.items() if why}
