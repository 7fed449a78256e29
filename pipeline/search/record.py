"""The record of a search: ``search.json``, what is searched, and ``trials.jsonl``, a line for each trial and rung.

Both are written whole, never in part. Every line ends with the CRC-32 of what stands before it, so that damage is seen.
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
from pipeline.files import json_bytes, write_atomic
from pipeline.search.space import Value

SEARCH, TRIALS, CHECKSUM = "search.json", "trials.jsonl", "crc32"


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


def written(measured: Sequence[Measured]) -> bytes:
    return b"".join(line_of(dataclasses.asdict(one)) for one in measured)


def line_of(values: Mapping[str, Any]) -> bytes:
    body = json_bytes(values, indent=None)
    return json_bytes({**json.loads(body), CHECKSUM: f"{zlib.crc32(body):08x}"}, indent=None)


def read(path: Path) -> list[Measured]:
    """What was measured; nothing where there is no file. ``InputError`` for a damaged one."""
    if not path.is_file():
        return []
    return [parsed(path, number, line) for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1)]


def parsed(path: Path, number: int, line: bytes) -> Measured:
    try:
        values = json.loads(line)
        values.pop(CHECKSUM)
        if line_of(values) != line + b"\n":
            raise ValueError("it is not as it was written")
        return Measured(**{**values, "failures": tuple(values["failures"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(
            f"{path}: line {number} is damaged ({error}); remove the folder {path.parent} and search again, to the same trials"
        ) from None


def begin(folder: Path, about: Mapping[str, Any]) -> None:
    """Write ``search.json``; ``InputError`` where there is one of other data or versions."""
    path = folder / SEARCH
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise Damaged(f"{path}: not JSON ({error}); remove the folder {folder} and search again") from None
        now = json.loads(json_bytes(about))
        if before != now:
            keys = before.keys() | now.keys() if isinstance(before, dict) else set()
            changed = sorted(key for key in keys if before.get(key) != now.get(key))
            raise InputError(
                f"{path}: {', '.join(changed) or 'all of it'}: not as at its beginning; trials of different data or versions are "
                f"not mixed: remove the folder {folder} and search again"
            )
    write_atomic(path, json_bytes(about))


def keep(folder: Path, measured: Sequence[Measured]) -> None:
    write_atomic(folder / TRIALS, written(measured))
