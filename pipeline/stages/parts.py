"""Parts: the features of a few clips of a fold, kept in ``fold{k}.h5.parts/`` until the fold is whole.

A part is written under another name and renamed. Each clip in it goes by a key made of everything its numbers
depend on, so a part is taken up again after a stop, and never for a clip, a setting or a library that has changed.
A zip's checksums guard its content.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from pipeline import __version__, config
from pipeline.cache import File
from pipeline.config import FeatureSpec

PACKAGES = ("librosa", "numpy", "soundfile", "soxr", "h5py")

#: Libraries whose change makes cached features another thing; the others only are recorded.
DECISIVE = ("librosa", "soxr")


@cache
def versions() -> dict[str, str]:
    """Versions of what the features go through, without importing any of it."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    with suppress(
        importlib.metadata.PackageNotFoundError
    ):  # Where it is there its Fourier transform is used.
        found["torch"] = importlib.metadata.version("torch")
    return {**found, "python": platform.python_version(), "project": __version__}


def key_context(spec: FeatureSpec, libraries: dict[str, str], plain: bool) -> str:
    """What the features of all clips depend on: settings, libraries, way of computing."""
    return repr((config.digest(spec), [libraries.get(name) for name in DECISIVE], plain))


def clip_key(clip: str, file: File, context: str, deep: bool) -> str:
    """Changes when anything that a clip's features depend on changes; ``deep``: its content, not its time."""
    state = file.sha256 if deep else file.mtime_ns
    text = repr((clip, file.path, file.size, state, file.seconds, context))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def sha256(path: Path) -> str:
    """Of a file's content; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def write_part(path: Path, keys: Sequence[str], hashes: Sequence[str], features: np.ndarray) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            np.savez(file, keys=np.array(keys), hashes=np.array(hashes), features=features)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def part_features(path: Path) -> np.ndarray:
    """Features (clip, view, feature, bin, frame) of a part."""
    with np.load(path, allow_pickle=False) as part:
        return part["features"]


def found_parts(folder: Path, *, check: bool) -> dict[str, tuple[Path, int, str]]:
    """Key → (part, row in it, hash) of all clips in a folder's parts; ``check`` deletes damaged parts."""
    found: dict[str, tuple[Path, int, str]] = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as part:
                keys, hashes = part["keys"].tolist(), part["hashes"].tolist()
                if check and len(part["features"]) != len(keys):
                    raise ValueError("not as many clips as keys")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)
            continue
        found.update({key: (path, row, sha) for row, (key, sha) in enumerate(zip(keys, hashes, strict=True))})
    return found
