"""``each.term``: a step for every loss there is, or for some of them, in its published combination or beside soft targets.

"all"; "forms", methods that are a loss with other options (``FORMS`` of its file); "vectors", those that several teachers at once can teach, for they read no more of these than embeddings and outputs; "single", those
that ask for one teacher: its maps, its output layer; or a list of losses. A table ``{of = "all", without = ["hint"]}`` leaves some out.

What one training with one teacher cannot be is the recipe that its file names (``RECIPE``), included under the recipe's name.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pipeline import losses, models
from pipeline.config import InputError
from pipeline.experiments.steps import Step
from pipeline.losses.library import constant, forms, network, require, teacher_reads
from pipeline.losses.reused import asks_head

#: Which losses ``each.term`` can mean by a word.
FORMS = "forms"
WORDS = ("all", "vectors", "single", FORMS)

#: Why a form has no weight beside ``BASE``.
REUSED = (
    "its network answers by its teacher's output layer, which soft alone does not give it: nothing to balance against"
)

#: What the weight of a term is balanced against.
BASE = "soft"


def terms_of(value: Any, where: str = "") -> tuple[str, ...]:
    """The losses that ``each.term`` means. ``InputError`` for what means none."""
    table = value if isinstance(value, Mapping) else {"of": value}
    named, left_out = table.get("of"), table.get("without", [])
    known = losses.names()
    lists = [one for one in (named, left_out) if isinstance(one, list)]
    if (
        not {*table} <= {"of", "without"}
        or not isinstance(left_out, list)
        or (named not in WORDS and not isinstance(named, list))
    ):
        raise InputError(
            f"{where}: each.term = {value!r}: expected {', '.join(map(repr, WORDS))}, a list of losses, or for example {{of = 'all', without = "
            "['hint']}"
        )
    for name in itertools.chain(*lists):
        require(str(name))
    wanted = named if isinstance(named, list) else [name for name in known if is_meant(name, named)]
    kept = tuple(dict.fromkeys(name for name in wanted if name not in left_out))
    if not kept:
        raise InputError(f"{where}: each.term = {value!r}: no loss is left; expected one at least")
    return kept


def is_meant(name: str, word: str) -> bool:
    """Whether a loss is one of those that a word means."""
    if word == FORMS:
        return bool(forms(name))
    return word == "all" or single(name) == (word == "single")


def of_forms(value: Any) -> bool:
    """Whether ``each.term`` means other forms of losses, and not the losses themselves."""
    return (value.get("of") if isinstance(value, Mapping) else value) == FORMS


def mixes_of_forms(beside_base: bool, terms: Sequence[str]) -> list[str]:
    """``mixes`` of the losses' other forms."""
    each = [(name, mix) for name in terms for mix in forms(name)]
    if not beside_base:
        return [mix for _, mix in each]
    return [
        f"{BASE}:1,{term.key.replace('@', ':1@', 1)}" for name, mix in each if not reuses(term := term_of(name, mix))
    ]


def term_of(name: str, mix: str) -> losses.Term:
    """The term of a loss in a mix."""
    return next(term for term in losses.LossMix.parse(mix).terms if term.name == name)


def reuses(term: losses.Term) -> bool:
    """Whether the network that a term needs answers by the teacher's output layer, which ``BASE`` alone cannot give it."""
    return bool(models.reuses(network(term.name, term.arguments)))


def single(name: str) -> bool:
    """Whether a loss asks for one teacher: of several there is no mean of maps, and no output layer."""
    if constant(name, "MEMBERS", False):
        return False
    reads = teacher_reads(name)
    return asks_head(name) or reads is None or bool(set(reads) - {"embedding", "logits", "members"})


def mixes(beside_base: bool, terms: Sequence[str] | None = None) -> list[str]:
    """The mixes, one per loss: ``MIX`` of its file, else its own name; or each with the weight 1 beside ``BASE``.

    ``terms``: of these (None: all). Without those that are a recipe of their own, or that ``untrained`` names.
    """
    terms = losses.names() if terms is None else terms
    wanted = [name for name in terms if not chained(name, beside_base) or (beside_base and recipe(name))]
    if beside_base:
        return [f"{BASE}:1,{name}:1" for name in wanted if name != BASE]
    return [str(constant(name, "MIX", name)) for name in wanted]


def besides(mix: str, published: bool, included: Callable[[str], Step]) -> dict[str, Any]:
    """What a step with this mix needs besides: the network without which a loss has nothing to read (``NETWORK`` of its file),
    of the published combination how its batches are drawn (``SAMPLER``), and beside ``BASE`` whoever teaches its recipe's last
    step, which ``included`` knows by the recipe's name."""
    terms = losses.LossMix.parse(mix).terms
    names = [term.name for term in terms]
    words = {"network": [network(term.name, term.arguments) for term in terms]}
    words |= {"sampler": [str(constant(name, "SAMPLER", "")) for name in names]} if published else {}
    fields: dict[str, Any] = {key: next(filter(None, each)) for key, each in words.items() if any(each)}
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
        recipe(name) for table in tables for name in of_every_term(table) if chained(name, bool(table.get("balance")))
    ]
    return list(dict.fromkeys(filter(None, named)))


def of_every_term(table: Mapping[str, Any]) -> tuple[str, ...]:
    """The losses that a table ``[[step]]`` is of, by ``each.term``; () without it."""
    each = table.get("each", {})
    return terms_of(each["term"], f"step {table.get('name')}") if isinstance(each, Mapping) and "term" in each else ()


def untrained(table: Mapping[str, Any]) -> dict[str, str]:
    """Of one table ``[[step]]``: row of the report → why it is not trained."""
    each = table.get("each", {})
    if isinstance(each, Mapping) and of_forms(each.get("term")):
        terms = [term_of(name, mix) for name in of_every_term(table) for mix in forms(name)]
        return {f"{table.get('name')}-{one.key}": REUSED for one in terms if table.get("balance") and reuses(one)}
    reasons = {name: chained(name, bool(table.get("balance"))) for name in of_every_term(table) if not recipe(name)}
    return {f"{table.get('name')}-{name}": f"needs a chain: {why}" for name, why in reasons.items() if why}
