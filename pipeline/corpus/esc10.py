"""ESC-10: the part of ESC-50 that its table marks; 10 classes, 400 clips."""

from __future__ import annotations

from pathlib import Path

from pipeline.corpus.clips import Corpus
from pipeline.corpus.esc50 import PLACES, part

__all__ = ["PLACES", "esc10"]


def esc10(root: Path) -> Corpus:
    return part(root, "esc10")
