"""A data set on the disk against its own annotations and the published numbers; every fault is a line.

Opening a corpus stops at the first fault. This goes on: it reads annotations row by row, so that what is
wrong with one row or file hides nothing of the others.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.audio import hearing
from pipeline.audio import reading as audio
from pipeline.config import InputError
from pipeline.corpus import UNLABELLED, Corpus, files, leaks, removed, unused, windows
from pipeline.corpus.opening import opened
from pipeline.corpus.published import PUBLISHED, Published
from pipeline.corpus.tables import Row, first_file, first_folder
from pipeline.corpus.urbansound8k import SECONDS
from pipeline.extras import media_remedy
from pipeline.label_sets import BETWEEN
from pipeline.plurals import many
from pipeline.spelling import on_disk, one_line

#: Largest difference between a file's and its annotated length, in seconds. The published ones differ by
#: up to 6 ms, from rounded annotations; ADPCM files are filled up to a whole block, some 50 ms.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Annotated:
    """One annotated clip."""

    path: Path
    fold: int
    label: str
    seconds: float | None


@dataclass(frozen=True)
class Verification:
    """What was found. ``problems`` is empty for a sound data set, be it whole or part of the published one."""

    dataset: str
    root: Path
    clips: int
    """Clips that are annotated and there."""
    folds: dict[int, int]
    """Of these, by fold."""
    classes: dict[str, int]
    """Of these, by class."""
    seconds: float
    """Of these, together."""
    published: int | None = None
    """Clips of the published data set; None where nothing is published."""
    missing_folds: tuple[int, ...] = ()
    """Folds of the published data set without a clip here."""
    problems: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = ()
    """What is odd about clips and no fault of the data set: silence, a peak far above full scale, copies in one fold."""

    unlabelled: int = 0
    """Clips without a label, which are in no fold."""
    unused: str = ""
    """How much of long recordings the clip length leaves unused."""

    @property
    def partial(self) -> bool:
        """Whether this is a part of the published data set."""
        return self.published is not None and self.clips < self.published

    def lines(self) -> list[str]:
        """The report: counts, whole or partial, and a line for each problem."""
        unit = "images" if self.dataset == "cifar100" else "clips"
        lengths = f", {self.seconds / 60:.1f} minutes" if self.seconds else ""
        report = [f"{self.dataset} in {self.root}: {self.clips:,} {unit}, {many(len(self.classes), 'class')}{lengths}"]
        if self.folds:
            report.append("folds    " + ", ".join(f"{k}: {n}" for k, n in sorted(self.folds.items())))
        each = ", ".join(f"{label}: {count}" for label, count in sorted(self.classes.items()))
        alike = set(self.classes.values())
        report.append(f"classes  {min(alike):,} {unit} each" if len(alike) == 1 else f"classes  {each}")
        if self.partial:
            absent = f", without folds {' '.join(map(str, self.missing_folds))}" if self.missing_folds else ""
            report.append(f"partial  {self.clips:,} of the {self.published:,} published {unit}{absent}")
        elif self.published is not None:
            report.append(f"whole    all {self.published:,} published {unit}")
        if self.unlabelled:
            report.append(f"besides  {many(self.unlabelled, 'clip')} without a label, in no fold")
        report += [f"unused   {self.unused}"] if self.unused else []
        report += [f"note     {note}" for note in self.notes]
        report += [f"problem  {problem}" for problem in self.problems]
        report.append(many(len(self.problems), "problem"))
        # Names of files may be bytes that are no text.
        return [one_line(line.encode("utf-8", "backslashreplace").decode()) for line in report]


def verify(root: Path, dataset: str) -> Verification:
    """``dataset`` in the folder ``root`` against annotations and published numbers.

    Raises ``InputError`` where there is nothing to verify: no folder, no table of clips, or not a table.
    """
    problems: list[str] = []
    notes: list[str] = []
    published = PUBLISHED.get(dataset)
    if published:
        everything, rows = annotated(root, dataset, published, problems)
        clip_seconds = published.seconds or SECONDS
        problems += counted(rows, published)
        problems += extra_files(root, everything)
    else:
        windowed = opened(dataset, root, problems)
        notes += leaks.windowed(windowed)
        corpus = windows.whole(windowed)
        rows = [Annotated(c.path, c.fold, corpus.label_names[c.label], c.seconds) for c in corpus.clips]
        rows += [Annotated(c.path, c.fold, "", c.seconds) for c in corpus.unlabelled]
        clip_seconds = 1e9 if corpus.windows else corpus.seconds  # of windows all is heard
        if dataset != "csv":  # a table says which files it means
            problems += extra_files(root, {row.path for row in rows}, anywhere=True)
        problems += leaking(corpus, notes)
        notes += removed.told(root, dataset)
    place = root.parent if dataset == "csv" else root
    there, seconds = measured(place, rows, clip_seconds, problems, notes)
    if published and not problems:  # whatever else opening it looks at
        try:
            problems += leaking(opened(dataset, root), notes)
        except InputError as error:
            problems.append(str(error))
    without = sum(row.fold == UNLABELLED for row in there)
    there = [row for row in there if row.fold != UNLABELLED]
    folds = Counter(row.fold for row in there)
    several = not published and bool(corpus.label_sets)
    labels = [label for row in there for label in (row.label.split(f"{BETWEEN} ") if several else [row.label])]
    return Verification(
        dataset=dataset,
        root=root,
        clips=len(there),
        folds=dict(sorted(folds.items())),
        classes=dict(sorted(Counter(labels).items())),
        seconds=seconds,
        published=sum(published.folds.values()) if published else None,
        missing_folds=tuple(k for k in published.folds if k not in folds) if published else (),
        problems=tuple(problems),
        notes=tuple(notes),
        unlabelled=without,
        unused="" if published else unused.left_unused(corpus),
    )


def annotated(root: Path, dataset: str, published: Published, problems: list[str]) -> tuple[set[Path], list[Annotated]]:
    """The paths of all annotated files, and the rows of ``dataset``; a line in ``problems`` for each bad row."""
    name_column, number_column, label_column = published.columns
    lengths = () if published.seconds else ("start", "end")
    table = first_file(root, *published.annotations)
    numbers = {label: n for n, label in enumerate(published.classes)} if published.ordered else {}
    paths: set[Path] = set()
    rows: list[Annotated] = []
    for row in table_rows(table, name_column, "fold", number_column, label_column, *lengths):
        try:
            name, fold, number = row.file_name(name_column), row.whole("fold", 1), row.whole(number_column, 0)
            seconds = published.seconds or row.number("end") - row.number("start")
            if not name:
                raise row.error(name_column, "a file's name")
            if numbers and numbers.get(row[label_column]) != number:
                raise row.error(label_column, f"the published name of {number_column} {number}")
        except InputError as error:
            problems.append(str(error))
            continue
        folder = f"fold{fold}"
        parent = root / "audio"
        if not published.seconds:
            parent = first_folder(root / "audio" / folder, root / folder) or root / "audio" / folder
        path = on_disk(parent / name)
        if path in paths:
            problems.append(f"{row.where}: {name} is annotated twice")
            continue
        paths.add(path)
        if dataset != "esc10" or row.get("esc10", "").lower() == "true":
            rows.append(Annotated(path, fold, row[label_column], seconds))
    return paths, rows


def table_rows(path: Path, *columns: str) -> Iterator[Row]:
    """The rows of a table as they are: cells empty or too many, names twice. Raises ``InputError`` where it is none."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file, restval="")
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: no column {', '.join(missing)}; expected {', '.join(columns)}")
            for cells in reader:
                row = Row({column: cells[column].strip() for column in reader.fieldnames or ()})
                row.where = f"{path}, line {reader.line_num}"
                yield row
    except (csv.Error, OSError) as error:
        raise InputError(f"{path}: not a table that can be read ({error}); fetch it again") from None


