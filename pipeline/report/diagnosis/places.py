"""Folders, locks, corpora, features and runs that are there."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipeline import locks
from pipeline.config import InputError
from pipeline.plurals import many
from pipeline.report.diagnosis.finding import SETUP, Finding, examined

#: Below this much room, in bytes, a training cannot be counted on to save what it made.
ROOM = 500_000_000


def disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free here"
    if free < ROOM:
        return Finding("disk", text, f"make room: expected {ROOM / 1e9:g} GB at least for caches and runs")
    return Finding("disk", text)


def writable(folder: Path) -> Finding:
    """By writing a file there; in a folder that does not exist yet, in the nearest one that does."""
    there = nearest(folder)

    def check() -> str:
        if not there.is_dir():
            raise InputError(f"{there} is a file; expected a folder")
        with tempfile.NamedTemporaryFile(dir=there, prefix=".try-"):
            pass
        return f"{folder}/ can be written" + ("" if folder.exists() else " (not there yet)")

    finding = examined(f"{folder}/", check, f"chmod u+w {there}, or work in a folder that is yours")
    if there.is_dir() or not finding.remedy:
        return finding
    return Finding(finding.subject, finding.text, f"move the file {there} out of the way")


def nearest(folder: Path) -> Path:
    """The folder itself, or of those above it the lowest that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def locking(*folders: Path) -> Finding:
    """Which of the folders are on a file system without locks: that works, with one command at a time."""
    without = {}
    for folder in folders:
        with suppress(OSError):  # A folder that cannot be opened is a finding already.
            if reason := locks.unsupported(nearest(folder)):
                without[folder] = reason
    if not without:
        return Finding("locks", "the file system has them: two commands do not get into each other's way")
    named = ", ".join(f"{folder}/ ({reason})" for folder, reason in without.items())
    return Finding(
        "locks", f"none in {named}: all works without, but start no second command on the same folders at the same time"
    )


def refetching(name: str) -> str:
    """What to do about a data set in data/ that cannot be opened."""
    from pipeline.corpus.fetch.sources import SOURCES

    if name in SOURCES:
        return f"fetch it again: make data DATASET={name}; make verify DATASET={name} says more"
    return f"move the folder out of the way; make verify DATASET={name} says more"


def corpora(roots: Mapping[str, Path], named: str = "") -> list[Finding]:
    """The data sets that are there; one that is there and cannot be opened is broken, and the one that a user ``named`` must be there."""
    from pipeline.corpus import is_table, is_there, opening

    there, absent = [], []
    for name, root in roots.items():
        if not is_there(name, root) and name == named:
            kind, other = ("table", "folder") if is_table(name) else ("folder", "file")
            problem = f"is a {other}; expected a {kind}" if root.exists() else f"no such {kind}"
            there.append(
                Finding(
                    "corpus",
                    f"{name}: {root}: {problem}",
                    f"name the {kind} of {name}: --data {kind.upper()} (make: DATA={kind.upper()})",
                )
            )
            continue
        if not is_there(name, root):
            absent.append(name)
            continue

        def check(name: str = name, root: Path = root) -> str:
            corpus = opening.opened(name, root)
            stamp = "SYNTHETIC " if corpus.synthetic else ""
            return (
                f"{stamp}{corpus.name}: {many(len(corpus.clips), 'clip')}, {many(len(corpus.classes), 'class')}, "
                f"{many(len(corpus.folds), 'fold')}, in {root}"
            )

        of_user = f"expected {name} in its own layout there; make verify DATASET={name} DATA={root} says more"
        there.append(examined("corpus", check, of_user if name == named else refetching(name)))
    if not there:
        there.append(Finding("corpus", f"none of {', '.join(absent)} yet; make demo makes a synthetic one"))
    return there


def cached(caches: Path) -> list[Finding]:
    """The features that are there, by corpus and settings; each file's own header is read."""
    folders = sorted({path.parent for path in caches.glob("*/f*/fold*.h5")})
    if not folders:
        return [Finding("cache", f"no features in {caches}/ yet; make features computes them")]
    reading = examined("cache", lambda: str(importlib.import_module("pipeline.cache")), SETUP)
    return [reading] if reading.remedy else [one for folder in folders for one in cached_folds(folder)]


def cached_folds(folder: Path) -> list[Finding]:
    """A line on the folds' files that can be read, and one for each that is damaged, in use or refused by the system."""
    from pipeline import cache

    clips, size, whole, broken = 0, 0, 0, []
    for path in sorted([*folder.glob("fold*.h5"), *folder.glob("unlabelled.h5")]):
        try:
            clips += len(cache.read_header(path).clips)
        except cache.Unavailable as error:  # its line says the remedy, and that it is not to be removed
            remedy = "close it where it is open" if isinstance(error, cache.InUse) else "make it readable"
            broken.append(Finding("cache", str(error), f"{remedy}; it is not damaged: keep it"))
        except (InputError, OSError) as error:
            broken.append(Finding("cache", str(error), "remove the file that is named, and make features again"))
        else:
            size, whole = size + path.stat().st_size, whole + path.name.startswith("fold")
    summary = Finding("cache", f"{folder}: {many(whole, 'fold')}, {many(clips, 'clip')}, {size / 1e6:.0f} MB")
    return [summary, *broken] if whole else broken


def trained(root: Path) -> list[Finding]:
    """The runs that are there, by corpus; every finished one's record is read."""
    checked = []
    for folder in sorted(path for path in root.glob("*") if path.is_dir() and not path.name.startswith(".")):

        def check(folder: Path = folder) -> str:
            from pipeline import runs
            from pipeline.report.status import counted_text

            records, open_ones = runs.find(root, folder.name), runs.unfinished(root, folder.name)
            finished = counted_text(f"{folder}: finished", records)
            return finished + (f"; {len(open_ones)} unfinished (the same command goes on)" if open_ones else "")

        checked.append(examined("runs", check, "move the folder that is named out of the way, and run again"))
    return checked or [Finding("runs", f"none in {root}/ yet; make teacher trains the first ones")]
