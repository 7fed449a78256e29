"""Where things lie: data beside the user, and what is written (cache, runs, reports, exports) in one folder, the root.

The root is the environment's ``AUDIO_RKD_ROOT``, by default the working folder; ``audio-rkd --root`` and ``rkd.toml`` set it for a command
and its processes (``pipeline.commands.surroundings``). Records name what lies in it from there, so that they say the same wherever it is.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "AUDIO_RKD_ROOT"

#: The folders of the root.
CACHE, RUNS, FINALS, REPORTS, EXPORTS = "cache", "runs", "finals", "reports", "exports"
WRITTEN = (CACHE, RUNS, FINALS, REPORTS, EXPORTS)


def root() -> Path:
    """The folder of all that is written; ``Path()`` is the working folder."""
    return Path(os.environ.get(VARIABLE, ""))


def data() -> Path:
    """Where data sets are looked for: in the working folder, whatever the root."""
    return Path("data")


def cache() -> Path:
    return root() / CACHE


def runs() -> Path:
    return root() / RUNS


def finals() -> Path:
    """Runs of all folds."""
    return root() / FINALS


def reports() -> Path:
    return root() / REPORTS


def exports() -> Path:
    return root() / EXPORTS


def recorded(path: Path | str) -> str:
    """A path as records and digests have it: of what lies in the root its place there, of all else as it was given."""
    top = root()
    if top != Path():
        for inner, outer in ((path, top), (Path.cwd() / path, Path.cwd() / top)):
            if Path(inner).is_relative_to(outer) and (place := Path(inner).relative_to(outer)).parts[:1]:
                return str(place) if place.parts[0] in WRITTEN else str(path)
    return str(path)


def located(text: str | Path) -> Path:
    """The path that ``recorded`` was given, with the root as it is now."""
    path = Path(text)
    return root() / path if path.parts and path.parts[0] in WRITTEN else path
