"""Files of a loss or a network that a test writes: found in a folder of its own beside the product's."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipeline import losses, models


@contextlib.contextmanager
def written(folder: Path, files: Mapping[str, str]) -> Iterator[None]:
    """``files``: ``losses/NAME.py`` or ``models/NAME.py`` → its text; gone again behind the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            (folder / name).write_text(text)
        for package in (losses, models):
            subfolder = folder / package.__name__.rpartition(".")[2]
            patch.setattr(package, "__path__", [*package.__path__, str(subfolder)])
        importlib.invalidate_caches()
        try:
            yield
        finally:
            for name in files:
                sys.modules.pop("pipeline." + name.removesuffix(".py").replace("/", "."), None)
