"""Which clips there are, with their labels, folds, recordings and lengths. Nothing is decoded here.

A data set is one file of this folder with a function of the file's name, ``folder -> Corpus``. The folder is the list:
to add one, add a file (docs/extending.md shows it in ten lines), and every command has it as ``--dataset NAME``. The constant
``PLACES`` of a module is optional: the folders in ``data/`` where it is looked for; its own name if absent. So is ``IS_TABLE``: the
place that the function is given is a file.

Part of a data set is a corpus too: a fold that is absent as a whole is left out, and rows may be removed from the
CSV. A listed file that is missing beside others of its fold is an error, since it was lost and not left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from pipeline import modules, plugins
from pipeline.config import InputError
from pipeline.corpus.clips import (
    MARKER,
    UNLABELLED,
    Clip,
    Corpus,
    checked,
    part_name,
    part_names,
)
from pipeline.corpus.urbansound8k import URBANSOUND8K

__all__ = [
    "MARKER",
    "UNLABELLED",
    "URBANSOUND8K",
    "Clip",
    "Corpus",
    "checked",
    "is_table",
    "is_there",
    "names",
    "open_corpus",
    "part_name",
    "part_names",
    "places",
]


def names() -> tuple[str, ...]:
    """The names of all data sets: the modules of this folder that define a function of their own name."""
    return modules.named(__name__)


def open_corpus(dataset: str, root: Path) -> Corpus:
    """The corpus of kind ``dataset`` (one of ``names()``) in the folder ``root``.

    Raises ``InputError``, one line, for a folder, table, column, row or listed file that is missing or wrong.
    """
    root = Path(root)
    _require(dataset)
    if not is_there(dataset, root):
        raise InputError(
            f"no {'table' if is_table(dataset) else 'folder'} {root}; expected the data set {dataset} there. "
            "Fetch it (make data) or name its folder (--data FOLDER, make: DATA=FOLDER)"
        )
    reader: Callable[[Path], Corpus] = getattr(_module(dataset), dataset)
    corpus = reader(root)
    if not isinstance(corpus, Corpus):
        raise InputError(
            f"the data set {dataset} gives {corpus!r:.80} for {root}; expected a Corpus (docs/extending.md)"
        )
    # One of a user's own may hand on what a reader of ours says; features and runs are to name the file that was asked.
    return replace(corpus, dataset=dataset) if plugins.has("corpus", dataset) else corpus


def is_table(dataset: str) -> bool:
    """Whether the place of a data set is a file, the table of its clips, and not a folder."""
    _require(dataset)
    return getattr(_module(dataset), "IS_TABLE", False)


def is_there(dataset: str, root: Path) -> bool:
    """Whether ``root`` is such a place as a data set has: a folder, or the file of its table."""
    return root.exists() and not root.is_dir() if is_table(dataset) else root.is_dir()


def places(dataset: str) -> tuple[str, ...]:
    """The folders in ``data/`` where a data set is looked for."""
    _require(dataset)
    return tuple(getattr(_module(dataset), "PLACES", (dataset,)))


def _require(dataset: str) -> None:
    if dataset not in names():
        raise InputError(f"unknown data set {dataset!r}; expected one of {', '.join(names())}")


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


plugins.extend("corpus", __path__)
