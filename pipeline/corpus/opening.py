"""Which corpus a command means, and where it lies."""

from __future__ import annotations

from pathlib import Path

from pipeline import places
from pipeline.config import InputError
from pipeline.corpus import (
    Corpus,
    is_table,
    is_there,
    leaks,
    open_corpus,
    removed,
)
from pipeline.corpus import places as places_in_data
from pipeline.corpus.corpus_toml import ASKED
from pipeline.corpus.csv import csv as csv_table
from pipeline.corpus.folder import LOOKING


def chosen(dataset: str, data: Path | None) -> tuple[str, Path]:
    """The data set and its folder, or table. ``auto`` is UrbanSound8K where it is (or where ``data`` points; a table where it is
    one's file), else synthetic."""
    if dataset == "auto" and data and data.suffix.lower() in (".csv", ".tsv") and not data.is_dir():
        dataset = "csv"
    elif dataset == "auto":
        dataset = "urbansound8k" if data or (places.data() / "UrbanSound8K").is_dir() else "synthetic"
    if (columns := ASKED.get().columns) and dataset != "csv":
        raise InputError(
            f"--columns {','.join(f'{one}={name}' for one, name in columns.items())}: the data set {dataset} has no table of "
            "yours; expected --dataset csv with it"
        )
    if ASKED.get().windows and dataset not in ("folder", "csv"):
        raise InputError(
            f"--windows: {dataset} has clips of a length that is published; expected --dataset folder or csv with it"
        )
    if data is not None:
        return dataset, data
    if dataset == "csv":
        raise InputError(
            "--dataset csv needs --data TABLE, for example --data clips.csv, with the columns path and label"
        )
    here = [places.data() / name for name in places_in_data(dataset)]
    if not here:
        raise InputError(f"--dataset {dataset} needs --data FOLDER, a folder of CLASS/CLIP.wav")
    return dataset, next((folder for folder in here if folder.is_dir()), here[0])


def open_or_make(dataset: str, data: Path | None) -> tuple[Corpus, str]:
    """The corpus, and lines for the user: where it is the synthetic one (written first if need be), and where
    recordings are in several folds."""
    name, root = chosen(dataset, data)
    if name == "synthetic" and data is None:  # in place, and of this version: then this does nothing
        from pipeline.corpus.made_up import write_synthetic  # numpy: a corpus that is there needs none

        write_synthetic(root)
    if not is_there(name, root):
        raise absent(name, root)
    corpus = open_corpus(name, root)
    return corpus, in_lines(synthetic_note(dataset, name, root), leaks.warning(corpus))


def looked_at(dataset: str, data: Path | None) -> tuple[Corpus, str]:
    """The corpus, which is there, as ``opened``, and lines for the user: as ``open_or_make``, and where clips that its table lists
    are gone."""
    name, root = chosen(dataset, data)
    corpus = opened(name, root)
    gone = removed.told(root, name)
    return corpus, in_lines(*gone, synthetic_note(dataset, name, root), leaks.warning(corpus))


def in_lines(*notes: str) -> str:
    return "\n".join(filter(None, notes))


def synthetic_note(dataset: str, name: str, root: Path) -> str:
    """The line of figures that are of the synthetic corpus; "" of another."""
    if name != "synthetic":
        return ""
    absent = "" if dataset == "synthetic" else ". No data set in data/UrbanSound8K (make data, or DATA=folder)"
    return f"SYNTHETIC corpus {root}{absent}: figures of it say nothing about real sounds."


def opened(dataset: str, root: Path, problems: list[str] | None = None) -> Corpus:
    """The corpus; of one of one's own nothing is stored, so that looking changes nothing.

    With ``problems`` a table's bad rows are lines of it, and left out.
    """
    before = LOOKING.set(True)
    try:
        if dataset == "csv" and is_there(dataset, root):
            return csv_table(root, problems=problems)
        return open_corpus(dataset, root)
    finally:
        LOOKING.reset(before)


def absent(name: str, root: Path) -> InputError:
    kind, other = ("table", "folder") if is_table(name) else ("folder", "file")
    reason = f"is a {other}" if root.exists() else f"no such {kind}"
    return InputError(
        f"{root}: {reason}; expected the data set {name} there: {fetching(name)}--data {kind.upper()} (make: DATA={kind.upper()})"
    )


def fetching(name: str) -> str:
    """The command that fetches a data set, and ", or "; nothing where it is published nowhere."""
    from pipeline.corpus.fetch.sources import SOURCES  # requests: only an error needs it

    return f"make data DATASET={name}, or " if name in SOURCES else ""
