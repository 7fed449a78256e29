"""What says that the files of a run are whole and belong together: its identity, and their digests in ``result.json``.

Every file of a run carries the run's ``identity``. ``result.json``, which is written last, names the SHA-256 of the others
(``files``), a checksum for each line of ``metrics.jsonl`` (``lines``: an epoch may be lost, and the others still be read), and
the SHA-256 of what it says itself (``content``). The folder's name counts for nothing, so a copied or renamed folder serves.
Runs of before there were identities are read as they are; ``told`` has the line that says so.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files

RESULT, METRICS = "result.json", "metrics.jsonl"

IDENTITY, FILES, LINES, CONTENT = "identity", "files", "lines", "content"

#: Runs without an identity that were read since the last ``told``.
unchecked: dict[Path, None] = {}


def sealed(result: Mapping[str, Any], folder: Path, identity: str) -> dict[str, Any]:
    """``result`` with the digests of all that is in ``folder``. ``identity``: of the run; without one nothing is added."""
    if not identity:
        return dict(result)
    metrics = folder / METRICS
    lines = metrics.read_bytes().split(b"\n")[:-1] if metrics.is_file() else []
    whole = {
        **{key: value for key, value in result.items() if key != CONTENT},
        IDENTITY: identity,
        FILES: {str(path.relative_to(folder)): files.sha256(path) for path in covered(folder)},
        LINES: " ".join(map(line_checksum, lines)),
    }
    return {**whole, CONTENT: content_of(whole)}


def covered(folder: Path) -> list[Path]:
    """The files of a run that ``result.json`` names: all that training writes, further weights too."""
    names = [folder / name for name in ("config.json", "environment.json", "predictions.npz")]
    return sorted({*(path for path in names if path.is_file()), *folder.rglob("*.pt")})


def content_of(result: Mapping[str, Any]) -> str:
    """SHA-256 of what ``result.json`` says, spaces and order apart."""
    return files.content_digest(result, CONTENT)


def line_checksum(line: bytes) -> str:
    """CRC-32 of a line of ``metrics.jsonl``, without its end."""
    return f"{zlib.crc32(line):08x}"


def seal_of(folder: Path) -> dict[str, Any]:
    """What ``result.json`` says; empty of a run that is not finished, or was finished before there were identities.

    ``ValueError`` where it is damaged: who reads the result itself says so.
    """
    try:
        result = json.loads((folder / RESULT).read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(result, dict):
        raise ValueError(f"expected an object, not {type(result).__name__}")
    if result.keys().isdisjoint((IDENTITY, FILES, LINES, CONTENT)):
        return {}
    if result.get(CONTENT) != content_of(result):
        raise ValueError("it does not say what was written: its digest is another")
    return result


def difference(path: Path, folder: Path, sha256: str, identity: str | None) -> str:
    """In what a file of a run is not the one that its ``result.json`` names, in words; "" where it is, or nothing is known.

    ``identity``: the one that the file itself carries; None where it cannot be told.
    """
    seal = seal_of(folder)
    if not seal:
        return ""
    if identity is not None and identity != seal[IDENTITY]:
        return f"of another run ({named(identity)}) than its result.json ({seal[IDENTITY]})"
    expected = seal[FILES].get(str(path.relative_to(folder)))
    if expected != sha256:
        return f"not the {path.name} that result.json names (SHA-256 {sha256[:12]}, expected {str(expected)[:12]})"
    return ""


def named(identity: str) -> str:
    return identity or "made before identities"


def told() -> str:
    """A line on the runs that were read and could not be checked, once; "" where there were none."""
    if not unchecked:
        return ""
    first, count = next(iter(unchecked)), len(unchecked)
    unchecked.clear()
    runs = f"{count} runs, {first} the first of them, were" if count > 1 else f"{first} was"
    return f"note: {runs} made before identities; not checked (docs/reliability.md)"
