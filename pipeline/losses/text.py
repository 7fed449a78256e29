"""The text of a term → its loss, weight and options."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pipeline.config import InputError
from pipeline.losses.library import constant, fewest, names, require, suggestion
from pipeline.losses.schedule import Ramp
from pipeline.losses.signature import EVERY, Option, Value, idle, masked, numbers, options, read

#: The first of these that a mix names is its base term; ``soft:1`` is added where it names none.
BASES = ("soft", "ce")

#: Name, weight or None, options.
Written = tuple[str, float | Ramp | None, tuple[tuple[str, Value], ...]]


def parts(text: str) -> list[str]:
    """The texts of the terms of a mix, or of its path name, where an exponent may have a plus sign too."""
    return [part.strip() for part in re.split(r",|(?<![0-9.][eE])\+", text)]


def read_term(part: str) -> Written:
    """``NAME[:WEIGHT][@OPTION=VALUE]...`` or its path form → name, weight or None, options that differ from the defaults."""
    head, *texts = part.split("@")
    name, weight = read_head(head.strip(), part)
    known = options(name) | EVERY
    given: dict[str, Value] = {}
    for text in texts:
        key, value = read_option(text.strip(), name, known, part)
        if key in given:
            raise InputError(f"{part!r}: option {key} is given twice; give it once")
        given[key] = value
    chosen = {key: value for key, value in given.items() if value != known[key].default}
    require_sense(name, chosen, part)
    return name, weight, tuple(sorted(chosen.items()))


def require_sense(name: str, given: Mapping[str, Any], part: str) -> None:
    """``InputError`` for a term that never counts, whose clips cannot be chosen, with an option that does nothing,
    or with options that the loss's file refuses together (its function ``check``)."""
    file_options = {key: value for key, value in given.items() if key not in EVERY}
    for key, beside in idle(name, file_options).items():
        if key in given:
            raise InputError(
                f"{part!r}: option {key} of {name} does nothing without {' or '.join(beside)}; give that too"
            )
    if file_options and (check := constant(name, "check", None)) is not None:
        check(**file_options)
    if (start := given.get("from", 0)) >= (end := given.get("until", math.inf)):
        raise InputError(
            f"{part!r}: from={start} and until={end} leave no epoch; expected a larger until, or a smaller from"
        )
    if 1 < (warm := given.get("warm", 1)) <= start + 1:
        raise InputError(
            f"{part!r}: warm={warm} is over before from={start} lets the term begin; expected a warm of {start + 2} or more, "
            "or none"
        )
    if given.get("rows", "all") != "all" and fewest(name) > 1 and not masked(name):
        raise InputError(
            f"{part!r}: {name} compares the clips of a batch with each other, so rows={given['rows']} cannot choose among "
            "them; expected a term that is a mean over clips, or one whose function takes rows"
        )


def read_head(head: str, part: str) -> tuple[str, float | Ramp | None]:
    name, colon, text = (piece.strip() for piece in head.partition(":"))
    if colon or name in names():
        require(name)
        return name, read_weight(text, name, part) if colon else None
    fitting = [known for known in names() if re.match(re.escape(known) + r"-?[0-9.]", name)]
    if fitting:
        known = max(fitting, key=len)
        return known, read_weight(name[len(known) :].removeprefix("-"), known, part)
    require(re.sub(r"-?[0-9.].*$", "", name) or name)
    raise InputError(f"{part!r}: expected NAME, NAME:WEIGHT or NAME:WEIGHT@OPTION=VALUE, for example angle:40")


def read_option(text: str, name: str, known: dict[str, Option], part: str) -> tuple[str, Value]:
    key, equals, value = (piece.strip() for piece in text.partition("="))
    if not equals:  # the path form; the option's own name may have underscores
        key = max((k for k in known if text.startswith(k + "_")), key=len, default=text.partition("_")[0])
        value = text[len(key) + 1 :]
    if key not in known:
        near = suggestion(key, known)
        file_options = ", ".join(key for key in known if key not in EVERY)
        expected = f"expected one of {file_options}" if file_options else f"{name} has no options of its own"
        expected += f"; every term has {', '.join(EVERY)}"
        raise InputError(f"{part!r}: unknown option {key!r} of {name}{near}; {expected}")
    return key, read(value, known[key], name, key, part)


def read_weight(text: str, name: str, part: str) -> float | Ramp:
    """A number above 0, 0 too of a base term, or a ramp, which may begin or end at 0."""
    both = numbers(text)
    if not all(0 <= number < math.inf for number in both) or not (any(both) or name in BASES):
        raise InputError(
            f"{part!r}: the weight of {name} is {text!r}; expected a number above 0, for example 20, or a ramp, for example 4..1"
        )
    return both[0] if both[0] == both[-1] else Ramp(*both)
