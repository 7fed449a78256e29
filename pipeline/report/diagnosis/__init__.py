"""``doctor``: is what the project needs there and working? One finding a subject, with the remedy where it is not.

Every check really uses what it is about: torch multiplies, librosa computes a chromagram (and so numba compiles), HDF5
and libsndfile write and read back, folders are written to. Libraries are imported inside the checks, so that one that
is broken is a finding and not the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline import plugins, system, working_folder
from pipeline.report.diagnosis.finding import SETUP, Finding, examined
from pipeline.report.diagnosis.libraries import (
    extras,
    hdf5,
    librosa_and_numba,
    packages,
    python,
    require_build,
    soundfile_formats,
    torch_build,
)
from pipeline.report.diagnosis.places import (
    cached,
    corpora,
    disk,
    locking,
    trained,
    writable,
)

__all__ = ["Finding", "findings", "require_build"]


def findings(
    roots: Mapping[str, Path], data: Path, caches: Path, runs: Path, reports: Path, named: str = ""
) -> list[Finding]:
    """All findings. ``roots``: data set → the folder where it is looked for; of ``named`` it is one the user named."""
    libraries = [
        Finding("system", system.words()),
        examined("Python", python, "use Python 3.11 or newer: make setup PYTHON=python3.11"),
        examined("packages", packages, SETUP),
        examined("torch", torch_build, f"{SETUP}; make setup TORCH=cpu|cuda TORCH_INDEX=ADDRESS chooses the build"),
        examined(
            "librosa",
            librosa_and_numba,
            f"{SETUP}; a folder for numba's kernels must be writable: NUMBA_CACHE_DIR=folder",
        ),
        examined("HDF5", hdf5, SETUP),
        examined("soundfile", soundfile_formats, f"{SETUP}; without a wheel's own: apt-get install libsndfile1"),
        Finding("extras", extras()),
    ]
    places = [writable(folder) for folder in (data, caches, runs, reports)]
    return [
        *libraries,
        disk(Path()),
        *places,
        *working_folder_lines(),
        locking(caches, runs),
        *corpora(roots, named),
        *cached(caches),
        *trained(runs),
    ]


def working_folder_lines() -> list[Finding]:
    """What stands in place of options that are not given, and the user's own files that are used."""
    files = [f"{kind}/{path.name}" for folder in plugins.folders() for kind, path in plugins.plugins_of(folder)]
    return [
        *(Finding("defaults", line) for line in working_folder.lines()),
        *([Finding("plugins", ", ".join(files))] if files else []),
    ]
