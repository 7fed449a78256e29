"""Parts: the features of a few clips of a fold, kept in ``fold{k}.h5.parts/`` until the fold is whole.

A part is written under another name and renamed. Each clip in it goes by a key made of everything its numbers
depend on, so a part is taken up again after a stop, and never for a clip, a setting or a library that has changed.
A zip's checksums guard its content.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import os
import platform
import warnings
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline import __version__, config
from pipeline.cache import File
from pipeline.config import FeatureSpec, InputError
from pipeline.files import naming

PACKAGES = ("librosa", "numpy", "soundfile", "soxr", "h5py")

#: Libraries whose change makes cached features another thing; the others only are recorded.
DECISIVE = ("librosa", "soxr")

#: What the system says where a file's content makes no sense (a place before its beginning); all else may pass.
SENSELESS = (None, errno.EINVAL)


class Row(NamedTuple):
    """Where a clip's features are: a part, the row in it, the SHA-256 of the clip's file."""

    part: Path
    row: int
    sha256: str


@cache
def versions() -> dict[str, str]:
    """Versions of what the features go through, without importing any of it."""
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    for name in (
        "torch",
        "av",
    ):  # Where they are there: torch's Fourier transform is used, and what only av decodes is read.
        with suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return {**installed, "python": platform.python_version(), "project": __version__}


def key_context(spec: FeatureSpec, libraries: dict[str, str], plain: bool) -> str:
    """What the features of all clips depend on: settings, libraries, way of computing."""
    return repr((config.digest(spec), [libraries.get(name) for name in DECISIVE], plain))


def clip_key(clip: str, file: File, context: str, deep: bool) -> str:
    """Changes when anything that a clip's features depend on changes; ``deep``: its content, not its time."""
    state = file.sha256 if deep else file.mtime_ns
    text = repr((clip, file.path, file.size, state, file.seconds, context))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def write_part(path: Path, keys: Sequence[str], hashes: Sequence[str], features: np.ndarray) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), unfinished.open("wb") as file:
            np.savez(file, keys=np.array(keys), hashes=np.array(hashes), features=features)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def part_features(path: Path) -> np.ndarray:
    """Features (clip, view, feature, bin, frame) of a part. ``InputError`` where it was damaged since it was found."""
    try:
        with np.load(path, allow_pickle=False) as part:
            return part["features"]
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"{path}: damaged ({error}); the same command again computes its clips again") from None


def found_parts(folder: Path, *, check: bool) -> tuple[dict[str, Row], list[Path]]:
    """Key → row of all clips in a folder's parts, and the parts that are damaged; nothing is changed.

    ``check`` reads every byte of a part. A part that the system does not give at the moment is left out of both.
    """
    rows: dict[str, Row] = {}
    damaged: list[Path] = []
    for path in sorted(folder.glob("*.npz")):
        try:
            rows |= part_rows(path, check=check)
        except OSError as error:
            if error.errno in SENSELESS:
                damaged.append(path)
        except Exception:  # A flipped bit in a header may raise anything.
            damaged.append(path)
    return rows, damaged


def part_rows(path: Path, *, check: bool) -> dict[str, Row]:
    if check:
        with zipfile.ZipFile(path) as content:
            if content.testzip() or "features.npy" not in content.namelist():
                raise ValueError("a checksum does not fit, or there are no features")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of odd headers, which are damaged ones.
        with np.load(path, allow_pickle=False) as part:
            keys, hashes = part["keys"].tolist(), part["hashes"].tolist()
    return {key: Row(path, row, sha) for row, (key, sha) in enumerate(zip(keys, hashes, strict=True))}
