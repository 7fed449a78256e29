"""Checkpoints: written under another name and renamed, checked by a SHA-256 before anything of them is used.

File: one line ``audio-rkd checkpoint 1 <digest> <sha256>``, then what ``torch.save`` wrote. The digest says what the
checkpoint belongs to (settings, runs, data, torch's version); the SHA-256 is that of all bytes after the line.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from pipeline.files import write_atomic

FIRST = "audio-rkd checkpoint 1"


class Damaged(Exception):
    """The file is not a whole checkpoint."""


class Foreign(Damaged, pickle.UnpicklingError):
    """The file holds what this version does not write, code that would run, maybe; nothing of it was used."""


class Stale(Exception):
    """The file is a whole checkpoint of something else."""


def write(path: Path, payload: dict[str, Any], digest: str) -> None:
    """Write ``payload`` (tensors and plain values) so that at any moment ``path`` is absent, the old or the new one."""
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    content = buffer.getbuffer()
    head = f"{FIRST} {digest} {hashlib.sha256(content).hexdigest()}\n".encode()
    write_atomic(path, lambda file: file.writelines((head, content)))


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles, which are refused below
            payload = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # what a foreign pickle makes the loader raise
        raise Foreign(f"{path}: not what this version writes ({type(error).__name__})") from None
    if not isinstance(payload, dict):
        raise Foreign(f"{path}: holds no table of values")
    return payload
