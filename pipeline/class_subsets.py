"""Which classes a run trains and tests on, as the setting ``classes`` says it; its labels are then places in that tuple.

``""``: all. ``3,0,7``, ``siren,dog_bark``: these, by number or name, in this order. ``0:5@1``: the first five of an order of all
classes, drawn from (seed, 1) and the names alone; ``5:10@1`` the next five of the same order, ``50%:100%@1`` its second half.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from pipeline.errors import InputError

#: A part of a drawn order: two ends, both counts or both shares, and which order.
DRAWN = re.compile(r"(\d{1,6})(%?):(\d{1,6})(%?)@(\d{1,9})")

EXPECTED = (
    "expected numbers or names of classes, for example [0, 3, 7], or a part of an order that is drawn for each seed, for example "
    "'0:5@1' or '50%:100%@1', or '' for all"
)


def parsed(text: str) -> str:
    """``classes`` as it is kept. ``InputError``, one line, for a text that can name no classes."""
    if not text.strip():
        return ""
    if part := DRAWN.fullmatch(text.replace(" ", "")):
        first, share, last, other_share, _ = part.groups()
        if share != other_share or int(first) >= int(last) or (share and int(last) > 100):
            raise InputError(
                f"classes = {text!r}: expected a part of an order from a lower to a higher end, both counts or both shares of at "
                "most 100%, for example '0:5@1' or '50%:100%@1'"
            )
        return part[0]
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise InputError(f"classes = {text!r}: {EXPECTED}")
    if double := sorted({item for item in items if items.count(item) > 1}):
        raise InputError(f"classes = {text!r}: {double[0]} twice; expected different ones")
    return ",".join(items)


def is_drawn(text: str) -> bool:
    """Whether the classes are others for each seed."""
    return DRAWN.fullmatch(text) is not None


def chosen(text: str, classes: Sequence[str], seed: int) -> tuple[int, ...] | None:
    """The numbers of the classes that ``text`` names, of all ``classes`` of a corpus, in its order; None: all as they are.

    Raises ``InputError``, one line, for classes that are not there, and for fewer than two: there is nothing to tell apart.
    """
    if not text:
        return None
    part = DRAWN.fullmatch(text)
    numbers = drawn(part, text, classes, seed) if part else listed(text, classes)
    if len(numbers) < 2:
        raise InputError(f"classes = {text!r}: {len(numbers)} of {len(classes)} classes; expected two at least")
    return numbers


def drawn(part: re.Match[str], text: str, classes: Sequence[str], seed: int) -> tuple[int, ...]:
    """A part of an order; shares of the number of classes are rounded down, so that parts that meet have no class in common."""
    ends = [int(part[place]) * len(classes) // 100 if part[2] else int(part[place]) for place in (1, 3)]
    if ends[1] > len(classes):
        raise InputError(f"classes = {text!r}: there are {len(classes)} classes; expected a part of these")
    return order(classes, seed, int(part[5]))[ends[0] : ends[1]]


def order(classes: Sequence[str], seed: int, number: int) -> tuple[int, ...]:
    """The classes of a corpus in an order of (seed, number, names) alone: by the hash of each."""

    def key(place: int) -> bytes:
        text = f"classes/{seed}/{number}/{classes[place]}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    return tuple(sorted(range(len(classes)), key=key))


def listed(text: str, classes: Sequence[str]) -> tuple[int, ...]:
    """Classes by number, or by name; a name of digits alone counts as a number."""
    numbers = []
    for item in text.split(","):
        is_number = item.isascii() and item.isdecimal() and len(item) < 8
        place = int(item) if is_number else classes.index(item) if item in classes else -1
        if not 0 <= place < len(classes):
            shown = ", ".join(classes[:8]) + (", …" if len(classes) > 8 else "")
            raise InputError(
                f"classes = {text!r}: no class {item}; there are {len(classes)}, from 0 to {len(classes) - 1} ({shown}): expected "
                "some of these"
            )
        numbers.append(place)
    if len(set(numbers)) < len(numbers):
        raise InputError(
            f"classes = {text!r}: a class is there twice, by its number and its name; expected different ones"
        )
    return tuple(numbers)


def names(text: str, classes: Sequence[str], seed: int) -> tuple[str, ...]:
    """The names of the classes that ``text`` chooses, in its order; all of them of ''."""
    places = chosen(text, classes, seed)
    return tuple(classes) if places is None else tuple(classes[place] for place in places)
