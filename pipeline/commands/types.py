"""What the command line takes: data sets as they are now, numbers with a reason for their limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline import corpus
from pipeline.corpus.clips import UNLABELLED
from pipeline.errors import InputError
from pipeline.listed import check_teacher_epoch
from pipeline.spelling import on_disk


class SpelledPath(click.Path):
    """A path as the disk spells it: typed with accents in one piece, it may lie there decomposed."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        return on_disk(Path(super().convert(value, param, ctx)))  # type: ignore[arg-type]


#: Files and folders.
PATH = SpelledPath(path_type=Path)


class DataSet(click.Choice[str]):
    """``auto``, a data set of ``pipeline.corpus``, or one of ``others``: what there is when it is asked, not when this was imported."""

    def __init__(self, *others: str) -> None:
        self.others = others
        super().__init__(())

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("auto", *corpus.names(), *self.others)

    @choices.setter
    def choices(self, _: object) -> None:
        """Click sets them once; they are asked for anew."""


class Whole(click.IntRange):
    """A whole number from ``least`` to ``most``; ``why`` not more."""

    def __init__(self, least: int, most: int, why: str) -> None:
        super().__init__(least, most)
        self.why = why

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        return with_reason(self, super().convert, value, param, ctx)


class TeacherEpoch(click.ParamType):
    """``last``, ``best``, or the number of an epoch."""

    name = "EPOCH"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        try:
            check_teacher_epoch(str(value))
        except InputError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Real(click.FloatRange):
    """A finite number from ``least`` to ``most``; ``why`` not more."""

    def __init__(self, least: float, most: float, why: str) -> None:
        super().__init__(least, most)
        self.why = why

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        return with_reason(self, super().convert, value, param, ctx)


def with_reason(kind: Whole | Real, convert: Callable[..., Any], value: Any, param: Any, ctx: Any) -> Any:
    """The number that ``value`` is; too large a one is refused with the reason."""
    try:
        number = convert(value, param, ctx)
    except click.BadParameter as error:
        reason = f"{error.message.rstrip('.')} (at most {kind.max:,}: {kind.why})."
        raise click.BadParameter(reason, ctx, param) from None
    if number != number:
        kind.fail(f"{value!r} is no number.", param, ctx)
    return number


class Fold(click.ParamType):
    """The number of a fold, or ``unlabelled`` for the clips without a label."""

    name = "fold"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        if value == "unlabelled":
            return UNLABELLED
        if not (value.isdecimal() and value.isascii() and len(value) <= 18):
            self.fail(f"{value!r}: expected the number of a fold, or 'unlabelled'", param, ctx)
        return int(value)


#: Of ``--fold``.
FOLD = Fold()

#: Of ``--jobs``: click's type for all commands that have it.
JOBS = Whole(-1, 4096, "each is a process of some 300 MB")

#: Folds or seeds that one call may name.
MOST_NUMBERS = 10_000


class Numbers(click.ParamType):
    """``1,2 5-7`` as (1, 2, 5, 6, 7)."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        numbers: list[int] = []
        for word in str(value).replace(",", " ").split():
            first, dash, last = word.partition("-")
            written = [first, last] if dash else [first]
            if not all(n.isdecimal() and n.isascii() for n in written):
                self.fail(f"{value!r}: expected whole numbers such as '1,2' or '1-3'", param, ctx)
            if max(map(len, written)) > 18:
                self.fail(f"{value!r}: expected numbers of at most 18 digits, as seeds have them", param, ctx)
            if dash and int(last) < int(first):
                self.fail(f"{value!r}: expected whole numbers such as '1,2' or '1-3'", param, ctx)
            if int(last or first) - int(first) + len(numbers) >= MOST_NUMBERS:
                self.fail(f"{value!r}: expected at most {MOST_NUMBERS:,} numbers: each is a run", param, ctx)
            numbers += range(int(first), int(last or first) + 1)
        if len(set(numbers)) != len(numbers):
            self.fail(f"{value!r} names a number twice", param, ctx)
        return tuple(numbers)
