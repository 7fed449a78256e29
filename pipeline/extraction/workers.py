"""What a worker of stage one does, and who the workers are."""

from __future__ import annotations

import gc
import hashlib
import importlib
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from pipeline.cache import Failure, File
from pipeline.config import FeatureSpec, InputError
from pipeline.extraction import parts
from pipeline.files import sha256
from pipeline.processes import heap
from pipeline.processes.variables import numba_is_strict

#: Clips per task: enough to hide the cost of a task, few enough to lose little and to end together.
TASK_CLIPS = 16

#: So many clips at the end are computed in tasks of ``SMALL_TASK``: no process works long when the others have nothing left.
LAST_CLIPS, SMALL_TASK = 64, 4

#: Clips after which a worker takes the compiled steps of the features (``steps``): before, loading costs more.
COMPILED_AFTER = 112

clips_begun = [0]

#: Tasks that are under way for each thread of a cluster: one that is computed, one that waits for it.
AHEAD = 2


@dataclass(frozen=True, slots=True)  # there may be a million
class Job:
    """A clip to compute: its name, its absolute path (as text, a quarter of a path's memory), its file as it stood, and the key of the result."""

    clip: str
    path: str
    file: File
    key: str
    start: float = 0.0
    """Where it begins in its file, in seconds."""


@dataclass(frozen=True)
class Task:
    """A few clips of a fold, and all a worker has to know about them."""

    fold: int
    jobs: tuple[Job, ...]
    parts: Path
    spec: FeatureSpec
    plain: bool
    parent: int
    """Process that reads the results; 0 where it is on another machine, maybe."""


@dataclass(frozen=True)
class Done:
    """What came of a task: how many clips it had, the part with those that went well, and those that failed."""

    fold: int
    clips: int
    part: Path | None
    failures: tuple[Failure, ...]


def compute(task: Task) -> Done:
    """Compute a task's clips, all views, and write them as one part. Runs in a worker."""
    from pipeline.audio import reading as audio  # soundfile: a finished stage does without

    warm(task.plain)
    if task.parent == os.getppid():  # not in a process of the caller's, who may have garbage
        keep_modules()
    if clips_begun[0] >= COMPILED_AFTER and not task.plain:
        importlib.import_module("pipeline.features.steps").load()
    clips_begun[0] += len(task.jobs)
    keys, hashes, arrays, failures = [], [], [], []
    ready = views_at_once(task) if task.spec.engine == "torch" else {}
    for job in task.jobs:
        if task.parent and os.getppid() != task.parent and os.getpid() != task.parent:
            os._exit(1)  # Whoever wanted this was killed.
        try:
            arrays_of_clip = views(job, task.spec, task.plain) if job.key not in ready else ready[job.key]
            hashes.append(job.file.sha256 or sha256(Path(job.path)))
            arrays.append(arrays_of_clip)
            keys.append(job.key)
        except audio.ClipError as error:
            failures.append(Failure(job.clip, job.file, error.reason, str(error.expected), str(error.found)))
    part = None
    if arrays:
        part = task.parts / f"{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:16]}.npz"
        parts.write_part(part, keys, hashes, np.stack(arrays))
    return Done(task.fold, len(task.jobs), part, tuple(failures))


def views(job: Job, spec: FeatureSpec, plain: bool) -> np.ndarray:
    """Features (view, feature, bin, frame) of a clip, in all its views. ``ClipError`` for a bad file."""
    from pipeline import features  # numpy: a finished stage does without
    from pipeline.audio import reading as audio  # soundfile

    try:
        values = features.extract(samples(job, spec), spec, plain=plain)
    except parameter_error() as error:
        raise audio.ClipError(job.path, "librosa refuses it", "samples it can follow", str(error)) from None
    if values.shape != (expected := (len(spec.view_names), *spec.shape)):
        raise InputError(f"features of shape {values.shape}, expected {expected}")
    if not np.isfinite(values).all():
        raise audio.ClipError(job.path, "features are not finite", "finite numbers", "NaN or infinity")
    return values