def counted(rows: list[Annotated], published: Published) -> Iterator[str]:
    """A line for each fold or class that is not published, or of which there is more than was published."""
    yield from beyond("fold", Counter(str(row.fold) for row in rows), {str(k): n for k, n in published.folds.items()})
    yield from beyond("class", Counter(row.label for row in rows), published.classes)


def beyond(kind: str, counts: Counter[str], expected: dict[str, int]) -> Iterator[str]:
    for key, n in sorted(counts.items()):
        if key not in expected:
            yield f"{kind} {key}: {many(n, 'clip')} annotated, expected no such {kind}"
        elif n > expected[key]:
            yield f"{kind} {key}: {many(n, 'clip')} annotated, expected {expected[key]}"


def leaking(corpus: Corpus, notes: list[str]) -> Iterator[str]:
    """A line for each recording in several folds, and for each file that is there under several labels or in several folds.

    In ``notes``: a line for each that is there more than once in one fold.
    """
    for source, folds in (leaks.divided(corpus.clips) or leaks.divided_by_name(corpus)).items():
        yield f"recording {source}: in folds {' and '.join(map(str, folds))}, expected one"
    for alike in leaks.copies(corpus):
        if fault := leaks.fault_of(alike, corpus.label_names):
            yield fault
        else:
            notes.append(f"{' and '.join(clip.name for clip in alike)}: the same bytes")


