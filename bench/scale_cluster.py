"""Of ``bench.scale cluster``: what handing clips to dask workers costs the process that hands them over, and the scheduler in it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.scale import FOLDS, anonymous, fold_sizes, name_of, watched, write_corpus
from pipeline.cache import File
from pipeline.config import FeatureSpec
from pipeline.corpus import open_corpus
from pipeline.extraction import stage, workers
from pipeline.extraction.workers import Done, Job, Task
from pipeline.processes import cluster

SPEC = FeatureSpec(seconds=0.5)


def hollow(task: Task) -> Done:
    """A task without its work."""
    return Done(task.fold, len(task.jobs), None, ())


def tasks_of_names(clips: int) -> Iterator[tuple[Task]]:
    """What stage one hands over for so many clips, of files that are names alone."""
    for fold, count in enumerate(fold_sizes(clips), 1):
        names = [name_of(fold, i) for i in range(count)]
        for start in range(0, count, workers.TASK_CLIPS):
            some = names[start : start + workers.TASK_CLIPS]
            jobs = tuple(Job(one, f"/corpus/{one}", File(one, 44044, 0, "", 0.5), f"{hash(one):024x}") for one in some)
            yield (Task(fold, jobs, Path("/parts"), SPEC, False, 0),)


def write_sounds(root: Path, clips: int) -> None:
    """The corpus of names, each a half-second of noise of its own."""
    import soundfile

    write_corpus(root, clips, SPEC.seconds)
    noise = np.random.default_rng(0).standard_normal(2 * SPEC.samples + clips).astype(np.float32) / 10
    for number, path in enumerate(sorted(root.rglob("*.wav"))):
        path.unlink()  # of a common inode
        soundfile.write(path, noise[number : number + SPEC.samples], int(SPEC.sr))


def handed_over(clips: int, address: str, _: Path) -> int:
    done, grown = 0, [anonymous()]
    with cluster.connected(-1, address, []) as connection:
        tasks = tasks_of_names(clips)
        for one in connection.results(hollow, tasks, lambda there: workers.AHEAD * sum(there.values())):
            done += one.clips
            if done >= len(grown) * clips / 4:
                grown.append(anonymous())
    print("memory by quarters, in MB:", *(f"{size / 1e6:.1f}" for size in grown))
    return done


def extracted(clips: int, address: str, folder: Path) -> int:
    corpus = open_corpus("urbansound8k", folder / "clips")
    reports = stage.extract_corpus(corpus, SPEC, folder / "cache", backend="dask", scheduler=address)
    return sum(report.computed for report in reports)


def measure(clips: int, is_hollow: bool, place: Path | None) -> None:
    from dask.distributed import LocalCluster

    folder = Path(tempfile.mkdtemp(prefix="scale-", dir=place))
    try:
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as there:
            if not is_hollow:
                write_sounds(folder / "clips", clips)
            with cluster.connected(-1, there.scheduler_address, []) as connection:
                list(connection.results(hollow, tasks_of_names(FOLDS * workers.TASK_CLIPS), len))  # what is loaded once
            before, begun = anonymous(), time.process_time()
            with watched({"tasks": lambda: len(there.scheduler.tasks), "bytes": anonymous}, 0.05) as most:
                done = (handed_over if is_hollow else extracted)(clips, there.scheduler_address, folder)
            seconds = time.process_time() - begun
        print(
            f"{done:,} clips{' without their work' if is_hollow else ''}: at most {most['tasks']} tasks at the scheduler at a time; client and "
            f"scheduler: {1e6 * seconds / clips:.0f} µs of CPU and {(most['bytes'] - before) / clips:.0f} bytes of anonymous memory per clip",
            flush=True,
        )
    finally:
        shutil.rmtree(folder)
