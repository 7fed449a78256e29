"""Everything that was written, compared with its digests and identities: features, runs, exports, and what lies beside them.

Begin with ``check``. Nothing is changed. What is told stands in the errors of the readers themselves: one reader per kind of file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import places
from pipeline.errors import InputError
from pipeline.plurals import many, plural
from pipeline.report import beside, proofs
from pipeline.report.proofs import PROOF
from pipeline.runs import seal
from pipeline.spelling import one_line

#: What a process writes before it renames it, and its number.
UNFINISHED = re.compile(r"\..+\.(\d+)\.(tmp|old)")


@dataclass(frozen=True)
class Finding:
    """What is not as it was written, and what to do."""

    path: str
    problem: str
    remedy: str

    def line(self) -> str:
        return one_line(f"{self.path}: {self.problem}; {self.remedy}")


@dataclass
class Checked:
    """What was looked at, and what came of it."""

    counts: dict[str, int] = field(default_factory=dict)
    """Kind of thing → number."""
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """Runs and exports of before there were identities, teacher files without a checksum: less can be said of them."""

    def add(self, kind: str, size: int = 0) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.bytes += size

    def attempt(self, path: Path, look: Callable[[], object]) -> None:
        """``look``; what it raises is a finding. A line of a reader is "file: problem; remedy"."""
        try:
            look()
        except (InputError, OSError) as error:
            self.told(path, str(error))

    def told(self, path: Path, line: str) -> None:
        """The line of a reader as a finding; "" is none."""
        first, _, remedy = " ".join(line.split()).partition("; ")
        name, colon, problem = first.partition(": ")
        if not colon or not name.startswith(path.parts[0]):
            name, problem = str(path), first
        if line:
            self.findings.append(Finding(name, problem, remedy or "see to the disk, then the same command again"))

    def finding(self, path: Path, problem: str, remedy: str) -> None:
        self.findings.append(Finding(str(path), problem, remedy))


def check(paths: Sequence[Path]) -> Checked:
    """All folds' files, runs, exports, parts, checkpoints and notes of experiments in ``paths``: files or folders.

    ``InputError`` for a place that is not there, or has nothing of all that.
    """
    out = Checked()
    for place in paths:
        if not place.exists():
            raise InputError(
                f"{place}: no such file or folder; expected a cache, a run, an export, or a folder of them"
            )
        before = dict(out.counts), len(out.findings)
        if named_teacher_file(place):
            out.attempt(place, partial(teacher_file, place, out))
            continue
        for folder, names in folders(place):
            look_into(folder, names, out)
        if (out.counts, len(out.findings)) == before and place not in (
            places.cache(),
            places.runs(),
            places.finals(),
            places.exports(),
        ):
            raise InputError(f"{place}: no features, run or export in it; expected a folder that audio-rkd wrote")
    return out


def named_teacher_file(place: Path) -> bool:
    """Whether a place is a file of a teacher's outputs, wherever it lies."""
    from pipeline.cache.schema import FILE_NAMES
    from pipeline.teacher_files.schema import is_teacher_file

    of_run = (place.parent / seal.RESULT).is_file() or place.parent.name.endswith(".h5.parts")
    return place.is_file() and is_teacher_file(place) and not (of_run or re.fullmatch(FILE_NAMES, place.name))


