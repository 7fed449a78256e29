"""Checkpoints: written under another name and renamed, checked by a SHA-256 before anything of them is used.

File: one line ``audio-rkd checkpoint 1 <digest> <sha256>``, then what ``torch.save`` wrote. The digest says what the
checkpoint belongs to (settings, runs, data, torch's version); the SHA-256 is that of all bytes after the line.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

FIRST = "audio-rkd checkpoint 1"


class Damaged(Exception):
    """The file is not a whole checkpoint."""


class Stale(Exception):
    """The file is a whole checkpoint of something else."""


def write(path: Path, payload: dict[str, Any], digest: str) -> None:
    """Write ``payload`` (tensors and plain values) so that at any moment ``path`` is absent, the old or the new one."""
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    content = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(f"{FIRST} {digest} {hashlib.sha256(content).hexdigest()}\n".encode())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path, digest: str | None = None) -> dict[str, Any]:
    """The payload of a checkpoint, on the CPU. Raises ``Damaged``, ``Stale`` where it is not that of ``digest``, or
    ``FileNotFoundError``."""
    first, _, content = path.read_bytes().partition(b"\n")
    words = first.decode("latin-1").split()
    if " ".join(words[:3]) != FIRST or len(words) != 5:
        raise Damaged(f"{path}: not a checkpoint of this version")
    if hashlib.sha256(content).hexdigest() != words[4]:
        raise Damaged(f"{path}: {len(content)} bytes whose SHA-256 is not the one written with them")
    if digest is not None and words[3] != digest:
        raise Stale(f"{path}: of other settings, runs, data or another torch ({words[3]}, not {digest})")
    payload: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return payload
