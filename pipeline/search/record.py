"""The record of a search: ``search.json``, what is searched, and ``trials.jsonl``, a line for each trial and rung.

Both are written whole, never in part. ``search.json`` has the SHA-256 of what it says. Every line of trials says by its first digits of
which search it is, and how many lines there are, and ends with the CRC-32 of what stands before it. Those of earlier versions say less,
and are read as far as that goes.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import InputError
from pipeline.errors import Damaged
from pipeline.files import as_signed, content_digest, json_bytes, signed, write_atomic
from pipeline.search.space import Value

SEARCH, TRIALS, CHECKSUM = "search.json", "trials.jsonl", "crc32"

#: Of a line: the first digits of the digest of its search.
OF, DIGITS = "search", 12

#: Of a line: how many there were when it was written.
COUNT = "lines"

#: Of ``search.json``: the SHA-256 of what it says; and what is maximised, where that is no accuracy: clips have several labels.
CONTENT, OBJECTIVE = "content", "objective"


@dataclass(frozen=True)
class Measured:
    """One trial at one rung."""

    trial: int
    rung: int
    epochs: int
    """It is trained up to."""
    whole: bool
    """Whether that is its last epoch."""
    values: Mapping[str, Value]
    mix: str
    accuracy: float | None = None
    """Mean over the inner folds of the means over seeds, in [0, 1]; None of a trial that is refused."""
    folds: Mapping[str, float] = field(default_factory=dict)
    """Inner fold → mean over its seeds."""
    failures: tuple[str, ...] = ()
    """Trainings whose loss was not finite: they count as 0."""
    refused: str = ""
    """Why its values do not go together: nothing was trained."""
    goes_on: bool = False
    map: float | None = None
    """Of clips with several labels, in place of ``accuracy``: the mean average precision."""

    @property
    def score(self) -> float | None:
        """By which trials are told apart."""
        return self.accuracy if self.map is None else self.map


def written(measured: Sequence[Measured], search: str = "", several: bool = False) -> bytes:
    """Lines. ``search``: the digest of the search that they are of; ``several``: whether it is of clips with several labels."""
    of = {OF: search, COUNT: len(measured)} if search else {}
    return b"".join(line_of({**values_of(one, several), **of}) for one in measured)


def values_of(one: Measured, several: bool = False) -> dict[str, Any]:
    """What a line says: of clips with ``several`` labels ``map``, of others ``accuracy``; null of a trial that is refused."""
    left_out = "accuracy" if several or one.map is not None else "map"
    return {name: value for name, value in dataclasses.asdict(one).items() if name != left_out}


def line_of(values: Mapping[str, Any]) -> bytes:
    body = json_bytes(values, indent=None)
    return json_bytes({**json.loads(body), CHECKSUM: f"{zlib.crc32(body):08x}"}, indent=None)


def read(path: Path) -> list[Measured]:
    """What was measured; nothing where there is no file. ``InputError`` for a damaged one, and one of another search than its folder's."""
    if not path.is_file():
        return []
    *lines, cut_off = path.read_bytes().split(b"\n")
    if not lines and not cut_off:
        raise Damaged(
            f"{path}: damaged (no line in it); remove the folder {path.parent} and search again, to the same trials"
        )
    search, measured = digest_of(path.with_name(SEARCH)), dict[tuple[int, int], Measured]()
    for number, line in enumerate([*lines, *([cut_off] if cut_off else [])], 1):
        one = parsed(path, number, line, search)
        if (one.trial, one.rung) in measured:
            raise damaged(path, number, f"trial {one.trial} at rung {one.rung} is there twice")
        measured[one.trial, one.rung] = one
    return list(measured.values())


def lost(path: Path) -> int:
    """How many whole lines are gone from a record that can be read; 0 of one of before lines said how many there are."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return max(0, max((json.loads(line).get(COUNT, 0) for line in lines), default=0) - len(lines))


def lost_words(count: int) -> str:
    return "a line of it is lost" if count == 1 else f"{count} lines of it are lost"


def damaged(path: Path, number: int, reason: object) -> Damaged:
    return Damaged(
        f"{path}: line {number} is damaged ({reason}); remove the folder {path.parent} and search again, to the same trials"
    )


def digest_of(path: Path) -> str:
    """Of what ``search.json`` says; "" where there is none."""
    return content_digest(read_about(path), CONTENT)[:DIGITS] if path.is_file() else ""


def parsed(path: Path, number: int, line: bytes, search: str) -> Measured:
    try:
        values = json.loads(line)
        values.pop(CHECKSUM)
        if line_of(values) != line + b"\n":
            raise ValueError("it is not as it was written")
        if (theirs := values.pop(OF, search)) != search and search:
            raise ValueError(f"it is of another search, {theirs}, than {SEARCH} beside it, {search}")
        if type(count := values.pop(COUNT, 0)) is not int:
            raise ValueError(f"{COUNT} = {count!r}: expected a whole number")
        return Measured(**{**values, "failures": tuple(values["failures"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, number, error) from None


def begin(folder: Path, about: Mapping[str, Any]) -> None:
    """Write ``search.json`` where there is none; ``InputError`` where there is one of other data or versions, or trials and none."""
    path = folder / SEARCH
    require_there(path)
    if path.is_file():
        before = read_about(path)
        now = json.loads(json_bytes(about))
        if before != now:
            changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
            raise InputError(
                f"{path}: {', '.join(changed) or 'all of it'}: not as at its beginning; trials of different data or versions are "
                f"not mixed: remove the folder {folder} and search again"
            )
        return
    write_atomic(path, json_bytes(signed(json.loads(json_bytes(about)), CONTENT)))


def require_there(path: Path) -> None:
    """``InputError`` where ``search.json`` is gone and trials are there: of which data they are says it alone."""
    if path.with_name(TRIALS).is_file() and not path.is_file():
        raise Damaged(
            f"{path}: no such file, and {TRIALS} is there (it was lost): of which data these trials are is not known; remove the folder "
            f"{path.parent} and search again, to the same trials"
        )


def read_about(path: Path) -> dict[str, Any]:
    """What ``search.json`` says; ``InputError`` where it is damaged."""
    try:
        values = as_signed(json.loads(path.read_text(encoding="utf-8")), CONTENT)
        return {key: value for key, value in values.items() if key != CONTENT}
    except (ValueError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path}: damaged ({error}); remove the folder {path.parent} and search again") from None


def keep(folder: Path, measured: Sequence[Measured]) -> None:
    """Write the lines, for the search whose ``search.json`` lies in ``folder``; without one they say of no search."""
    several = (folder / SEARCH).is_file() and OBJECTIVE in read_about(folder / SEARCH)
    write_atomic(folder / TRIALS, written(measured, digest_of(folder / SEARCH), several))