def folders(place: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder in ``place`` with the names of its files; of a file its folder with this name alone."""
    if place.is_file():
        run_file = place.parent / seal.RESULT
        is_run = run_file.is_file() and place.suffix != ".h5"
        whole = is_run or place.name == PROOF
        yield place.parent, sorted(path.name for path in place.parent.iterdir()) if whole else [place.name]
        return
    for folder, below, names in os.walk(place):
        unfinished = [name for name in below if UNFINISHED.fullmatch(name)]
        below[:] = sorted(set(below) - set(unfinished))
        yield Path(folder), sorted([*names, *unfinished])


def look_into(folder: Path, names: Sequence[str], out: Checked) -> None:
    """Check what one folder holds."""
    from pipeline.cache.schema import FILE_NAMES  # numpy, all: --help does without
    from pipeline.runs import experiments
    from pipeline.runs.folder import FOLDER
    from pipeline.teacher_files.schema import FOLDER as FOLDER_OF_TEACHERS
    from pipeline.teacher_files.schema import is_teacher_file

    for name in names:
        path = folder / name
        if folder.name == FOLDER_OF_TEACHERS and is_teacher_file(path):
            out.attempt(path, partial(teacher_file, path, out))
        elif re.fullmatch(FILE_NAMES, name):
            out.attempt(path, partial(fold, path, out))
        elif UNFINISHED.fullmatch(name):
            left(path, out)
        elif look := beside.reader_of(path):
            out.attempt(path, partial(look, path, out))
    if folder.name.endswith(".h5.parts"):
        parts(folder, out)
    if folder.name.startswith("experiment-") and "experiment.json" not in names:
        out.told(folder, experiments.lost_note_in(folder))
    if seal.RESULT in names or FOLDER.fullmatch(folder.name):
        run(folder, out)
    if PROOF in names or proofs.MODEL in names or proofs.PAGE in names:
        out.attempt(folder / PROOF, partial(proofs.look_into, folder, out))


def fold(path: Path, out: Checked) -> None:
    from pipeline import cache
    from pipeline.cache import checking

    out.add("folds", path.stat().st_size)
    if damaged := cache.check(path, again=True).damaged:
        out.finding(path, checking.words(damaged), checking.remedy(path))


def teacher_file(path: Path, out: Checked) -> None:
    from pipeline.teacher_files.reading import read

    out.add("teacher files", path.stat().st_size)
    if read(path).unchecked:
        out.unchecked.append(str(path))


def parts(folder: Path, out: Checked) -> None:
    from pipeline.extraction.parts import found_parts

    rows, damaged = found_parts(folder, check=True)
    out.add("unfinished folds", sum(path.stat().st_size for path in {row.part for row in rows.values()}))
    for path in damaged:
        out.finding(path, "damaged", "its clips are computed again, and only they: make features")


def left(path: Path, out: Checked) -> None:
    """A half-written file, or folder, of a process that has ended."""
    number = UNFINISHED.fullmatch(path.name)
    try:
        os.kill(int(number[1]) if number else 0, 0)
    except (ProcessLookupError, OverflowError):
        out.finding(path, "left half-written by a process that ended", f"nothing reads it: remove it (rm -r '{path}')")
    except OSError:  # somebody else's process: it lives
        pass


def run(folder: Path, out: Checked) -> None:
    """Each file of a run by its own reader, so that one that is damaged hides no other."""
    from pipeline import runs
    from pipeline.runs import calibration, lost, refusal

    done = runs.finished(folder)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    out.add("runs" if done else "unfinished runs", size)
    if not done:
        out.told(folder, lost.file_of_run(folder, [path.name for path in folder.iterdir()]))
        if (folder / "config.json").is_file():
            out.attempt(folder, partial(runs.read, folder))
        return
    before = len(out.findings)
    out.attempt(folder, partial(runs.read, folder))
    if len(out.findings) > before:  # all else is named by these two
        return
    record = runs.read(folder)
    if not record.identity:
        out.unchecked.append(str(folder))
    for look in (runs.read_environment, runs.read_predictions, require_weights, calibration.read, refusal.read):
        out.attempt(folder, partial(look, folder))
    out.told(folder / refusal.NAME, refusal.lost_in(folder))
    out.attempt(folder, partial(metrics, folder, record.result.epochs, out))


def require_weights(folder: Path) -> None:
    """``InputError`` where a file of weights is gone, or is not what the run's record names."""
    from pipeline import runs
    from pipeline.runs import weights

    record = runs.read(folder)
    for file in weights.files_of(folder):
        if not file.is_file():
            raise InputError(f"{file}: no such file, and result.json names it; {weights.REMEDY}")
        if reason := weights.mismatch(file) or weights.broken(file):
            raise InputError(f"{file}: {reason}; {weights.REMEDY}")
    if not record.identity and record.result.weights and not record.result.failed:
        weights.read_weights(folder)


def metrics(folder: Path, epochs: int, out: Checked) -> None:
    from pipeline.runs.folder import lost_epochs

    if lost := lost_epochs(folder, epochs):
        problem = f"{len(lost)} of {many(epochs, 'epoch')} {plural(len(lost), 'is', 'are')} lost ({', '.join(map(str, lost[:5]))}{' …' if len(lost) > 5 else ''})"
        out.finding(
            folder / seal.METRICS,
            problem,
            "the result is whole, its curve is not: copy the file again, or remove the folder and run again",
        )


def as_json(out: Checked) -> dict[str, Any]:
    return {
        "ok": not out.findings,
        "checked": out.counts,
        "bytes": out.bytes,
        "unchecked": out.unchecked,
        "findings": [vars(finding) for finding in out.findings],
    }


#: What is counted, of one, where it is not the word without its "s".
ONE = {"searches": "search", "notes of experiments": "note of an experiment"}


def text(out: Checked, seconds: float) -> str:
    """A line for each finding, and one on all."""
    counts = (
        ", ".join(many(count, ONE.get(kind, kind.removesuffix("s")), kind) for kind, count in out.counts.items())
        or "nothing there yet"
    )
    end = many(len(out.findings), "finding") if out.findings else "all as it was written"
    old = (
        f"; {len(out.unchecked)} made before identities or without checksums, checked as far as they go"
        if out.unchecked
        else ""
    )
    return "\n".join(
        [
            *(finding.line() for finding in out.findings),
            f"{counts}, {out.bytes / 1e6:.0f} MB in {seconds:.1f} s: {end}{old}",
        ]
    )
