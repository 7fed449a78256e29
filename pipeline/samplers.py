"""How the batches of an epoch are drawn, as a setting says it.

``shuffle``: every training clip once, in any order. ``classes:m``: each batch holds m clips of each of batch / m classes, so that
a loss that compares clips of a class with clips of others finds both. ``unlabelled:r``: each batch holds r clips without a label
for each one with a label; an epoch is one pass over those with a label. ``episode:way,shot,query``: each batch holds ``shot`` + ``query``
clips of each of ``way`` classes, class by class, the ``shot`` first, and no recording is among both; an epoch is ``EPISODES`` of them.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.plurals import many

SHUFFLE = "shuffle"
CLASSES = "classes"
UNLABELLED = "unlabelled"
EPISODE = "episode"

#: Of an epoch (Park et al. 2019, section 4.3).
EPISODES = 100


class Episode(NamedTuple):
    """Classes of an episode, and of each its clips that are shown and those that are asked for."""

    way: int
    shot: int
    query: int

    @property
    def batch(self) -> int:
        return self.way * (self.shot + self.query)


def parts(sampler: str) -> tuple[str, int]:
    """Kind and number of a sampler, of ``shuffle`` 0, of an episode its classes. Raises ``InputError``, one line, for any other text."""
    if sampler == SHUFFLE:
        return SHUFFLE, 0
    kind, _, number = sampler.partition(":")
    if kind == EPISODE:
        return EPISODE, episode(sampler).way
    whole = number.isascii() and number.isdecimal() and number[0] != "0" and len(number) < 8
    if kind not in (CLASSES, UNLABELLED) or not whole:
        raise InputError(
            f"sampler = {sampler!r}: expected 'shuffle', or 'classes:m' for m clips of each class of a batch, for example "
            "'classes:4', or 'unlabelled:r' for r clips without a label for each with one, for example 'unlabelled:3', or "
            "'episode:way,shot,query', for example 'episode:5,1,5'"
        )
    return kind, int(number)


def episode(sampler: str) -> Episode:
    """The numbers of ``episode:way,shot,query``. ``InputError``, one line, where there are not three, or fewer than two classes."""
    numbers = sampler.partition(":")[2].replace(" ", "").split(",")
    whole = all(one.isascii() and one.isdecimal() and one[0] != "0" and len(one) < 6 for one in numbers)
    if not whole or len(numbers) != 3 or int(numbers[0]) < 2:
        raise InputError(
            f"sampler = {sampler!r}: expected 'episode:way,shot,query', of two classes at least and a clip each, for example "
            "'episode:5,1,5' for five classes, of each one clip to learn from and five to ask for"
        )
    return Episode(*map(int, numbers))


def episode_of(sampler: str) -> Episode | None:
    """The numbers of a sampler of episodes; None of any other."""
    return episode(sampler) if sampler.partition(":")[0] == EPISODE else None


def clips_of_class(sampler: str) -> int:
    """m of ``classes:m``; 0 of any other."""
    kind, number = parts(sampler)
    return number if kind == CLASSES else 0


def labelled_of(sampler: str, batch: int) -> int:
    """How many clips of a batch have a label, of ``unlabelled:r``: batch / (1 + r); 0 of any other."""
    kind, number = parts(sampler)
    return batch // (1 + number) if kind == UNLABELLED else 0


def shot_of(sampler: str) -> int:
    """Clips that are shown of each class of an episode; 1 of any other sampler."""
    return few.shot if (few := episode_of(sampler)) else 1


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
    if kind == EPISODE and batch != (whole := episode(sampler)).batch:
        raise InputError(
            f"sampler = {sampler!r} and batch = {batch}: an episode of {whole.way} classes with {whole.shot} + {many(whole.query, 'clip')} each "
            f"takes {whole.batch}; expected batch = {whole.batch}"
        )
    if kind == UNLABELLED and batch % (1 + number):
        share = 1 + number
        fitting = [each - 1 for each in range(2, batch + 1) if batch % each == 0]
        others = [f"'unlabelled:{min(fitting, key=lambda each: abs(each - number))}'"] if fitting else []
        others.append(f"a batch that {share} divides, for example {share * max(1, round(batch / share))}")
        raise InputError(
            f"sampler = {sampler!r}: a batch of {batch} does not hold {many(number, 'clip')} without a label for each with one; "
            f"expected {', or '.join(others)}"
        )


def check_classes(sampler: str, batch: int, classes: int, where: str) -> None:
    """``InputError``, one line, where a batch needs more classes than there are. ``where``: whose, for the message."""
    if (few := episode_of(sampler)) and few.way > classes:
        raise InputError(
            f"{where}: sampler = {sampler!r}: an episode of {few.way} classes, and there are {classes}; expected "
            f"'episode:{classes},{few.shot},{few.query}' with batch = {few._replace(way=classes).batch}, or more classes"
        )
    each = clips_of_class(sampler)
    if each and batch // each > classes:
        fitting = next(
            number for number in range(each, batch + 1) if batch % number == 0 and batch // number <= classes
        )
        raise InputError(
            f"{where}: sampler = {sampler!r}: a batch of {batch} holds {many(batch // each, 'class')} of {many(each, 'clip')}, and there are "
            f"{classes}; expected 'classes:{fitting}', or a batch of at most {each * classes}"
        )
