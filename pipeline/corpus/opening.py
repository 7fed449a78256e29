"""Which corpus a command means, and where it lies."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus import (
    Corpus,
    leaks,
    open_corpus,
    places,
)
from pipeline.files import DATA


def chosen(dataset: str, data: Path | None) -> tuple[str, Path]:
    """The data set and its folder. ``auto`` is UrbanSound8K where it is (or where ``data`` points), else synthetic."""
    if dataset == "auto":
        dataset = "urbansound8k" if data or (DATA / "UrbanSound8K").is_dir() else "synthetic"
    if data is not None:
        return dataset, data
    here = [DATA / name for name in places(dataset)]
    if not here:
        raise InputError(f"--dataset {dataset} needs --data FOLDER, a folder of CLASS/CLIP.wav")
    return dataset, next((folder for folder in here if folder.is_dir()), here[0])


def open_or_make(dataset: str, data: Path | None) -> tuple[Corpus, str]:
    """The corpus, and lines for the user: where it is the synthetic one (written first if need be), and where
    recordings are in several folds."""
    name, root = chosen(dataset, data)
    note = ""
    if name == "synthetic":
        if data is None:  # in place, and of this version: then this does nothing
            from pipeline.corpus.made_up import write_synthetic  # numpy: a corpus that is there needs none

            write_synthetic(root)
        advice = "" if dataset == "synthetic" else " No data set in data/UrbanSound8K (make data, or DATA=folder):"
        note = f"SYNTHETIC corpus {root}.{advice} figures of it say nothing about real sounds."
    if not root.is_dir():
        raise absent(name, root)
    corpus = open_corpus(name, root)
    return corpus, "\n".join(line for line in (note, leaks.warning(corpus)) if line)


def absent(name: str, root: Path) -> InputError:
    reason = "is a file" if root.exists() else "no such folder"
    return InputError(
        f"{root}: {reason}; expected the data set {name} there: {fetching(name)}--data FOLDER (make: DATA=FOLDER)"
    )


def fetching(name: str) -> str:
    """The command that fetches a data set, and ", or "; nothing where it is published nowhere."""
    from pipeline.corpus.fetch.sources import SOURCES  # requests: only an error needs it

    return f"make data DATASET={name}, or " if name in SOURCES else ""
