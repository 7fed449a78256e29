"""Work on a dask cluster: whether its workers can do it, and what they did as it comes; this process computes nothing."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from pipeline import plugins, signals
from pipeline.config import InputError
from pipeline.extras import install_line
from pipeline.plurals import many
from pipeline.processes import cores, probe, shadowing, sharing, standing
from pipeline.signals import ctrl_c_held_back

#: A scheduler that does not answer for this long is not there.
SCHEDULER_SECONDS = 10

#: A cluster that has no worker for this long, or whose workers do not answer, has none.
WORKER_SECONDS = 40

#: How often the workers are counted.
LOOK_SECONDS = 1

#: The client's last messages that dask keeps, with the tasks in them; a thousand by itself.
KEPT_MESSAGES = 50

#: Libraries whose versions must be the same here and there: numbers, or the talk with the scheduler, depend on them.
PACKAGES = ["numpy", "librosa", "soxr", "torch", "dask", "distributed"]

KEPT = "what was finished is kept, and the same command goes on"

#: Address of a worker → number of its threads.
Workers = Mapping[str, int]


class Cluster:
    """The workers of a scheduler, each of them asked before it is used whether it can do the work."""

    def __init__(self, client: Any, address: str, paths: Sequence[str]) -> None:
        self.client, self.address, self.paths = client, address, list(paths)
        self.asked: set[str] = set()
        self.command = sharing.command_name()

    def workers(self) -> Workers:
        """Those there are now, at least one. ``InputError`` where there is none for a while, or one cannot do the work."""
        deadline = time.monotonic() + WORKER_SECONDS
        while not (threads := self.ask(self.client.nthreads)):
            if time.monotonic() > deadline:
                raise InputError(
                    f"the dask scheduler at {self.address} has 0 workers, for {WORKER_SECONDS} s; {self.start()}; "
                    f"{KEPT}"
                )
            time.sleep(min(LOOK_SECONDS, WORKER_SECONDS / 4))
        if new := sorted(set(threads) - self.asked):
            self.examine(new, len(threads))
        return threads

    def examine(self, new: list[str], count: int) -> None:
        """Ask workers who they are. ``InputError`` for the first that cannot do the work."""
        with token_file() as token:
            text = worker_code(token, [*self.paths, *map(str, plugins.folders())])
            # As text, for a builtin function: anything else would be imported there first. ``run`` has no limit of time.
            replies = self.ask(self.client.sync, self.client._run, eval, text, workers=new, on_error="return")
        # One that is gone meanwhile gives no answer, and is not counted any more.
        answers = {worker: answer for worker, answer in replies.items() if isinstance(answer, dict)}
        self.asked |= answers.keys()
        faults = {worker: reason for worker, answer in answers.items() if (reason := fault(answer))}
        if faults:
            worker, reason = next(iter(faults.items()))
            raise InputError(
                f"{len(faults)} of {many(count, 'dask worker')} at {self.address} cannot do this: {worker} {reason}; "
                f"{self.start()}; {KEPT}"
            )

    def results(
        self,
        function: Callable[..., Any],
        tasks: Iterable[tuple[Any, ...]],
        room: Callable[[Workers], int],
        *,
        stops: bool = False,
    ) -> Generator[Any, None, None]:
        """``function(*task)`` of each task, computed by workers as if they stood here, as they are done.

        At most ``room(workers)`` tasks are under way at a time, so that workers who come later get their share. ``stops``: a
        command that is asked to stop asks the workers to keep how far they came, and waits for that.
        """
        try:
            yield from self.as_they_come(function, tasks, room)
        except BaseException as error:
            if stops and (isinstance(error, KeyboardInterrupt) or signals.received):
                sharing.stop(self.command, self.of_workers)
            raise

    def as_they_come(
        self, function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]], room: Callable[[Workers], int]
    ) -> Iterator[Any]:
        """``results``, where nothing stops it."""
        from distributed import wait  # dask: an extra
        from distributed.protocol import pickle

        rest, here = iter(tasks), standing.here()
        watch = sharing.Watch(self.command, self.address, self.of_workers)
        waiting: list[Any] = []
        workers, looked = self.workers(), time.monotonic()
        while True:
            if (
                time.monotonic() - looked >= LOOK_SECONDS
            ):  # not for each task: that is an answer of the scheduler's each time
                workers, looked = self.workers(), time.monotonic()
            free = room(workers) - len(waiting)
            waiting += [
                self.client.submit(standing.work, here, pickle.dumps((function, task)), self.command, pure=False)
                for task in itertools.islice(rest, max(0, free))
            ]
            if not waiting:
                return
            with suppress(TimeoutError), self.client.as_current():
                self.ask(wait, waiting, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
            done = [future for future in waiting if future.done()]
            waiting = [future for future in waiting if future not in done]
            watch.look(bool(done))
            yield from map(self.result, done)

    def one(self, function: Callable[..., Any], *task: Any) -> Any:
        """``function(*task)``, computed by a worker."""
        return next(self.results(function, [task], len))

    def result(self, future: Any) -> Any:
        from distributed import KilledWorker  # dask: an extra

        try:
            value = future.result()
            if isinstance(value, standing.Stopped):
                raise KeyboardInterrupt(value.words)
            return value
        except CancelledError:
            raise self.gone("its connection broke") from None
        except KilledWorker:
            raise InputError(
                f"several dask workers at {self.address} were lost at the same task, one after the other (of "
                f"{len(self.asked)} seen; killed for want of memory, maybe); {self.start()}; {KEPT}"
            ) from None
        except ImportError as error:
            raise InputError(
                f"a dask worker at {self.address} cannot import what the work needs ({error}); {self.start()}; {KEPT}"
            ) from None

    def of_workers(self, name: str, *values: str) -> list[Any]:
        """``sharing.answers`` of the workers that there are."""
        return list(self.ask(self.client.sync, sharing.answers, self.client, name, *values))

    def ask(self, question: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """An answer of the scheduler; ``InputError`` where it is gone or silent."""
        limit = {} if "timeout" in options else {"callback_timeout": WORKER_SECONDS}
        try:
            return question(*values, **options, **limit)
        except TimeoutError:
            if not limit:
                raise
            raise self.gone(f"no answer for {WORKER_SECONDS} s") from None
        except (OSError, CancelledError, RuntimeError) as error:
            raise self.gone(" ".join(str(error).split()) or type(error).__name__) from None

    def gone(self, reason: str) -> InputError:
        return InputError(
            f"the dask scheduler at {self.address}, or its way to a worker, is gone ({reason[:200]}), with "
            f"{many(len(self.asked), 'worker')}; start it again, and {self.start()}; {KEPT}"
        )

    def start(self) -> str:
        """How workers are started, and what stands in their way."""
        here = Path.cwd()
        hidden = (
            f"; rename {hiding[0]}, which hides a module of that name" if (hiding := shadowing.hiding(here)) else ""
        )
        program = Path(sys.executable).with_name("dask")
        return f"start workers in {here}: cd {here} && {program} worker {self.address} --nthreads 1{hidden}"


def worker_code(token: str, paths: list[str]) -> str:
    """``probe.probe`` and its call as one expression."""
    source = Path(probe.__file__).read_text(encoding="utf-8")
    place = standing.here()
    sent = (token, paths, PACKAGES, place.variables, place.folder)
    return f"(lambda space: (exec({source!r}, space), space['probe'](*{sent!r}))[1])({{}})"


def fault(answer: Mapping[str, Any]) -> str:
    """Why a worker that says this of itself cannot do the work; empty where it can."""
    folder = f"stands in {answer['folder']}"
    if "broken" in answer:
        return f"{folder} and cannot import the project ({answer['broken']})"
    if not (answer["same_folder"] or answer["sees_folder"]):
        return f"{folder}, another folder, and does not see {Path.cwd()}"
    here = probe.probe("", [], PACKAGES)["versions"]
    if other := [f"{k} {v}, here {here[k]}" for k, v in answer["versions"].items() if v != here[k]]:
        return f"{folder} and has other versions ({', '.join(other)})"
    if answer["unseen"]:
        return f"{folder} and does not see {answer['unseen'][0]}, which has to be on a disk that all share"
    return ""


@contextmanager
def token_file() -> Iterator[str]:
    """Name of a new file in the working folder: who sees it sees that folder. Empty where none can be written."""
    with ExitStack() as stack:
        name = ""
        with suppress(OSError):
            name = Path(stack.enter_context(tempfile.NamedTemporaryFile(dir=".", prefix=".audio-rkd-")).name).name
        yield name


@contextmanager
def connected(jobs: int, scheduler: str | None, paths: Iterable[Path]) -> Iterator[Cluster]:
    """The cluster of the scheduler at an address, or one of processes on this machine.

    ``paths``: what a worker has to see. dask's own words are not shown: what matters of them is in the errors' line.
    """

    try:
        from dask import config  # an extra
        from dask.distributed import Client, LocalCluster
    except ImportError:
        raise InputError(
            f"--backend dask needs dask.distributed, which is not installed; install it: {install_line('dask')}"
        ) from None
    with ExitStack() as stack:
        stack.enter_context(silence())
        address: Any = scheduler
        if scheduler is None:
            count = jobs if jobs > 0 else max(1, cores.usable() + 1 + jobs)
            stack.enter_context(shadowing.OwnFolderHidden())
            with ctrl_c_held_back(resource_tracker):
                address = LocalCluster(n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None)
                stack.enter_context(address)
                stack.push(partial(kill_nannies, address))
        stack.enter_context(config.set({"distributed.admin.low-level-log-length": KEPT_MESSAGES}))
        try:
            client = Client(address, timeout=SCHEDULER_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                f"no dask scheduler answers at {scheduler!r} ({error}); expected an address "
                "such as tcp://HOST:8786, as dask-scheduler prints it"
            ) from None
        stack.enter_context(client)
        cluster = Cluster(client, scheduler or "this machine", list(map(str, paths)))
        cluster.workers()
        yield cluster


@contextmanager
def silence() -> Iterator[None]:
    """dask's log and warnings of this process held back."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="distributed")
            yield
    finally:
        logging.disable(before)


def kill_nannies(cluster: Any, kind: type[BaseException] | None, *_: Any) -> None:
    """After a failure or Ctrl-C: end this machine's dask workers at once, not when their task is done."""
    if kind is not None:
        for nanny in cluster.workers.values():
            nanny.auto_restart = False
        for child in multiprocessing.active_children():
            with suppress(AttributeError):  # those of joblib, of stage one in the same process, have no such thing
                child.kill()