def samples(job: Job, spec: FeatureSpec) -> np.ndarray:
    """(view, sample) of a clip: clean, with noise, and changed. ``ClipError`` for a bad file."""
    from pipeline.audio import changing, reading  # soundfile: a finished stage does without

    sound = reading.read_sound(job.path, sr=spec.sr, samples=spec.samples, seconds=job.file.seconds, start=job.start)
    return changing.views(sound, job.clip, spec, rate=spec.sr, samples=spec.samples, short=spec.short)


def views_at_once(task: Task) -> dict[str, np.ndarray]:
    """Key → ``views`` of the clips that can be read and whose features are finite, computed as one batch; others have none."""
    from pipeline import features  # torch: a finished stage does without
    from pipeline.audio import reading as audio  # soundfile

    sounds = {}
    for job in task.jobs:
        with suppress(audio.ClipError):  # said by ``views``
            sounds[job.key] = samples(job, task.spec)
    if not sounds:
        return {}
    values = features.extract(np.concatenate(list(sounds.values())), task.spec)
    by_clip = values.reshape(len(sounds), len(task.spec.view_names), *task.spec.shape)
    return {key: views for key, views in zip(sounds, by_clip) if np.isfinite(views).all()}


def parameter_error() -> type[Exception]:
    """librosa's, which is slow to import: asked for only where something was raised."""
    return importlib.import_module("librosa").ParameterError  # type: ignore[no-any-return]


@cache
def warm(plain: bool) -> None:
    """Once a worker: one thread, and kernels that no other process compiles meanwhile."""
    from pipeline import features  # numpy: a finished stage does without

    numba_is_strict()
    features.compile_kernels(plain=plain, quiet=True)
    one_thread()
    heap.keep_small()


@cache
def keep_modules() -> None:
    """Once a worker: what was imported is no garbage. Where psutil is missing, loky looks through all of it every second, for 0.014 s."""
    gc.freeze()


def one_thread() -> None:
    """No threads inside a worker: there is a worker per core."""
    threadpoolctl.threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@contextmanager
def results(tasks: Iterable[Task], jobs: int, backend: str, scheduler: str | None) -> Iterator[Iterator[Done]]:
    """The tasks' outcomes as they come, from workers that are stopped at the end, in the middle too."""
    if backend == "sequential" or (backend == "loky" and jobs == 1):  # joblib would work here too, once it is imported
        with closing(in_this_process(tasks)) as outcomes:
            yield outcomes
        return
    if backend == "dask":
        with in_cluster(list(tasks), jobs, scheduler) as done:
            yield done
        return
    from joblib import delayed  # joblib: a finished stage does without

    from pipeline.processes import loky

    with loky.results((delayed(compute)(t) for t in tasks), jobs, "generator_unordered") as outcomes:
        yield outcomes


@contextmanager
def in_cluster(tasks: Sequence[Task], jobs: int, scheduler: str | None) -> Iterator[Iterator[Done]]:
    """The tasks' outcomes from dask workers, whoever is there at the time; they see the same files."""
    from pipeline.processes import cluster  # dask: an extra

    paths = [tasks[0].parts, Path(tasks[0].jobs[0].path)]
    elsewhere = ((replace(task, parent=0),) for task in tasks)
    with cluster.connected(jobs, scheduler, paths) as workers:
        yield workers.results(compute, elsewhere, lambda there: AHEAD * sum(there.values()))


def in_this_process(tasks: Iterable[Task]) -> Generator[Done, None, None]:
    """Work here as a worker does, and give back the numbers of threads afterwards."""
    torch: Any = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    with threadpoolctl.threadpool_limits(1):
        try:
            for task in tasks:
                warm(task.plain)
                one_thread()
                yield compute(task)
        finally:
            if torch:
                torch.set_num_threads(before)
