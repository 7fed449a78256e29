"""Files that a test writes as a user would: found in folders of its own beside the product's."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest


@contextlib.contextmanager
def written(folder: Path, files: Mapping[str, str]) -> Iterator[None]:
    """``files``: ``losses/NAME.py``, ``models/NAME.py``, … → its text; gone again behind the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            (folder / name).write_text(text)
        for kind in {Path(name).parent.name for name in files}:
            package = importlib.import_module(f"pipeline.{kind}")
            patch.setattr(package, "__path__", [*package.__path__, str(folder / kind)])
        importlib.invalidate_caches()
        try:
            yield
        finally:
            for name in files:
                sys.modules.pop("pipeline." + name.removesuffix(".py").replace("/", "."), None)