def extra_files(root: Path, annotated: set[Path], *, anywhere: bool = False) -> Iterator[str]:
    """A line for each file beside the annotated ones that no row names; hidden files are the file system's.

    ``anywhere``: of a corpus without a published layout: also what looks like a sound anywhere in ``root``, see
    ``files.left_out``, and of other files only those beside the clips, in folders of theirs.
    """
    parents = {path.parent for path in annotated}
    places = {place for place in (parents - {root} if anywhere else parents | {root / "audio"}) if place.is_dir()}
    regular = {path: is_regular for place in places for path, is_regular in files.walk(place)}
    if anywhere:
        regular |= {path: path.is_file() for path in files.left_out(root, annotated)}
    for path in sorted(regular.keys() - annotated):
        why = "not annotated" if not anywhere else why_left_out(path, regular[path])
        if regular[path] or anywhere:
            yield f"{path.relative_to(root)}: {why}"


def why_left_out(path: Path, is_regular: bool) -> str:
    if not is_regular:
        return "no regular file, so no clip of the corpus"
    if not files.is_sound(path.name) and files.looks_like_sound(path.name):
        if files.is_media(path.name):
            return f"no clip of the corpus: it needs the extra media: {media_remedy(path.name)}"
        return f"no clip of the corpus: a format that is not read, expected one of {files.formats()}: convert it"
    return "no clip of the corpus"


def measured(
    root: Path, rows: list[Annotated], clip_seconds: float, problems: list[str], notes: list[str]
) -> tuple[list[Annotated], float]:
    """The rows whose files are there and readable, and their seconds; a line in ``problems`` for every other.

    A fold without a single file was left out, not lost: it is told as missing, and no problem. In ``notes``: what is odd
    about the samples of a clip of ``clip_seconds``.
    """
    present = {row.fold for row in rows if row.path.is_file()}
    there: list[Annotated] = []
    total = 0.0
    for row in rows:
        name = os.path.relpath(row.path, root)
        if not row.path.is_file():
            if row.fold in present:
                problems.append(f"{name}: {'no regular file' if row.path.exists() else 'missing'}")
            continue
        try:
            sound = hearing.heard(row.path, clip_seconds, annotated=row.seconds is not None)
        except audio.ClipError as error:
            problems.append(f"{name}: {in_words(error)}")
            if error.reason == audio.EMPTY:
                there.append(row)
            continue
        duration = sound.frames / sound.rate
        notes += [f"{name}: {remark}" for remark in sound.remarks(clip_seconds)]
        if row.seconds is not None and abs(duration - row.seconds) > TOLERANCE:
            problems.append(f"{name}: {duration:.3f} s long, annotated {row.seconds:.3f} s")
        there.append(row)
        total += duration
    return there, total


def in_words(error: audio.ClipError) -> str:
    if error.reason == audio.EMPTY:
        return "no samples in it"
    if error.reason in audio.UNREADABLE:
        return f"unreadable ({error.reason}: {error.found})"
    return f"{error.reason}, {error.found}, expected {error.expected}"
