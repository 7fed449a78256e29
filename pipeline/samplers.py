"""How the batches of an epoch are drawn, as a setting says it.

``shuffle``: every training clip once, in any order. ``classes:m``: each batch holds m clips of each of batch / m classes, so that
a loss that compares clips of a class with clips of others finds both. ``unlabelled:r``: each batch holds r clips without a label
for each one with a label; an epoch is one pass over those with a label.
"""

from __future__ import annotations

from pipeline.errors import InputError

SHUFFLE = "shuffle"
CLASSES = "classes"
UNLABELLED = "unlabelled"


def parts(sampler: str) -> tuple[str, int]:
    """Kind and number of a sampler, of ``shuffle`` 0. Raises ``InputError``, one line, for any other text."""
    if sampler == SHUFFLE:
        return SHUFFLE, 0
    kind, _, number = sampler.partition(":")
    whole = number.isascii() and number.isdecimal() and number[0] != "0" and len(number) < 8
    if kind not in (CLASSES, UNLABELLED) or not whole:
        raise InputError(
            f"sampler = {sampler!r}: expected 'shuffle', or 'classes:m' for m clips of each class of a batch, for example "
            "'classes:4', or 'unlabelled:r' for r clips without a label for each with one, for example 'unlabelled:3'"
        )
    return kind, int(number)


def clips_of_class(sampler: str) -> int:
    """m of ``classes:m``; 0 of any other."""
    kind, number = parts(sampler)
    return number if kind == CLASSES else 0


def labelled_of(sampler: str, batch: int) -> int:
    """How many clips of a batch have a label, of ``unlabelled:r``: batch / (1 + r); 0 of any other."""
    kind, number = parts(sampler)
    return batch // (1 + number) if kind == UNLABELLED else 0


def check(sampler: str, batch: int) -> None:
    """``InputError``, one line, for a text that is none, and where a batch does not hold whole classes, or whole shares."""
    kind, number = parts(sampler)
    if kind == CLASSES and batch % number:
        fitting = [each for each in range(2, batch + 1) if batch % each == 0] or [1]
        nearest = min(fitting, key=lambda each: abs(each - number))
        raise InputError(
            f"sampler = {sampler!r}: a batch of {batch} does not hold whole classes of {number} clips; expected "
            f"'classes:{nearest}', or a batch that {number} divides, for example {number * max(2, round(batch / number))}"
        )
    if kind == UNLABELLED and batch % (1 + number):
        share = 1 + number
        fitting = [each - 1 for each in range(2, batch + 1) if batch % each == 0]
        others = [f"'unlabelled:{min(fitting, key=lambda each: abs(each - number))}'"] if fitting else []
        others.append(f"a batch that {share} divides, for example {share * max(1, round(batch / share))}")
        raise InputError(
            f"sampler = {sampler!r}: a batch of {batch} does not hold {number} clips without a label for each with one; "
            f"expected {', or '.join(others)}"
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
