"""The versions and the machine that a run's numbers may depend on."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "librosa",
    "numba",
    "soundfile",
    "av",
    "soxr",
    "h5py",
    "torch",
    "joblib",
)


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """What the numbers may depend on besides the settings; nothing that names the machine or its folders."""
    return {**_environment(), "time": utc_now()}


@functools.cache
def _environment() -> dict[str, Any]:
    commit = _commit()
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": commit[0] if commit else None,
        "changed": commit[1] if commit else None,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> tuple[str, bool] | None:
    """The commit of this project's working tree, and whether tracked files differ from it; None without git."""
    home = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(home), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # Installed below some other repository (for example a virtual environment in one), that one's commit says nothing.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != home:
            return None
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
