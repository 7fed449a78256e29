"""A clip, a corpus, and what holds for every corpus."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import InputError
from pipeline.label_sets import LabelSets, named
from pipeline.spelling import on_disk

#: In place of a label: none. In place of a fold: of the clips without a label, which are in none that is tested.
UNLABELLED = -1

#: File in a corpus' folder that says: made-up sounds. However the folder is opened, its figures are stamped.
MARKER = "SYNTHETIC"


@dataclass(frozen=True, slots=True)  # there may be a million
class Clip:
    """One sound file of a corpus."""

    name: str
    """Unique in the corpus: the file's name, "100032-3-0-0.wav"; in a ``folder`` corpus "class/clip.wav"."""
    path: Path
    fold: int
    label: int
    """The number of its class; of its set of classes where the corpus has ``label_sets``."""
    source: str
    """The recording it was cut from: clips of one source are not independent."""
    seconds: float | None
    """Length by the annotation, where there is one."""
    start: float | None = None
    """Where it begins in its file, in seconds; None of a clip that is a file."""


class AsText:
    """A field whose path is kept as text, a quarter of a path's memory, and is a path again when it is asked for."""

    def __init__(self, slot: Any) -> None:
        self.slot = slot

    def __get__(self, clip: Clip | None, _: type[Clip]) -> Any:
        return self if clip is None else Path(self.slot.__get__(clip))

    def __set__(self, clip: Clip, path: Path) -> None:
        self.slot.__set__(clip, os.fspath(path))


Clip.path = AsText(Clip.path)  # type: ignore[assignment, misc]


@dataclass(frozen=True)
class Corpus:
    """A data set as it lies in a folder."""

    name: str
    """Slug of the folder's name; part of the paths of caches and runs."""
    dataset: str
    root: Path
    classes: tuple[str, ...]
    folds: tuple[int, ...]
    """Those that are there, in order."""
    all_folds: tuple[int, ...]
    """Those of the published data set."""
    seconds: float
    """Length to which clips are cut or padded."""
    clips: tuple[Clip, ...]
    """By fold, then by name."""
    synthetic: bool
    unlabelled: tuple[Clip, ...] = ()
    """Clips without a label, by name; ``source``: the recordings of ``clips`` that each may be of, a line each, or its own."""
    windows: bool = False
    """Whether files that are longer than a clip are several clips (``windows``)."""
    listing: Path | None = None
    """The table that lists the clips, or their folder."""
    label_sets: LabelSets = ()
    """Where clips have several labels: by label, the numbers of the classes that it stands for; else ()."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """By label what it is called: a class, or several."""
        return named(self.classes, self.label_sets)

    @property
    def own(self) -> bool:
        """Whether it is of the user's own making, in no published form."""
        return self.dataset in ("folder", "csv")

    @property
    def parts(self) -> tuple[int, ...]:
        """The folds, and ``UNLABELLED`` where there are clips without a label: each is a file of features."""
        return (*self.folds, *([UNLABELLED] if self.unlabelled else []))

    def fold_clips(self, fold: int) -> tuple[Clip, ...]:
        """The clips of a fold, by name; of ``UNLABELLED`` those without a label."""
        if fold == UNLABELLED:
            return self.unlabelled
        return tuple(clip for clip in self.clips if clip.fold == fold)


def part_name(fold: int) -> str:
    """For messages: "fold 3", or what clips without a label are called."""
    return "unlabelled clips" if fold == UNLABELLED else f"fold {fold}"


def part_names(folds: Iterable[int]) -> str:
    """For messages: "fold 1, 2, 3"."""
    return ", ".join(map(part_name, folds)).replace(", fold ", ", ")


def require_folds(folds: Iterable[int], there: Iterable[int], where: str | Path) -> None:
    """``InputError`` for the first of ``folds`` that is not ``there``, which is ``where``."""
    present = sorted(there)
    for fold in folds:
        if fold not in present:
            raise InputError(f"fold {fold} is not in {where}; expected some of {' '.join(map(str, present))}")


def checked(
    root: Path,
    dataset: str,
    classes: tuple[str, ...],
    all_folds: tuple[int, ...],
    seconds: float,
    clips: Iterable[Clip],
    listing: Path | None = None,
    label_sets: LabelSets = (),
) -> Corpus:
    """The corpus, after what holds for every one of them: not empty, names its own, labels and folds in range, files there.

    Raises ``InputError``, one line. ``classes`` in the order of the labels; ``all_folds`` of the published data set, also where some are absent here;
    ``seconds`` to which clips are cut or padded; ``listing``: what lists the clips, for errors (``root`` by default);
    ``label_sets`` where clips have several labels.
    """
    listing = listing or root
    clips = sorted(clips, key=lambda clip: (clip.fold, clip.name))
    if not clips:
        raise InputError(f"{listing} lists no clip that is in {root}; expected at least one: fetch the data set again")
    counts = Counter(clip.name for clip in clips)
    for clip in clips:
        if wrong := fault(clip, len(label_sets or classes), all_folds, counts[clip.name]):
            raise InputError(
                f"{listing}: clip {clip.name!r}: {wrong}; mend the table, or what reads it (pipeline/corpus)"
            )
    clips, missing = spelled_as_there(clips)
    if missing:
        raise InputError(
            f"{listing} lists {len(missing):,} of {len(clips):,} clips that are not there, the first "
            f"{missing[0]}: fetch the data set again, or remove the rows"
        )
    name = slug(Path(os.path.abspath(root)).name)  # noqa: PTH100
    return Corpus(
        name=dataset if dataset == "esc10" or not name else name,
        dataset=dataset,
        root=root,
        classes=classes,
        folds=tuple(sorted({clip.fold for clip in clips})),
        all_folds=all_folds,
        seconds=seconds,
        clips=tuple(clips),
        synthetic=(root / MARKER).exists(),
        listing=listing,
        label_sets=label_sets,
    )


def spelled_as_there(clips: Iterable[Clip]) -> tuple[list[Clip], list[Path]]:
    """The clips with their paths as the disk spells them, and the paths of those whose files are not there."""
    there: dict[str, set[str]] = {}

    def is_there(clip: Clip) -> bool:
        folder, name = os.path.split(clip.path)
        if folder not in there:
            there[folder] = file_names(Path(folder))
        return name in there[folder]

    spelled = [clip if is_there(clip) else replace(clip, path=on_disk(clip.path)) for clip in clips]
    return spelled, [clip.path for clip in spelled if not is_there(clip)]


def slug(name: str) -> str:
    """A name as part of paths."""
    return re.sub(r"[^\w.-]+", "-", name.lower()).strip("-.")


def fault(clip: Clip, classes: int, all_folds: tuple[int, ...], times: int) -> str:
    """What is wrong with a clip, and what was expected; "" if nothing is. ``times``: how many clips have its name."""
    if times > 1:
        return f"the name of {times} clips; expected a name of its own for each"
    if not 0 <= clip.label < classes:
        return f"label {clip.label}; expected 0 to {classes - 1}, a place in the {classes} classes"
    if clip.fold not in all_folds:
        return f"fold {clip.fold}; expected one of {' '.join(map(str, all_folds))}"
    if clip.seconds is not None and not 0 < clip.seconds < math.inf:
        return f"{clip.seconds} seconds long; expected a number above 0, or None where nothing says"
    return ""


def file_names(folder: Path) -> set[str]:
    """Names of the files in a folder, links that lead nowhere too; nothing where there is no such folder.

    One call, not one per clip. Folders, pipes and devices are no files: to open a pipe is to wait.
    """
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_symlink() or entry.is_file()}
