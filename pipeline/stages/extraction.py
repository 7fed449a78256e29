"""Stage one: every clip of a corpus, and its noisy copy, as stacked features; one HDF5 file a fold.

What is there already is kept: a fold's file, clip by clip, and the parts of a run that was stopped. A clip
counts as the same while its file (path, size, time of change, or SHA-256 with ``deep``), its annotated length,
the settings and the libraries that decide its numbers are the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from pipeline import cache, config, features
from pipeline.cache import Failure, Header
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import Corpus
from pipeline.stages import parts, workers
from pipeline.stages.failures import failed_text, write_failures
from pipeline.stages.locks import locked
from pipeline.stages.planning import Plan, clean, left_behind, plan
from pipeline.stages.progress import progress as shown_progress
from pipeline.stages.workers import Task

BACKENDS = ("loky", "dask", "sequential")
ON_ERROR = ("finish", "skip")
REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


class ExtractionFailed(InputError):
    """Some clips could not be computed; all others were. ``reports`` says which."""

    def __init__(self, message: str, reports: list[FoldReport]) -> None:
        super().__init__(message)
        self.reports = reports


@dataclass(frozen=True)
class FoldReport:
    """What was done for a fold. ``written``: its file is there and says what the corpus says now."""

    path: Path
    fold: int
    clips: int
    """In the corpus, those that failed too."""
    computed: int
    reused: int
    failed: tuple[Failure, ...]
    seconds: float
    written: bool
    note: str = ""
    """Why something that was there was computed again."""


def run(
    corpus: Corpus, spec: FeatureSpec, root: Path, *, on_error: str = "finish", **options: object
) -> None:
    """``extract_corpus`` for the command line: says what it did, and raises ``ExtractionFailed`` for failed clips."""
    start = time.monotonic()
    reports = extract_corpus(corpus, spec, root, on_error=on_error, progress=sys.stderr, **options)  # type: ignore[arg-type]
    folder, seconds = reports[0].path.parent, time.monotonic() - start
    for report in reports:
        if report.note:
            print(f"fold {report.fold}: {report.note}")
    failures = {report.fold: report.failed for report in reports}
    failed = sum(map(len, failures.values()))
    if failed:
        print(failed_text(corpus.root, failures, folder))
    if not all(report.written for report in reports):
        raise ExtractionFailed(
            f"{failed} of {sum(r.clips for r in reports)} clips failed; the others are kept. Repair or replace them "
            "and give the same command again, or leave them out with --on-error skip", reports)  # fmt: skip
    computed = sum(report.computed for report in reports)
    clips = sum(report.clips - len(report.failed) for report in reports)
    what = (
        f"{computed} computed, {clips - computed} reused"
        if computed
        else "finished already, nothing to compute"
    )
    left_out = f", {failed} SKIPPED" if failed else ""
    print(f"features: {clips} clips in {len(reports)} folds{left_out}: {what}; {seconds:.1f} s; {folder}")


def extract_corpus(
    corpus: Corpus,
    spec: FeatureSpec,
    cache_root: Path,
    *,
    folds: Iterable[int] | None = None,
    jobs: int = -1,
    plain: bool = False,
    deep: bool = False,
    on_error: str = "finish",
    compress: bool = False,
    backend: str = "loky",
    scheduler: str | None = None,
    progress: TextIO | None = None,
) -> list[FoldReport]:
    """Write the features of a corpus' folds below ``cache_root``, computing only what is not there yet.

    ``jobs`` processes (−1: one a core); ``plain``: librosa's public functions one by one; ``deep``: compare
    clips by SHA-256; ``compress``: gzip; ``backend`` loky, dask (with the ``scheduler`` at an address) or
    sequential: all give the same arrays bit for bit. ``on_error`` "finish": a fold with a failed clip is not
    written, its other clips are computed and kept; "skip": it is written without them, and says so.

    A report for each fold. ``InputError`` for wrong arguments, a disk that is full or read-only, a fold that
    another process is at. ``KeyboardInterrupt`` says how to go on.
    """
    if jobs == 0:
        raise InputError("jobs = 0: expected a number of processes, or -1 for one a core")
    for name, value, allowed in (("backend", backend, BACKENDS), ("on-error", on_error, ON_ERROR)):
        if value not in allowed:
            raise InputError(f"--{name} {value}: expected one of {', '.join(allowed)}")
    if scheduler and backend != "dask":
        raise InputError(f"--scheduler {scheduler}: only --backend dask has a scheduler")
    wanted = chosen_folds(corpus, folds)
    start = time.monotonic()

    def planned(fold: int) -> Plan:
        return plan(corpus, spec, Path(cache_root), fold, plain=plain, deep=deep, compress=compress)

    plans = {fold: planned(fold) for fold in wanted}
    unfinished = [fold for fold in wanted if not plans[fold].finished]
    reports: dict[int, FoldReport] = {}

    def finish(fold_plan: Plan) -> None:
        written = fold_plan.finished or not fold_plan.failed or on_error == "skip"
        if written and not fold_plan.finished:
            assemble(fold_plan, corpus, spec, plain=plain, compress=compress)
        failed = (
            fold_plan.skipped if fold_plan.finished else tuple(sorted(fold_plan.failed, key=lambda f: f.clip))
        )
        computed = len(fold_plan.jobs) - len(fold_plan.failed)
        reports[fold_plan.fold] = FoldReport(
            fold_plan.path, fold_plan.fold, len(fold_plan.clips), computed,
            len(fold_plan.clips) - len(failed) - computed, failed, time.monotonic() - start, written, fold_plan.note,
        )  # fmt: skip

    folder = plans[wanted[0]].path.parent
    with ExitStack() as stack:
        stack.enter_context(refusals(folder))
        for fold in unfinished:
            stack.enter_context(locked(plans[fold].path, f"fold {fold}"))
            plans[fold] = planned(fold)  # Another process may just have finished it.
            clean(plans[fold])
        for fold in wanted:
            if fold not in unfinished and left_behind(plans[fold]):
                # Who holds the lock is at work on other folds; a cache that is read-only may stay as it is.
                with contextlib.suppress(InputError, OSError), locked(plans[fold].path, f"fold {fold}"):
                    clean(plans[fold])
        work(list(plans.values()), spec, finish, jobs=jobs, plain=plain, backend=backend, scheduler=scheduler,
             stream=progress)  # fmt: skip
        write_failures(folder, corpus.root, {fold: report.failed for fold, report in reports.items()})
    return [reports[fold] for fold in wanted]


def chosen_folds(corpus: Corpus, folds: Iterable[int] | None) -> tuple[int, ...]:
    wanted = corpus.folds if folds is None else tuple(folds)
    for fold in wanted:
        if fold not in corpus.folds:
            raise InputError(f"fold {fold}: {corpus.name} has the folds {', '.join(map(str, corpus.folds))}")
    if not wanted:
        raise InputError(f"{corpus.name} has no folds in {corpus.root}, or none was asked for")
    return tuple(dict.fromkeys(wanted))


# ---------------------------------------------------------------------------------------------- working


def work(plans: list[Plan], spec: FeatureSpec, finish, *, jobs: int, plain: bool, backend: str,  # type: ignore[no-untyped-def]
         scheduler: str | None, stream: TextIO | None) -> None:  # fmt: skip
    """Compute all the plans' missing clips; ``finish`` a fold as soon as its clips are there."""
    for made in plans:
        if not made.jobs:
            finish(made)
    tasks = [task for made in plans for task in tasks_of(made, spec, plain)]
    if not tasks:
        return
    by_fold = {made.fold: made for made in plans}
    for made in plans:
        if made.jobs:
            made.parts.mkdir(parents=True, exist_ok=True)
    if stream and not features.kernels_compiled():
        print("compiling librosa's kernels: once on this machine, about 20 s", file=stream, flush=True)
    total = done = sum(len(made.jobs) for made in plans)
    done = 0
    try:
        with (
            workers.results(tasks, jobs, backend, scheduler) as outcomes,
            shown_progress("features", total, "clip", stream) as tell,
        ):
            for outcome in outcomes:
                made = by_fold[outcome.fold]
                if outcome.part and not outcome.part.is_file():
                    raise InputError(f"a worker wrote {outcome.part}, which is not seen here; the cache has to be "
                                     "in a folder that all workers share")  # fmt: skip
                made.failed += outcome.failures
                made.left -= outcome.clips
                done += outcome.clips
                tell(outcome.clips)
                if not made.left:
                    finish(made)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{done} of {total} clips are done and kept; the same command goes on from there") from None  # fmt: skip


