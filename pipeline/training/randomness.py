"""Random numbers of a run that depend on (purpose, seed, fold, epoch) alone, so that nothing has to be saved of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pipeline.training.task import Run


def generator(purpose: str, run: Run, epoch: int) -> torch.Generator:
    """Torch's, of ``seed_of``."""
    return torch.Generator().manual_seed(seed_of(purpose, run, epoch))


def seed_of(purpose: str, run: Run, epoch: int) -> int:
    """63 bits of (purpose, seed, fold, epoch) alone."""
    text = f"{purpose}/{run.seed}/{run.fold}/{epoch}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1
