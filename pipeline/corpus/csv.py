"""A corpus of one table: a row per clip, wherever the clips lie; nothing is copied into folders."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus import corpus_toml, pool, storing, table_files, windows
from pipeline.corpus.clips import Clip, Corpus, checked, slug
from pipeline.corpus.folder import LOOKING, assigned_folds, assigned_sources, store_and_tell
from pipeline.corpus.tables import Row, table
from pipeline.files import active
from pipeline.label_sets import BETWEEN
from pipeline.label_sets import require as require_several_taken
from pipeline.plurals import many, plural
from pipeline.spelling import on_disk, same

#: Nowhere by itself: it is where the user says.
PLACES = ()

#: Its place is a file.
IS_TABLE = True


@dataclass(frozen=True, slots=True)  # there is one per clip
class Entry:
    """A row of the table."""

    name: str
    """The path as the table's folder sees it, without detours: what the clip is called."""
    path: Path
    label: str
    """"" of a clip without one; of several those of ``labels`` with what stands between them."""
    labels: tuple[str, ...]
    """Its classes, sorted."""
    fold: int | None
    """None where the table does not say."""
    recording: str
    """"" where the table does not say."""
    where: str

    @property
    def key(self) -> str:
        """As a ``folder`` corpus would call the clip: the rule for recordings goes by class and name."""
        return f"{self.label.replace('/', '-') or pool.FOLDER}/{self.name}"


def csv(place: Path, *, store: bool = True, problems: list[str] | None = None) -> Corpus:
    """The corpus of a table with the columns ``path``, ``label``, maybe ``fold`` (a whole number from 1) and ``recording``.

    Paths are relative to the table, or absolute. What the columns are called otherwise says ``--columns``, or ``columns`` in a
    ``corpus.toml`` beside the table. Clips whose fold it does not say are put into folds once, whole recordings together, as
    ``folder`` does, and that is stored beside the table (``folds_file``; not without ``store``). The label "unlabelled": a clip
    without one, which is in no fold. Raises ``InputError`` with the line of the first bad row; with ``problems`` all of them
    become lines of it, and are left out.
    """
    entries = read(place, problems)
    labelled = [entry for entry in entries if entry.label]
    classes = tuple(sorted({label for entry in labelled for label in entry.labels}))
    several = any(len(entry.labels) > 1 for entry in labelled)
    if several:
        require_several_taken(place)
    names = sorted({entry.labels for entry in labelled})  # by label, those of a single class too
    if len(classes) < 2:
        refused = f"; {many(len(problems), 'row is', 'rows are')} refused, the first: {problems[0]}" if problems else ""
        raise InputError(
            f"{place} has clips of {many(len(classes), 'class')}; expected two at least in its column label{refused}"
        )
    keys = {entry.key: entry for entry in labelled}
    folds, sources = placed(place, keys, store=store)
    numbers = {labels: number for number, labels in enumerate(names)}
    label_sets = tuple(tuple(map(classes.index, labels)) for labels in names) if several else ()
    clips = [
        Clip(entry.name, entry.path, folds[key], numbers[entry.labels], sources[key], None)
        for key, entry in keys.items()
    ]
    about = corpus_toml.read(place.parent / "corpus.toml", "columns")
    corpus = checked(
        place.parent, "csv", classes, tuple(sorted(set(folds.values()))), about.seconds, clips, place, label_sets
    )
    unlabelled = without_label(entries, keys, sources)
    return windows.cut(replace(corpus, name=slug(place.stem) or "csv", unlabelled=unlabelled), about)


def opened(place: Path) -> table_files.TableFile:
    """The table with its columns, by what the command line, or ``corpus.toml``, calls them."""
    stated = corpus_toml.read(place.parent / "corpus.toml", "columns").columns
    columns = {column: stated.get(column, column) for column in corpus_toml.COLUMNS}
    if "label" not in stated and not table_files.has(place, "label") and table_files.has(place, "labels"):
        columns["label"] = "labels"
    called = list(columns.values())
    if twice := [name for name in called if called.count(name) > 1]:
        purposes = " and ".join(column for column, name in columns.items() if name == twice[0])
        raise InputError(
            f"{place}: the column {twice[0]!r} for {purposes}; expected one of its own for each (--columns, or columns in corpus.toml)"
        )
    return table_files.opened(place, columns, tuple(dict.fromkeys(("path", "label", *stated))))


def lost(place: Path) -> list[tuple[int, int]]:
    """The lines (first, the one behind the last) of each row whose file is not there."""
    listing = opened(place)
    return [
        (row.start, row.end)
        for row in listing.rows([])
        if row["path"] and not os.path.isfile(located(place.parent, row["path"]))  # noqa: PTH113
    ]


def read(place: Path, problems: list[str] | None) -> list[Entry]:
    """The rows of the table, those that are right; see ``csv``."""
    listing = opened(place)
    entries: dict[str, Entry] = {}
    bad: list[str] = []
    for row in listing.rows(bad):
        try:
            entry = entry_of(row, place.parent)
            if other := entries.get(entry.name):
                raise row.error("path", f"each clip once, and {other.where} has it already, as {other.label!r}")
        except InputError as error:
            bad.append(str(error))
            continue
        entries[entry.name] = entry
    if bad and problems is None:
        more = (
            f" (and {many(len(bad) - 1, 'more row')}: audio-rkd verify names {plural(len(bad) - 1, 'it', 'them')})"
            if len(bad) > 1
            else ""
        )
        raise InputError(f"{bad[0]}{more}")
    if problems is not None:
        problems += bad
    return list(entries.values())


