"""Files of features that were changed behind their back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import h5py

from pipeline.cache import checking


def flip(path: Path, *rows: int) -> None:
    """One bit of each of these clips' features, behind HDF5's back; the time of writing stays."""
    with h5py.File(path) as file:
        start, size = file["features"].id.get_offset(), file["features"][0].nbytes
    before = path.stat()
    with path.open("r+b") as file:
        for row in rows:
            file.seek(start + row * size + size // 2)
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 4]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def made_old(path: Path) -> None:
    """As before there were digests by clip."""
    with h5py.File(path, "a") as file:
        del file["features_sha256"], file.attrs["header_digest"]


def wait_a_tick() -> None:
    """What comes of a check is kept only of a file that was touched longer ago: a quick machine is there before."""
    time.sleep(checking.JUST_NOW / 1e9 * 1.2)
