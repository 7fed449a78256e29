"""The archive of an image corpus: which part of it trains and what tests, and the corpus' name for that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import InputError
from pipeline.images import cifar


@dataclass(frozen=True)
class Archive:
    """The archive of an image corpus, in place of the features' files: which part of it trains, and what tests."""

    path: Path
    checksum: str | None
    """MD5 expected; None: not looked at (stand-ins)."""
    split_seed: int = 0
    validation: int | None = None
    """Training images that are kept aside; None: a tenth."""


def name(archive: Archive) -> str:
    """Of the corpus in paths: another split, or another archive, is another corpus."""
    parts = ["cifar100", "" if archive.checksum else "stand-in"]
    parts.append(f"split{archive.split_seed}" if archive.split_seed else "")
    parts.append("" if archive.validation is None else f"without{archive.validation}")
    return "-".join(filter(None, parts))


def archive_of(corpus: str, path: Path) -> Archive:
    """The archive at ``path`` as the corpus of that ``name`` takes it apart."""
    named = re.fullmatch(r"cifar100(-stand-in)?(?:-split(\d+))?(?:-without(\d+))?", corpus)
    if not named:
        raise InputError(f"no image corpus {corpus!r}; expected a name such as cifar100 or cifar100-split1")
    stand_in, seed, kept = named.groups()
    return Archive(path, None if stand_in else cifar.MD5, int(seed or 0), None if kept is None else int(kept))
