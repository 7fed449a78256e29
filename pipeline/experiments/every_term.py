"""``each.term = "all"``: a step for every loss there is, in its published combination or beside soft targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline import losses
from pipeline.losses.library import constant

#: What the weight of a term is balanced against.
BASE = "soft"


def mixes(beside_base: bool) -> list[str]:
    """The mixes, one per loss: ``MIX`` of its file, else its own name; or each with the weight 1 beside ``BASE``.

    Without those that ``reason`` names.
    """
    wanted = [name for name in losses.names() if not reason(name, beside_base)]
    if beside_base:
        return [f"{BASE}:1,{name}:1" for name in wanted if name != BASE]
    return [str(constant(name, "MIX", name)) for name in wanted]


def besides(mix: str, published: bool) -> dict[str, Any]:
    """What a step with this mix needs besides: the network without which a loss has nothing to read (``NETWORK`` of its file),
    and of the published combination how its batches are drawn (``SAMPLER``)."""
    names = [term.name for term in losses.LossMix.parse(mix).terms]
    keys = {"network": "NETWORK", **({"sampler": "SAMPLER"} if published else {})}
    words = {key: [word for name in names if (word := constant(name, which, ""))] for key, which in keys.items()}
    return {key: each[0] for key, each in words.items() if each}


def reason(name: str, beside_base: bool) -> str:
    """Why a loss cannot be trained by itself with one teacher; "" where it can.

    A file says so of its published combination by ``CHAIN``; of the term itself by ``ALONE = False``.
    """
    needed = str(constant(name, "CHAIN", ""))
    return needed if needed and not (beside_base and constant(name, "ALONE", True)) else ""


def untrained(table: Mapping[str, Any]) -> dict[str, str]:
    """Of one table ``[[step]]``: row of the report → why it is not trained."""
    each = table.get("each", {})
    if not isinstance(each, Mapping) or each.get("term") != "all":
        return {}
    reasons = {name: reason(name, bool(table.get("balance"))) for name in losses.names()}
    return {f"{table.get('name')}-{name}": f"needs a chain: {why}" for name, why in reasons.items() if why}
