"""What a worker of stage one does, and who the workers are."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cache import Failure, File
from pipeline.config import VIEWS, FeatureSpec, InputError
from pipeline.extraction import parts
from pipeline.extras import install_line
from pipeline.files import sha256

#: Clips a task: enough to hide the cost of a task, few enough to lose little and to end together.
TASK_CLIPS = 16

#: A dask scheduler that does not answer for this long is not there.
SCHEDULER_SECONDS = 10


@dataclass(frozen=True)
class Job:
    """A clip to compute: its name, its absolute path, its file as it stood, and the key of the result."""

    clip: str
    path: Path
    file: File
    key: str


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


# ---------------------------------------------------------------------------------------------- computing


def compute(task: Task) -> Done:
    """Compute a task's clips, both views, and write them as one part. Runs in a worker."""
    from pipeline.audio import reading as audio

    warm(task.spec, task.plain)
    keys, hashes, arrays, failures = [], [], [], []
    for job in task.jobs:
        if task.parent and os.getppid() != task.parent and os.getpid() != task.parent:
            os._exit(1)  # Whoever wanted this was killed.
        try:
            found = views(job, task.spec, task.plain)
            hashes.append(job.file.sha256 or sha256(job.path))
            arrays.append(found)
            keys.append(job.key)
        except audio.ClipError as error:
            failures.append(Failure(job.clip, job.file, error.reason, str(error.expected), str(error.found)))
    part = None
    if arrays:
        part = task.parts / f"{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:16]}.npz"
        parts.write_part(part, keys, hashes, np.stack(arrays))
    return Done(task.fold, len(task.jobs), part, tuple(failures))


def views(job: Job, spec: FeatureSpec, plain: bool) -> np.ndarray:
    """Features (view, feature, bin, frame) of a clip, clean and with noise. ``ClipError`` for a bad file."""
    from librosa import ParameterError

    from pipeline import features
    from pipeline.audio import reading as audio

    clean = audio.read_clip(job.path, sr=spec.sr, samples=spec.samples, seconds=job.file.seconds)
    noise = audio.noise(job.clip, spec.samples, std=spec.noise_std, seed=spec.noise_seed)
    try:
        found = features.extract(np.stack([clean, clean + noise]), spec, plain=plain)
    except ParameterError as error:
        raise audio.ClipError(job.path, "librosa refuses it", "samples it can follow", str(error)) from None
    if found.shape != (len(VIEWS), *spec.shape):
        raise InputError(f"features of shape {found.shape}, expected {(len(VIEWS), *spec.shape)}")
    if not np.isfinite(found).all():
        raise audio.ClipError(job.path, "features are not finite", "finite numbers", "NaN or infinity")
    return found


@cache
def warm(spec: FeatureSpec, plain: bool) -> None:
    """Once a worker: one thread, and all that the first clip would wait for."""
    from pipeline import features

    features.warm_up(spec, plain=plain, quiet=True)
    one_thread()


def one_thread() -> None:
    """No threads inside a worker: there is a worker a core."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


# ---------------------------------------------------------------------------------------------- workers


@contextmanager
def results(
    tasks: Iterable[Task], jobs: int, backend: str, scheduler: str | None
) -> Iterator[Iterator[Done]]:
    """The tasks' outcomes as they come, from workers that are stopped at the end, in the middle too."""
    if backend == "sequential":
        with closing(in_this_process(tasks)) as outcomes:
            yield outcomes
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.backend import resource_tracker

    with ExitStack() as stack:
        options: dict[str, Any] = {"backend": "loky", "n_jobs": jobs, "inner_max_num_threads": 1}
        if backend == "dask":
            client = stack.enter_context(dask_client(jobs, scheduler))
            options = {"backend": "dask", "client": client, "wait_for_workers_timeout": 120}
            tasks = (replace(task, parent=0) for task in tasks)
        stack.enter_context(parallel_config(**options))
        with ctrl_c_held_back(resource_tracker):
            outcomes = Parallel(return_as="generator_unordered", batch_size=1)(
                delayed(compute)(t) for t in tasks
            )
        try:
            yield outcomes
        except BaseException:
            if backend == "loky":
                kill_loky()
            raise
        finally:
            outcomes.close()


@contextmanager
def ctrl_c_held_back(tracker: Any) -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C; the one that starts them sees it at the end.

    ``tracker`` is the module of the resource tracker: its start lets Ctrl-C through again, so it goes first.
    """
    tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_loky() -> None:
    """End the workers at once, whatever they are doing; parts that are half written have no final name."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=False, kill_workers=True)


def in_this_process(tasks: Iterable[Task]) -> Generator[Done, None, None]:
    """Work here as a worker does, and give back the numbers of threads afterwards."""
    import threadpoolctl

    torch: Any = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    with threadpoolctl.threadpool_limits(1):
        try:
            for task in tasks:
                warm(task.spec, task.plain)
                one_thread()
                yield compute(task)
        finally:
            if torch:
                torch.set_num_threads(before)


@contextmanager
def dask_client(jobs: int, scheduler: str | None) -> Iterator[Any]:
    """A client of the scheduler at an address, or of a cluster of processes on this machine."""
    from multiprocessing import resource_tracker

    try:
        from dask.distributed import Client, LocalCluster
    except ImportError:
        raise InputError("--backend dask needs dask.distributed, which is not installed; install it: "
                         f"{install_line('dask')}") from None  # fmt: skip
    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler is None:
            count = jobs if jobs > 0 else max(1, (os.cpu_count() or 1) + 1 + jobs)
            with ctrl_c_held_back(resource_tracker):
                cluster = LocalCluster(
                    n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None
                )
                stack.enter_context(cluster)
                stack.push(partial(kill_nannies, cluster))
            address = cluster
        try:
            client = Client(address, timeout=SCHEDULER_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(f"no dask scheduler answers at {scheduler!r} ({error}); expected an address "
                             "such as tcp://HOST:8786, as dask-scheduler prints it") from None  # fmt: skip
        yield stack.enter_context(client)


def kill_nannies(cluster: Any, kind: type[BaseException] | None, *_: Any) -> None:
    """After a failure or Ctrl-C: end this machine's dask workers at once, not when their task is done."""
    if kind is not None:
        for nanny in cluster.workers.values():
            nanny.auto_restart = False
        for child in multiprocessing.active_children():
            child.kill()
