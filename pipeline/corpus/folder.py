"""A corpus of one's own, ``CLASS/CLIP.wav``, and the folds it is given once and for all."""

from __future__ import annotations

import contextlib
import csv
import os
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus import corpus_toml, files, leaks, pool, removed, storing, windows
from pipeline.corpus.clips import Clip, Corpus, checked
from pipeline.corpus.naming import beginnings, class_of, recordings
from pipeline.corpus.tables import table
from pipeline.files import active, inert
from pipeline.plurals import many, plural
from pipeline.spelling import on_disk

#: Nowhere by itself: it is where the user says.
PLACES = ()

#: Whether corpora are only looked at: what is assigned is then not stored, also by readers of a user's own that call this one.
LOOKING: ContextVar[bool] = ContextVar("looking", default=False)


def folder(root: Path, *, store: bool = True) -> Corpus:
    """A corpus of your own: ``CLASS/CLIP.wav``, also in folders below a class'; classes in alphabetical order.

    ``folds.csv`` (columns ``file``, as "CLASS/CLIP.wav", ``fold``, a whole number from 1, and maybe ``source``, the
    recording) gives the folds. Files that it does not list are put into folds by ``assigned_folds`` and added to it
    (not without ``store``, nor while ``LOOKING``), so that a clip never changes its fold: clips of one recording, by their names
    (``naming.recordings``), and files of the same bytes together. ``corpus.toml`` may give the clip length:
    ``seconds = 4.0``, and that long files are several clips (``windows``). A listed clip that is not there is left out, which a line says (``removed``). A folder ``unlabelled`` beside the classes holds clips without a label, which are in no fold (``pool``).
    """
    store = store and not LOOKING.get()
    paths, without = class_files(root), pool_files(root)
    path = root / "folds.csv"
    known: dict[str, int] = {}
    stated: dict[str, str] = {}
    for row in [] if not path.exists() else table(path, "file", "fold", unique="file"):
        name = unicodedata.normalize("NFC", row["file"] if row["file"] in paths else active(row["file"]))
        if name in stated:
            raise row.error("file", "each clip once: remove one of the rows")
        stated[name] = active(row.get("source") or "")
        if class_of(name) != pool.FOLDER:
            known[name] = row.whole("fold", 1)
        elif row["fold"] != "0":
            raise row.error("fold", "0: what lies in the folder unlabelled is in no fold")
    for name, place in listed_media(root, stated).items():
        (without if class_of(name) == pool.FOLDER else paths).setdefault(name, place)
    if lost := [name for name in stated if name not in paths and name not in without]:
        removed.require_not_renamed(path, lost, (*paths, *without), stated)
        known = {name: fold for name, fold in known.items() if name in paths}
        if store:
            print(removed.note(path, lost, len(stated)), file=sys.stderr, flush=True)
    sources = assigned_sources(root, paths, known, stated)
    folds = assigned_folds({name: class_of(name) for name in paths}, sources, known)
    if store and (new := {name: (fold, sources[name]) for name, fold in folds.items() if name not in known}):
        storing.store(partial(store_and_tell, path, new, folds, sources))
    classes = tuple(sorted({class_of(name) for name in paths}))
    clips = [
        Clip(name, paths[name], fold, classes.index(class_of(name)), sources[name], None)
        for name, fold in folds.items()
    ]
    all_folds = tuple(sorted({clip.fold for clip in clips}))
    about = corpus_toml.read(root / "corpus.toml")
    corpus = checked(root, "folder", classes, all_folds, about.seconds, clips, path)
    return windows.cut(replace(corpus, unlabelled=pool.pool_clips(without, corpus.clips, stated)), about)


