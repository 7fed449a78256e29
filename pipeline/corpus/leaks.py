"""What makes a held-out fold known in training: one recording in several folds, one file in several; and what to say of it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus import files
from pipeline.corpus.clips import Clip, Corpus
from pipeline.corpus.naming import recordings
from pipeline.corpus.windows import whole
from pipeline.plurals import many

#: Bytes from the middle of a file that are compared before all of it is read.
SAMPLE = 4096


def divided(clips: Iterable[Clip]) -> dict[str, tuple[int, ...]]:
    """The recordings whose clips are in several folds, and in which: these are tested on what was heard in training."""
    folds: dict[str, set[int]] = defaultdict(set)
    for clip in clips:
        folds[clip.source].add(clip.fold)
    return {source: tuple(sorted(of_source)) for source, of_source in sorted(folds.items()) if len(of_source) > 1}


def divided_by_name(corpus: Corpus) -> dict[str, tuple[int, ...]]:
    """The same of a ``folder`` corpus by today's rule for names, where ``folds.csv`` has what an earlier rule made of them.

    What was stated by hand holds: a recording that is called neither after the clip nor after its beginning.
    """
    if corpus.dataset != "folder":
        return {}
    corpus = whole(corpus)
    told = recordings(clip.name for clip in corpus.clips)
    folds: dict[str, set[int]] = defaultdict(set)
    for clip in corpus.clips:
        if clip.source == told[clip.name] or clip.name.startswith(clip.source):
            folds[told[clip.name]].add(clip.fold)
    return {source: tuple(sorted(of_source)) for source, of_source in sorted(folds.items()) if len(of_source) > 1}


def warning(corpus: Corpus) -> str:
    """One line where recordings of a corpus are in several folds, with the remedy; else ""."""
    recordings, remedy = divided(corpus.clips), f"make verify names them ({corpus.root})"
    if corpus.dataset == "csv":
        remedy += f"; mend the columns fold and recording of {corpus.listing}"
    if corpus.dataset == "folder":
        remedy += f"; mend the columns fold and source of {corpus.root / 'folds.csv'}"
    if not recordings and (recordings := divided_by_name(corpus)):
        remedy = (
            f"by their names they are. Remove {corpus.root / 'folds.csv'} to have folds assigned anew (features "
            "and runs are made again), or give each its own name in its column source"
        )
    if not recordings:
        return ""
    source, folds = next(iter(recordings.items()))
    return (
        f"{corpus.name}: {many(len(recordings), 'recording is', 'recordings are')} in several folds, so that accuracy is "
        f"in part that of clips heard in training: {source} in {' and '.join(map(str, folds))}"
        f"{', and others' if len(recordings) > 1 else ''}; {remedy}"
    )


def same_bytes(paths: Mapping[Path, str]) -> list[list[str]]:
    """The names of files (path → name) with the same bytes, two or more together, sorted. Without empty and silent files.

    By size, then by some bytes of the middle, then by SHA-256: hardly anything is read where sizes differ. What cannot
    be read is left out; it is told where it is heard.
    """
    groups: list[list[Path]] = [list(paths)]
    for key in (size, sample, digest):
        groups = [alike for group in groups for alike in grouped(group, key)]
    return sorted(sorted(paths[path] for path in group) for group in groups if not silent(group[0]))


def grouped(paths: list[Path], key: Callable[[Path], int | bytes | None]) -> list[list[Path]]:
    """Those of ``paths`` together that share a ``key`` which is not None with another one."""
    groups: dict[int | bytes, list[Path]] = defaultdict(list)
    for path in paths:
        if (value := key(path)) is not None:
            groups[value].append(path)
    return [group for group in groups.values() if len(group) > 1]


def silent(path: Path) -> bool:
    """Whether all samples are the same: silence says nothing of where it was recorded."""
    from pipeline.audio import reading  # soundfile: corpora are looked at without it

    first = None
    try:
        with reading.opening(path) as sound:
            for block in sound.blocks():
                first = block[0] if first is None and len(block) else first
                if len(block) and (block != first).any():
                    return False
    except reading.ClipError:  # it is told where it is heard; as far as it goes it is silent or not
        pass
    return first is not None


def size(path: Path) -> int | None:
    try:
        return path.stat().st_size or None
    except OSError:
        return None


def sample(path: Path) -> bytes | None:
    """The SHA-256 of some bytes of the middle: they themselves would be kept for every clip of a size that others have too."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size // 2 - SAMPLE // 2))
            return hashlib.sha256(file.read(SAMPLE)).digest()
    except OSError:
        return None


def digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None


def copies(corpus: Corpus) -> list[tuple[Clip, ...]]:
    """The clips of a corpus that are the same file, byte for byte, two or more together."""
    clips = {clip.name: clip for clip in corpus.clips}
    return [tuple(clips[name] for name in names) for names in same_bytes({c.path: c.name for c in corpus.clips})]


def fault_of(alike: tuple[Clip, ...], names_of_labels: tuple[str, ...]) -> str:
    """What is wrong with copies: two labels, or several folds; "" where it is neither."""
    names = " and ".join(clip.name for clip in alike)
    labels = sorted({clip.label for clip in alike})
    if len(labels) > 1:
        return (
            f"{names}: the same bytes under the labels {' and '.join(names_of_labels[n] for n in labels)}, expected one"
        )
    folds = sorted({clip.fold for clip in alike})
    return f"{names}: the same bytes in folds {' and '.join(map(str, folds))}, expected one" if len(folds) > 1 else ""


