"""How the batches of an epoch are drawn, as a setting says it.

``shuffle``: every training clip once, in any order. ``classes:m``: each batch holds m clips of each of batch / m classes, so that
a loss that compares clips of a class with clips of others finds both.
"""

from __future__ import annotations

from pipeline.errors import InputError

SHUFFLE = "shuffle"
CLASSES = "classes"


def clips_of_class(sampler: str) -> int:
    """m of ``classes:m``; 0 of ``shuffle``. Raises ``InputError``, one line, for any other text."""
    if sampler == SHUFFLE:
        return 0
    kind, _, number = sampler.partition(":")
    if kind != CLASSES or not (number.isascii() and number.isdecimal() and number[0] != "0" and len(number) < 8):
        raise InputError(
            f"sampler = {sampler!r}: expected 'shuffle', or 'classes:m' for m clips of each class of a batch, for example "
            "'classes:4'"
        )
    return int(number)


def check(sampler: str, batch: int) -> None:
    """``InputError``, one line, for a text that is none, and where a batch does not hold whole classes."""
    each = clips_of_class(sampler)
    if each and batch % each:
        fitting = [number for number in range(2, batch + 1) if batch % number == 0] or [1]
        nearest = min(fitting, key=lambda number: abs(number - each))
        raise InputError(
            f"sampler = {sampler!r}: a batch of {batch} does not hold whole classes of {each} clips; expected "
            f"'classes:{nearest}', or a batch that {each} divides, for example {each * max(2, round(batch / each))}"
        )


def check_classes(sampler: str, batch: int, classes: int, where: str) -> None:
    """``InputError``, one line, where a batch needs more classes than there are. ``where``: whose, for the message."""
    each = clips_of_class(sampler)
    if each and batch // each > classes:
        fitting = next(
            number for number in range(each, batch + 1) if batch % number == 0 and batch // number <= classes
        )
        raise InputError(
            f"{where}: sampler = {sampler!r}: a batch of {batch} holds {batch // each} classes of {each} clips, and there are "
            f"{classes}; expected 'classes:{fitting}', or a batch of at most {each * classes}"
        )
