"""Settings that list epochs or modules as text, for example keep = "5,10" and freeze = "conv,linear1"."""

from __future__ import annotations

import re
from typing import Any

from pipeline.errors import InputError

#: Words in place of an epoch's number: the last one's weights, and the best one's by the held-out fold.
LAST, BEST = "last", "best"


#: The settings that are text, and may be one number or a list as well.
AS_TEXT = ("keep", "freeze", "milestones", "teacher_epoch", "classes")


def as_text(setting: str, value: Any) -> Any:
    """A number or a list as the text that such a setting is kept as; any other value as it is."""
    items = value if isinstance(value, list) and setting != "teacher_epoch" else [value]
    words = isinstance(value, list) and all(
        type(item) is str and item for item in items
    )  # [""] would be "", which lists none
    plain = words or all(type(item) is int for item in items)
    return ",".join(map(str, items)) if setting in AS_TEXT and items and plain else value


def epoch_number(text: str) -> int | None:
    """The number that a text is, from 1; None of any other text."""
    right = text.isascii() and text.isdecimal() and len(text) < 8 and text[0] != "0"
    return int(text) if right else None


def kept_epochs(text: str, last: int) -> tuple[int, ...]:
    """The epochs that ``keep`` lists, sorted. Raises ``InputError``, one line, for any other text, and beyond the ``last``."""
    numbers = [epoch_number(part.strip()) for part in text.split(",")] if text else []
    epochs = sorted(number for number in numbers if number is not None)
    if len(set(epochs)) < len(numbers):
        raise InputError(f"keep = {text!r}: expected different epochs from 1, for example '5,10', or ''")
    if epochs and epochs[-1] > last:
        raise InputError(
            f"keep = {text!r}: epoch {epochs[-1]} is beyond the last of epochs = {last}; expected epochs up to {last}"
        )
    return tuple(epochs)


def check_teacher_epoch(text: str) -> None:
    if text not in (LAST, BEST) and epoch_number(text) is None:
        raise InputError(
            f"teacher_epoch = {text!r}: expected {LAST}, {BEST}, or the number of an epoch that the teacher kept"
        )


def modules(text: str) -> tuple[str, ...]:
    """The names of modules in a text. Raises ``InputError``, one line, for a text that lists none."""
    names = tuple(part.strip() for part in text.split(",")) if text else ()
    if not all(re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name) for name in names) or len(set(names)) < len(names):
        raise InputError(f"freeze = {text!r}: expected different names of modules, for example 'conv1,linear', or ''")
    return names


def named_by(name: str, module: str) -> bool:
    """Whether ``name`` means a module (or a weight in it) of a dotted name: it, or what lies in it; a name without a number
    means all that are numbered, for example ``conv`` both conv1 and conv2."""
    number = "" if name[-1].isdigit() else r"\d*"
    return re.match(rf"{re.escape(name)}{number}(\.|$)", module) is not None