def told(corpus: Corpus) -> list[str]:
    """What ``features`` says of a corpus, a line each: copies, files left out, and on what its folds rest.

    Raises ``InputError`` where the same bytes have two labels: no classifier can be right of both.
    """
    lines, corpus = windowed(corpus), whole(corpus)
    if groups := copies(corpus):
        faults = [fault for alike in groups if (fault := fault_of(alike, corpus.label_names))]
        if wrong := [fault for fault in faults if "under the labels" in fault]:
            more = f" (and {len(wrong) - 1} more: make verify)" if len(wrong) > 1 else ""
            raise InputError(
                f"{corpus.root}: {wrong[0]}{more}: remove those that are wrong, and their rows in the table"
            )
        names = " and ".join(clip.name for clip in groups[0])
        lines.append(
            f"{corpus.name}: {many(len(faults), 'clip is', 'clips are')} there more than once, in several folds, such "
            f"as {faults[0]}: accuracy is in part that of clips heard in training"
            if faults
            else f"{corpus.name}: {many(len(groups), 'clip is', 'clips are')} there more than once (the same bytes), such as "
            f"{names}; in one fold each"
        )
    if not corpus.own:
        return lines
    if corpus.dataset == "csv":
        return [*lines, *([pooled(corpus)] if corpus.unlabelled else []), *in_one_fold(corpus)]
    if absent := files.left_out(corpus.root, {clip.path for clip in (*corpus.clips, *corpus.unlabelled)}):
        lines.append(
            f"{corpus.name}: {many(len(absent), 'file that looks like a sound is', 'files that look like sounds are')} "
            f"left out, such as {absent[0].relative_to(corpus.root)}: make verify names them"
            f"{files.remedy([path.name for path in absent])}"
        )
    if corpus.unlabelled:
        lines.append(pooled(corpus))
    alike = {clip.name for group in groups for clip in group}
    return [*lines, *examples(corpus, alike), *in_one_fold(corpus)]


def windowed(corpus: Corpus) -> list[str]:
    """A line on the windows of long files; none where there are no windows."""
    if not corpus.windows:
        return []
    clips, files = (len(one.clips) + len(one.unlabelled) for one in (corpus, whole(corpus)))
    return [f"{corpus.name}: {many(clips, 'window')} of {corpus.seconds:g} s in {many(files, 'file', 'files')}"]


def pooled(corpus: Corpus) -> str:
    """A line on the clips without a label: how many, and how many are taken for pieces of recordings that have clips with one."""
    known = {clip.source for clip in corpus.clips}
    shared = [clip for clip in corpus.unlabelled if clip.source in known]
    line = f"{corpus.name}: {many(len(corpus.unlabelled), 'clip', 'clips')} without a label, in no fold"
    if not shared:
        return f"{line}; by their names none is of a recording that has clips with one"
    return (
        f"{line}; {many(len(shared), 'is', 'are')} taken for pieces of recordings that have clips with one, such as "
        f"{shared[0].name} of {shared[0].source}, and left out where that is held out"
    )


def examples(corpus: Corpus, alike: Collection[str] = ()) -> list[str]:
    """A line with three examples of what is taken for one recording, where that rests on the clips' names alone.

    ``alike``: names of clips that are copies, and so go where the others are.
    """
    told_by_name = recordings(clip.name for clip in corpus.clips)
    groups: dict[str, list[str]] = defaultdict(list)
    for clip in corpus.clips:
        if clip.source != told_by_name[clip.name] and not clip.name.startswith(clip.source) and clip.name not in alike:
            return []
        groups[clip.source].append(clip.name)
    of_class: dict[str, str] = {}  # the largest recording of each class
    for source in sorted(groups, key=lambda source: (-len(groups[source]), source)):
        of_class.setdefault(groups[source][0].partition("/")[0], source)
    rest = sorted(groups.keys() - set(of_class.values()), key=lambda source: (-len(groups[source]), source))
    chosen = sorted(of_class.values(), key=lambda source: -len(groups[source]))
    shown = "; ".join(example(sorted(groups[source])) for source in [*chosen, *rest][:3])
    return [
        f"{corpus.name}: folds rest on names alone, {many(len(corpus.clips), 'clip')} of {many(len(groups), 'recording')}. Taken for one "
        f"recording each: {shown}. Where that is wrong, edit source and fold in {corpus.root / 'folds.csv'}"
    ]


def example(names: list[str]) -> str:
    return (
        names[0]
        if len(names) == 1
        else f"{names[0]}{', …,' if len(names) > 2 else ' and'} {names[-1]} ({len(names):,} clips)"
    )


def in_one_fold(corpus: Corpus) -> list[str]:
    """A line for classes that are in one fold only: without it nothing trains on them, and elsewhere nothing tests them."""
    folds: dict[int, set[int]] = defaultdict(set)
    for clip in corpus.clips:
        for label in corpus.label_sets[clip.label] if corpus.label_sets else (clip.label,):
            folds[label].add(clip.fold)
    alone = [corpus.classes[label] for label, of_class in sorted(folds.items()) if len(of_class) == 1]
    if not alone or len(corpus.folds) == 1:
        return []
    return [
        f"{corpus.name}: {', '.join(alone[:5])}{' …' if len(alone) > 5 else ''}: a class in one fold only is never both trained "
        "and tested; add clips of other recordings"
    ]