def class_files(root: Path) -> dict[str, Path]:
    """Name ("CLASS/CLIP.wav", "CLASS/SUB/CLIP.wav"; accents composed, as most systems have them) → path of every sound.

    The classes are the folders of ``root``, but for those that begin with "." or "_", and ``unlabelled``; which files:
    ``files.sounds``.
    ``InputError`` for fewer than two classes, one without sounds, and for names that ``folds.csv`` cannot hold.
    """
    paths: dict[str, Path] = {}
    for place in sorted(root.iterdir()):
        if place.name[0] != "_" and not files.hidden(place.name) and place.is_dir() and not pool.is_pool(place):
            add_files(root, place, paths)
    if len(classes := {class_of(name) for name in paths}) < 2:
        raise InputError(
            f"{root} has {many(len(classes), 'folder')} with sound files ({files.formats()}); expected "
            "at least two, one per class: CLASS/CLIP.wav"
        )
    return paths


def pool_files(root: Path) -> dict[str, Path]:
    """The same of the folder ``unlabelled``; nothing where there is none."""
    paths: dict[str, Path] = {}
    if (place := root / pool.FOLDER).is_dir():
        add_files(root, place, paths)
    return paths


def listed_media(root: Path, names: Iterable[str]) -> dict[str, Path]:
    """Name → path of listed files that the extra ``media`` reads: clips also where it is not installed, which reading them says."""
    places = {name: on_disk(root / name) for name in names if files.is_media(name)}
    return {name: place for name, place in places.items() if place.is_file()}


def add_files(root: Path, place: Path, paths: dict[str, Path]) -> None:
    """Add the name and path of every sound below a folder of ``root``."""
    sounds = files.sounds(place)
    for path in sounds or [place]:
        name = path.relative_to(root).as_posix()
        if any(part != part.strip() for part in (*path.relative_to(root).parts, path.stem)) or any(
            unicodedata.category(letter) in ("Cc", "Cs") for letter in name
        ):
            raise InputError(
                f"{root}: {name!r}: a name with a space at its beginning or end, with a control character, or with "
                "bytes that are not text in UTF-8, which folds.csv does not list; expected another: rename it"
            )
        if (other := paths.setdefault(unicodedata.normalize("NFC", name), path)) != path:
            raise InputError(
                f"{root}: {name!r} is there twice, with accents composed and decomposed ({other}, {path}); "
                "expected once: remove or rename one"
            )
    if not sounds:
        raise InputError(
            f"{place} holds no sound file; expected {files.formats()} in every folder of "
            f"{root}: add some, or move it away{files.remedy(files.unread(place))}"
        )


def assigned_sources(
    root: Path, paths: dict[str, Path], known: dict[str, int], stated: dict[str, str]
) -> dict[str, str]:
    """The recording of every clip: as ``stated``, else by its name; that of a listed clip whose piece or copy it is."""
    sources = recordings(paths)
    by_name = {name: stated.get(name) or sources[name] for name in paths if name in known or stated.get(name)}
    new = paths.keys() - known.keys()
    unnamed = new - by_name.keys()
    sources |= by_name | (known_recordings(unnamed, by_name) if unnamed and by_name else {})
    for copies in leaks.same_bytes({paths[name]: name for name in paths}) if new else []:
        first = min(copies, key=lambda name: (name not in known, name))
        for name in copies:
            if name in new and (other := sources[name]) != sources[first]:
                alike = [one for one in new if sources[one] == other] if other not in by_name.values() else [name]
                sources |= dict.fromkeys(alike, sources[first])
    return sources


def known_recordings(new: Iterable[str], stored: dict[str, str]) -> dict[str, str]:
    """Of the ``new`` clips those that are cut from a recording of the ``stored`` ones (clip → recording), and which.

    By the names of the stored files, whatever their recording is called; else by that, as it was named here before or
    by hand: "street" and "a/street" for "a/street_02.wav".
    """
    new = list(new)
    keys, joined = beginnings([*new, *stored]), recordings([*new, *stored])
    by_name: dict[str, set[str]] = defaultdict(set)
    by_class: dict[str, set[str]] = defaultdict(set)
    in_any_class: dict[str, set[str]] = defaultdict(set)
    for name, source in stored.items():
        by_name[keys[name]].add(source)
        by_class[class_of(name)].add(source)
        in_any_class[joined[name]].add(source)
    sources = {}
    for name in new:
        key = keys[name]
        named = by_name.get(key, set()) or in_any_class.get(joined[name], set())
        spellings = (key, key.partition("/")[2], Path(name).stem.partition("-")[0])
        known = next((text for text in spellings if text in by_class[class_of(name)]), None)
        if len(named) == 1:  # several: numbered clips, each a recording of its own
            sources[name] = next(iter(named))
        elif not named and known:
            sources[name] = known
    return sources


