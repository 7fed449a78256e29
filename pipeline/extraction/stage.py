"""Stage one: every clip of a corpus, its noisy and its changed copies, as stacked features; one HDF5 file per fold.

What is there already is kept: a fold's file, clip by clip, and the parts of a run that was stopped. A clip
counts as the same while its file (path, size, time of change, or SHA-256 with ``deep``), its annotated length,
the settings and the libraries that decide its numbers are the same.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from pipeline import cache, features
from pipeline.cache import Failure, checking
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import UNLABELLED, Corpus, leaks, part_name
from pipeline.extraction import times, workers
from pipeline.extraction.arguments import check as check
from pipeline.extraction.assembly import assemble
from pipeline.extraction.failures import failed_text, refusals, write_failures
from pipeline.extraction.state import Plan, clean, complete, left_behind, plan
from pipeline.extraction.workers import Task
from pipeline.locks import locked
from pipeline.plurals import many
from pipeline.progress import progress as shown_progress
from pipeline.spelling import one_line


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
    finished: bool
    """It was there before, so that nothing was to do."""
    note: str = ""
    """Why something that was there was computed again."""


def run(corpus: Corpus, spec: FeatureSpec, root: Path, *, on_error: str = "finish", **options: object) -> None:
    """``extract_corpus`` for the command line: says what it did, and what the corpus is like (``leaks.told``).

    Raises ``ExtractionFailed`` for failed clips, and ``InputError`` as ``leaks.told`` and ``extract_corpus``.
    """
    start = time.monotonic()
    for line in leaks.told(corpus):
        print(one_line(line), file=sys.stderr, flush=True)
    reports = extract_corpus(corpus, spec, root, on_error=on_error, progress=sys.stderr, **options)  # type: ignore[arg-type]
    folder, seconds = reports[0].path.parent, time.monotonic() - start
    for report in reports:
        if report.note:
            print(f"{part_name(report.fold)}: {report.note}")
    failures = {report.fold: report.failed for report in reports}
    failed = sum(map(len, failures.values()))
    if failed:
        print(failed_text(corpus.root, failures, folder))
    if not all(report.written for report in reports):
        raise ExtractionFailed(
            f"{failed:,} of {many(sum(r.clips for r in reports), 'clip')} failed; the others are kept. Repair or replace them "
            "and give the same command again, or leave them out with --on-error skip",
            reports,
        )
    computed = sum(report.computed for report in reports)
    clips = sum(report.clips - len(report.failed) for report in reports)
    work_done = f"{computed:,} computed, {clips - computed:,} reused"
    if all(report.finished for report in reports):
        work_done = "finished already, nothing to compute"
    left_out = f", {failed:,} SKIPPED" if failed else ""
    left_out += f", {len(spec.view_names)} views each" if spec.views else ""
    folds = sum(report.fold != UNLABELLED for report in reports)
    beside = " and a folder without labels" if folds < len(reports) else ""
    if all(report.finished for report in reports):
        print(f"features: {checking.told(report.path for report in reports)}")
    print(
        f"features: {many(clips, 'clip')} in {many(folds, 'fold')}{beside}{left_out}: {work_done}; {seconds:.1f} s; {folder}"
    )


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
    unrefused: Callable[[], object] = bool,
) -> list[FoldReport]:
    """Write the features of a corpus' folds below ``cache_root``, computing only what is not there yet.

    ``jobs`` processes (−1: one per core); ``plain``: librosa's public functions one by one; ``deep``: compare clips by SHA-256;
    ``compress``: gzip; ``backend`` loky, dask (with the ``scheduler`` at an address) or sequential: all give the same arrays bit
    for bit. ``on_error`` "finish": a fold with a failed clip is not written, its other clips are computed and kept; "skip": it is
    written without them, and says so. ``unrefused`` is called before the first clip is heard, once nothing is refused.

    A report for each fold. ``InputError`` for wrong arguments, a disk that is full or read-only, a fold that another process is
    at. ``KeyboardInterrupt`` says how to go on.
    """
    workplace: dict[str, Any] = {"jobs": jobs, "backend": backend, "scheduler": scheduler}
    wanted = check(corpus, spec, folds, {**workplace, "on_error": on_error, "plain": plain})
    start = time.monotonic()

    def planned(fold: int, locked: bool = True) -> Plan:
        made = plan(corpus, spec, Path(cache_root), fold, plain=plain, deep=deep, compress=compress, locked=locked)
        times.keep(made.path.parent, made.same)
        return made

    plans = {fold: planned(fold, locked=False) for fold in wanted}
    reports: dict[int, FoldReport] = {}

    def finish(fold_plan: Plan) -> None:
        how: dict[str, Any] = {"on_error": on_error, "plain": plain, "compress": compress}
        written = fold_plan.finished or concluded(fold_plan, corpus, spec, **how)
        reports[fold_plan.fold] = report_of(fold_plan, written, time.monotonic() - start)

    folder = plans[wanted[0]].path.parent
    with refusals(folder), ExitStack() as stack:
        lock_unfinished(plans, planned, stack)
        stack.callback(remove_empty, plans)
        work(list(plans.values()), spec, finish, unrefused, plain=plain, stream=progress, **workplace)
        write_failures(folder, corpus.root, {fold: report.failed for fold, report in reports.items()})
    return [reports[fold] for fold in wanted]


def lock_unfinished(plans: dict[int, Plan], planned: Callable[[int], Plan], stack: ExitStack) -> None:
    """Lock the unfinished folds until ``stack`` ends and plan what is missing; tidy up beside all of them."""
    unfinished = [fold for fold, fold_plan in plans.items() if not fold_plan.finished]
    for fold in unfinished:
        try:
            stack.enter_context(locked(plans[fold].path, part_name(fold)))
        except OSError:
            if not plans[fold].retried:
                raise
            plans[fold].leave()  # A cache that is read-only serves all the same.
            continue
        if not complete(plans[fold]):
            plans[fold] = planned(fold)  # Another process may just have finished it.
        clean(plans[fold])
    for fold in plans.keys() - set(unfinished):
        with suppress(InputError, OSError):  # of before there were digests by clip; others stay as they are
            cache.add_clip_digests(plans[fold].path)
        if left_behind(plans[fold]):
            # Who holds the lock is at work on other folds; a cache that is read-only may stay as it is.
            with suppress(InputError, OSError), locked(plans[fold].path, part_name(fold)):
                clean(plans[fold])


def concluded(
    fold_plan: Plan, corpus: Corpus, spec: FeatureSpec, *, on_error: str, plain: bool, compress: bool
) -> bool:
    """Write the file of a fold whose clips were all tried; False where failed clips forbid it.

    Clips that the file as it stood left out are let off: whoever had it written without them accepted that.
    """
    failed, accepted = sorted_failures(fold_plan.failed), {skip.clip for skip in fold_plan.skipped}
    if on_error != "skip" and any(failure.clip not in accepted for failure in failed):
        return False
    if fold_plan.retried and failed == fold_plan.skipped:
        # The same clips failed the same way: the file stays.
        shutil.rmtree(fold_plan.parts, ignore_errors=True)
    else:
        assemble(fold_plan, corpus, spec, plain=plain, compress=compress)
    return True


def remove_empty(plans: Mapping[int, Plan]) -> None:
    """Remove the folders of parts in which there is nothing: made so that workers can be asked whether they see them, and refused."""
    for fold_plan in plans.values():
        if fold_plan.jobs:
            with suppress(OSError):  # parts are in it, or it is gone
                fold_plan.parts.rmdir()


def sorted_failures(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    return tuple(sorted(failures, key=lambda failure: failure.clip))


def report_of(fold_plan: Plan, written: bool, seconds: float) -> FoldReport:
    failed = fold_plan.skipped if fold_plan.finished else sorted_failures(fold_plan.failed)
    computed = len({job.clip for job in fold_plan.jobs} - {failure.clip for failure in failed})
    return FoldReport(
        path=fold_plan.path,
        fold=fold_plan.fold,
        clips=len(fold_plan.clips),
        computed=computed,
        reused=len(fold_plan.clips) - len(failed) - computed,
        failed=failed,
        seconds=seconds,
        written=written,
        finished=fold_plan.finished,
        note=fold_plan.note,
    )


def work(
    plans: list[Plan],
    spec: FeatureSpec,
    finish: Callable[[Plan], None],
    unrefused: Callable[[], object],
    *,
    jobs: int,
    plain: bool,
    backend: str,
    scheduler: str | None,
    stream: TextIO | None,
) -> None:
    """Compute all the plans' missing clips; ``finish`` a fold as soon as its clips are there, ``unrefused`` once there are workers."""
    for fold_plan in plans:
        if fold_plan.jobs:
            fold_plan.parts.mkdir(parents=True, exist_ok=True)
        else:
            finish(fold_plan)
    tasks = list(tasks_of(plans, spec, plain))
    if not tasks:
        unrefused()
        return
    by_fold = {fold_plan.fold: fold_plan for fold_plan in plans}
    if stream and (note := features.kernels_note(plain=plain)):
        print(note, file=stream, flush=True)
    total, done = sum(len(fold_plan.jobs) for fold_plan in plans), 0
    try:
        with (
            workers.results(tasks, jobs, backend, scheduler) as outcomes,
            shown_progress("features", total, "clip", stream) as tell,
        ):
            unrefused()
            for outcome in outcomes:
                fold_plan = by_fold[outcome.fold]
                if outcome.part and not outcome.part.is_file():
                    if backend != "dask":  # somebody took the folder away
                        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(outcome.part))
                    remedy = "the cache has to be in a folder that all workers share"
                    raise InputError(f"a worker wrote {outcome.part}, which is not seen here; {remedy}")
                fold_plan.failed += outcome.failures
                fold_plan.left -= outcome.clips
                done += outcome.clips
                tell(outcome.clips)
                if not fold_plan.left:
                    finish(fold_plan)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{done:,} of {total:,} clips are done and kept; the same command goes on from there"
        ) from None


def tasks_of(plans: Iterable[Plan], spec: FeatureSpec, plain: bool) -> Iterator[Task]:
    """All that is to compute, in turn: tasks of ``TASK_CLIPS``, and small ones at the end, so that no process waits long for another."""
    left = sum(len(fold_plan.jobs) for fold_plan in plans)
    # The last bits of a batch depend on its size.
    small = workers.TASK_CLIPS if spec.engine == "torch" else min(workers.SMALL_TASK, workers.TASK_CLIPS)
    for fold_plan in plans:
        missing, folder = iter(fold_plan.jobs), fold_plan.parts.resolve()
        while jobs := tuple(islice(missing, workers.TASK_CLIPS if left > workers.LAST_CLIPS else small)):
            left -= len(jobs)
            yield Task(fold_plan.fold, jobs, folder, spec, plain, os.getpid())
