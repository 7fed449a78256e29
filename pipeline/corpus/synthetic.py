"""The built-in corpus: UrbanSound8K's layout, with a marker file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus.clips import MARKER, Corpus
from pipeline.corpus.urbansound8k import urbansound8k


def synthetic(root: Path) -> Corpus:
    """What ``pipeline.corpus.made_up.write_synthetic`` wrote."""
    if not (root / MARKER).is_file():
        raise InputError(
            f"{root} has no file {MARKER}: the built-in corpus did not write it; expected a folder of "
            "make demo's. For real clips in this layout: --dataset urbansound8k"
        )
    return dataclasses.replace(urbansound8k(root), dataset="synthetic")
