"""One table of an experiment's file as several steps: ``each``, and which of several steps another table's step means."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from pipeline.config import InputError
from pipeline.experiments import every_term
from pipeline.experiments.steps import Step
from pipeline.losses import LossMix

#: Fields of a step that name other steps.
NAMING = ("teacher", "start", "base")

#: What a table is called → the fields of its ``each``, and (name, fields) of each of its steps.
Spreads = dict[str, tuple[set[str], list[tuple[str, dict[str, Any]]]]]


def each(table: Mapping[str, Any], where: str, others: Mapping[str, Step]) -> list[tuple[str, dict[str, Any]]]:
    """(name, fields) of each step that a table is: of one without ``each`` itself."""

    def last_of(recipe: str) -> Step:
        return [step for name, step in others.items() if name.startswith(f"{recipe}/")][-1]

    given = dict(table)
    lists = given.pop("each", {})
    if not isinstance(lists, dict):
        raise InputError(
            f"{where}: each = {lists!r}: expected lists of values, for example each.mix = ['soft', 'angle']"
        )
    lists = dict(lists)
    if every := "term" in lists:
        terms = every_term.terms_of(meant := lists.pop("term"), where)
        if "mix" in lists:
            raise InputError(f"{where}: each.term: expected one step per loss, and no each.mix beside it")
        mixes = every_term.mixes_of_forms if every_term.of_forms(meant) else every_term.mixes
        lists["mix"] = mixes(bool(given.get("balance")), terms)
        if not lists["mix"]:
            raise InputError(f"{where}: each.term: {', '.join(terms)} need a chain of trainings; expected other losses")
    for field, values in lists.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{where}: each.{field} = {values!r}: expected a list of values")
        if field in given or field in ("name", "each"):
            raise InputError(f"{where}: {field} is given, and each.{field} too; expected one of them")
        if field == "mix":
            lists[field] = [str(mix_of(value, f"{where}: each.mix")) for value in values]
    combined = [dict(zip(lists, values)) for values in itertools.product(*lists.values())]
    names = ["-".join([table["name"], *(value_name(k, v) for k, v in chosen.items())]) for chosen in combined]
    published = not given.get("balance")
    more = [every_term.besides(chosen["mix"], published, last_of) if every else {} for chosen in combined]
    taught = [{key: needed[key] for key in ("teacher", "base") if key in needed} for needed in more]
    return [(name, more[i] | given | combined[i] | taught[i]) for i, name in enumerate(names)]


def value_name(field: str, value: Any) -> str:
    """Of one value of ``each``, in the name of its step."""
    if field == "mix":
        return LossMix.parse(value).slug
    return f"{field}{re.sub(r'[^A-Za-z0-9_.+-]+', '_', str(value))}"


def tied(values: Mapping[str, Any], table: Mapping[str, Any], spreads: Spreads) -> dict[str, Any]:
    """The fields of one step of ``table``, with the one step of several that it means by what these are called.

    ``spreads``: of the tables above. Of several steps it means the one that has the same values of all fields that both tables have
    in ``each``, for example of ``each.classes``.
    """

    def meant(name: Any) -> Any:
        spread, steps = spreads.get(name, (set(), [])) if isinstance(name, str) else (set(), [])
        both = spread & set(table.get("each", {}))
        alike = [other for other, fields in steps if all(fields[key] == values[key] for key in both)]
        return alike[0] if len(alike) == 1 else name

    named = {field: values[field] for field in NAMING if field in values}
    return {
        **values,
        **{field: [*map(meant, of)] if isinstance(of, list) else meant(of) for field, of in named.items()},
    }


def mix_of(text: Any, where: str) -> LossMix:
    if not isinstance(text, str):
        raise InputError(f"{where}: mix = {text!r}: expected text, for example 'ce:1,soft:1'")
    try:
        return LossMix.parse(text)
    except InputError as error:
        raise InputError(f"{where}: mix = {error}") from None
