"""Clips without a label: the folder ``unlabelled`` beside the classes of a corpus of one's own, and whose recordings they are of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus.clips import UNLABELLED, Clip
from pipeline.corpus.naming import Cut, taken_apart

#: The folder's name.
FOLDER = "unlabelled"

#: What it may be called by mistake; a class of such a name would be trained.
MISSPELLED = ("unlabelled", "unlabeled", "un-labelled", "un-labeled")


def is_pool(folder: Path) -> bool:
    """Whether a folder beside the classes holds clips without a label. ``InputError`` for one that is nearly called so."""
    if folder.name.lower() in MISSPELLED and folder.name != FOLDER:
        raise InputError(
            f"{folder}: clips without a label lie in {folder.parent / FOLDER}; expected this name: rename it"
        )
    return folder.name == FOLDER


def require_spelling(label: str, where: str) -> None:
    """``InputError``, which begins with ``where``, for a label that is nearly ``FOLDER``: a class of that name would be trained."""
    if label.lower() in MISSPELLED and label != FOLDER:
        raise InputError(f"{where}: label = {label!r}: clips without a label have {FOLDER!r}; expected this spelling")


def pool_clips(paths: Mapping[str, Path], clips: Iterable[Clip], stated: Mapping[str, str]) -> tuple[Clip, ...]:
    """The clips of ``paths`` (name → file), by name. ``clips``: those with a label; ``stated``: name → recording, by hand.

    One whose name begins as those of one recording of ``clips`` do, in whatever class, is taken to be of it.
    """
    sources = pool_sources(list(paths), clips) if paths else {}
    return tuple(
        Clip(name, paths[name], UNLABELLED, UNLABELLED, stated.get(name) or sources[name], None)
        for name in sorted(paths)
    )


def pool_sources(names: list[str], clips: Iterable[Clip]) -> dict[str, str]:
    """The recording of each clip without a label.

    A beginning that several recordings have is no name of one ("001" in each class), nor is one that only numbers its clips.
    """
    labelled = {clip.name: clip.source for clip in clips}
    cuts = taken_apart([*labelled, *names])
    known: dict[str, set[str]] = defaultdict(set)
    for name, source in labelled.items():
        if source != name:
            known[beginning(cuts[name])].add(source)
    sources = {}
    for name in names:
        of = known.get(beginning(cuts[name]), set())
        sources[name] = next(iter(of)) if len(of) == 1 else cuts[name].source
    return sources


def beginning(cut: Cut) -> str:
    """The name of a clip's recording without the class."""
    return cut.base if cut.published else f"{cut.folder.partition('/')[2]}/{cut.base}".lstrip("/")