def entry_of(row: Row, root: Path) -> Entry:
    """``InputError``, with the line, for a value that is not as expected."""
    for column in ("path", "label"):
        if not row[column]:
            expected = "a file" if column == "path" else f"a class, or {pool.FOLDER!r} for a clip without one"
            raise row.error(column, expected)
    if any(unicodedata.category(letter) == "Cc" for letter in row["path"]):
        raise row.error("path", "text in one line, without control characters")
    path, labels, recording = located(root, row["path"]), labels_of(row), in_one_line(row.get("recording", ""))
    if not os.path.isfile(path):  # noqa: PTH113 (Path.is_file raises of a name that is too long)
        there = "is no regular file" if os.path.lexists(path) else "is not there"
        raise row.error("path", f"a file, and {path} {there}; or remove the row (audio-rkd verify --fix)")
    name = same(Path(os.path.relpath(path, root)).as_posix())
    if labels != (pool.FOLDER,):
        fold = row.whole("fold", 1) if row.get("fold") else None
        return Entry(name, path, BETWEEN.join(labels), labels, fold, recording, row.where)
    if row.get("fold", "") not in ("", "0"):
        raise row.error("fold", "none: a clip without a label is in no fold")
    return Entry(name, path, "", (), None, recording, row.where)


def labels_of(row: Row) -> tuple[str, ...]:
    """The classes of a row, sorted; ``pool.FOLDER`` alone of a clip without any. ``InputError`` for none, or one twice."""
    labels = [in_one_line(label) for label in row["label"].split(BETWEEN)]
    if not all(labels):
        raise row.error("label", f"a class on each side of each {BETWEEN!r}")
    if double := sorted({label for label in labels if labels.count(label) > 1}):
        raise row.error("label", f"each class once, and {double[0]!r} is there {labels.count(double[0])} times")
    for label in labels:
        pool.require_spelling(label, row.where)
    if pool.FOLDER in labels and len(labels) > 1:
        raise row.error("label", f"classes, or {pool.FOLDER!r} alone")
    return tuple(sorted(labels))


def in_one_line(cell: str) -> str:
    """A cell that a spreadsheet broke into lines."""
    return "".join(letter for letter in " ".join(cell.split()) if unicodedata.category(letter) != "Cc")


def located(root: Path, text: str) -> Path:
    """The file of a cell, as the disk spells it; written on Windows, it may have other signs between its folders."""
    path = on_disk(root / text)
    other = on_disk(root / text.replace("\\", "/"))
    return other if "\\" in text and os.path.isfile(other) and not os.path.isfile(path) else path  # noqa: PTH113


def folds_file(place: Path) -> Path:
    """Where the folds are stored that a table does not say."""
    return place.with_name(f"{place.stem}.folds.csv")


def placed(place: Path, keys: dict[str, Entry], *, store: bool) -> tuple[dict[str, int], dict[str, str]]:
    """Fold and recording of each clip (by ``Entry.key``): as the table says, else as stored, else assigned, and then stored."""
    path = folds_file(place)
    by_name = {entry.name: key for key, entry in keys.items()}
    known: dict[str, int] = {}
    stated: dict[str, str] = {}
    for row in [] if not path.exists() else table(path, "file", "fold", unique="file"):
        if key := by_name.get(same(row["file"])) or by_name.get(same(active(row["file"]))):
            known[key], stated[key] = row.whole("fold", 1), active(row.get("source") or "")
    known |= {key: entry.fold for key, entry in keys.items() if entry.fold is not None}
    stated |= {key: entry.recording for key, entry in keys.items() if entry.recording}
    groups = assigned_sources(place.parent, {key: entry.path for key, entry in keys.items()}, known, stated)
    folds = assigned_folds({key: entry.label for key, entry in keys.items()}, groups, known)
    sources = {key: entry.recording or groups[key] for key, entry in keys.items()}
    if store and not LOOKING.get() and (new := [key for key in folds if key not in known]):
        added = {keys[key].name: (folds[key], sources[key]) for key in new}
        rule = "by the column recording" if stated else "by their names"
        storing.store(partial(store_and_tell, path, added, folds, sources, rule=rule))
    return folds, sources


def without_label(entries: Iterable[Entry], keys: dict[str, Entry], sources: dict[str, str]) -> tuple[Clip, ...]:
    """The clips without a label, by name; recordings as in ``pool``."""
    pooled = {entry.key: entry for entry in entries if not entry.label}
    labelled = [Clip(key, entry.path, 1, 0, sources[key], None) for key, entry in keys.items()]
    told = pool.pool_sources(list(pooled), labelled) if pooled else {}
    return tuple(
        Clip(entry.name, entry.path, pool.UNLABELLED, pool.UNLABELLED, entry.recording or told[key], None)
        for key, entry in sorted(pooled.items(), key=lambda item: item[1].name)
    )