def tell(path: Path, folds: dict[str, int], sources: dict[str, str], new: int, *, rule: str = "by their names") -> None:
    """A line of what was assigned, on standard error: names can only be guessed from."""
    counts = ", ".join(f"{fold}: {n}" for fold, n in sorted(Counter(folds.values()).items()))
    print(
        f"{path}: {many(new, 'clip')} put into folds; now {many(len(folds), 'clip')} of {many(len(set(sources.values())), 'recording')}, "
        f"{rule}, clips in folds {counts}. Edit it if clips of one recording are in several folds.",
        file=sys.stderr,
        flush=True,
    )


def assigned_folds(classes: dict[str, str], sources: dict[str, str], known: dict[str, int]) -> dict[str, int]:
    """Fold of every clip in ``classes`` (clip → class): as in ``known``, else grouped by recording and stratified.

    Whole recordings, the longest first, go to the fold with the fewest clips of their classes; a new clip of a
    known recording goes where that one is. Folds are those of ``known``, or 1 to 5. The same input, in any order,
    gives the same folds.
    """
    choices = sorted(set(known.values())) or list(range(1, 6))
    folds = {name: known[name] for name in classes if name in known}
    homes: dict[str, set[int]] = defaultdict(set)
    counts: Counter[tuple[int, str]] = Counter()
    totals: Counter[int] = Counter()
    for name, fold in folds.items():
        homes[sources[name]].add(fold)
        counts[fold, classes[name]] += 1
        totals[fold] += 1
    new: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(classes) - set(known)):
        new[sources[name]].append(name)
    for source, names in sorted(new.items(), key=lambda item: (-len(item[1]), item[0])):
        class_counts = Counter(classes[name] for name in names)
        fold = min(
            sorted(homes.get(source, ())) or choices,
            key=lambda k: (sum(n * counts[k, c] for c, n in class_counts.items()), totals[k], k),
        )
        folds.update(dict.fromkeys(names, fold))
        counts.update({(fold, c): n for c, n in class_counts.items()})
        totals[fold] += len(names)
    return folds


def store_and_tell(
    path: Path, new: dict[str, tuple[int, str]], folds: dict[str, int], sources: dict[str, str], **how: str
) -> None:
    """``store_folds`` and ``tell``."""
    store_folds(path, new)
    tell(path, folds, sources, len(new), **how)


def store_folds(path: Path, new: dict[str, tuple[int, str]]) -> None:
    """Add clips (name → fold, recording) to ``folds.csv``, whose rows stay as they are; whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        header = next(csv.reader([text.partition("\n")[0].strip()]), []) or ["file", "fold", "source"]
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            file.write(text + ("" if not text or text.endswith("\n") else "\n"))
            writer = csv.DictWriter(file, [h.strip() for h in header], extrasaction="ignore", lineterminator="\n")
            if not text.strip():
                writer.writeheader()
            for name, (fold, source) in sorted(new.items()):
                writer.writerow({"file": inert(name), "fold": fold, "source": inert(source)})
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise InputError(
            f"the {plural(len(new), 'fold')} of {many(len(new), 'clip')} cannot be stored in {path} ({error.strerror}); expected a "
            f"folder that can be written: make one of links with 'cp -rs {path.parent.resolve()} "
            "FOLDER' and name that one"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # The error above says it already.
            unfinished.unlink(missing_ok=True)