def tasks_of(made: Plan, spec: FeatureSpec, plain: bool) -> Iterator[Task]:
    for start in range(0, len(made.jobs), workers.TASK_CLIPS):
        jobs = tuple(made.jobs[start : start + workers.TASK_CLIPS])
        yield Task(made.fold, jobs, made.parts.resolve(), spec, plain, os.getpid())


def assemble(made: Plan, corpus: Corpus, spec: FeatureSpec, *, plain: bool, compress: bool) -> None:
    """Write a fold's file from its parts and the rows of its old file; then the parts go."""
    kept = parts.found_parts(made.parts, check=False)
    failed = {failure.clip for failure in made.failed}
    clips = [clip for clip in made.clips if clip.name not in failed]
    keys = [made.keys[clip.name] for clip in clips]
    hashes = [kept[key][2] if key in kept else made.hashes[key] for key in keys]
    said = features.describe(spec)
    header = Header(
        corpus=corpus.name,
        dataset=corpus.dataset,
        synthetic=corpus.synthetic,
        fold=made.fold,
        classes=tuple(corpus.classes),
        spec=spec,
        clips=tuple(clip.name for clip in clips),
        labels=tuple(clip.label for clip in clips),
        sources=tuple(clip.source for clip in clips),
        files=tuple(
            dataclasses.replace(made.files[clip.name], sha256=sha) for clip, sha in zip(clips, hashes)
        ),
        skipped=tuple(sorted(made.failed, key=lambda f: f.clip)),
        versions=parts.versions(),
        plain=plain,
        compressed=compress,
        units=tuple(said[name]["unit"] for name in config.FEATURES),
        calls=tuple(said[name]["call"] for name in config.FEATURES),
    )
    cache.write_fold(made.path, header, gathered(made, keys, kept))
    shutil.rmtree(made.parts, ignore_errors=True)


def gathered(made: Plan, keys: list[str], kept: dict[str, tuple[Path, int, str]]) -> Iterator[np.ndarray]:
    """The features of the clips with these keys, one by one, from parts or else from the old file."""
    opened: Path | None = None
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(cache.opened(made.path))["features"] if made.rows else None
        for key in keys:
            if key in kept:
                if kept[key][0] != opened:
                    opened = kept[key][0]
                    block = parts.part_features(opened)
                row = kept[key][1]
                yield block[row : row + 1]
            else:
                assert old is not None
                yield old[made.rows[key] : made.rows[key] + 1]


@contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """A full or read-only disk, and a worker that died, as one line each."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise InputError(f"{folder}: {os.strerror(error.errno)}; what was finished is kept. Make room, or give a "
                         "folder that can be written, then the same command again") from None  # fmt: skip
    except Exception as error:
        if type(error).__name__ not in ("TerminatedWorkerError", "KilledWorker"):
            raise
        raise InputError("a worker was killed by the system, out of memory maybe; what was finished is kept. Give "
                         "the same command again with fewer --jobs") from None  # fmt: skip
