"""Which runs are trained together and where: packs, one after another or one per process."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import torch

from pipeline import cache, signals
from pipeline.cache import checking
from pipeline.config import InputError
from pipeline.engine import packs, room, subsets
from pipeline.engine.packs import PlannedPack
from pipeline.engine.room import Room, most_teachers
from pipeline.engine.source import Source
from pipeline.engine.stopped import left_over as left_over
from pipeline.engine.stopped import with_peers as with_peers
from pipeline.engine.teachers import kind
from pipeline.engine.whole import Whole
from pipeline.images.archive import Archive
from pipeline.losses import views
from pipeline.losses.needs import MEMBERS, needs_of, stage_names
from pipeline.plurals import many
from pipeline.processes import cluster, cores, shadowing
from pipeline.runs.planned import Files, PlannedRun
from pipeline.signals import ctrl_c_held_back
from pipeline.training import packing

#: Held while this process trains a pack.
ALONE = threading.Lock()


def chosen_device(device: str) -> str:
    """``auto`` is the GPU where torch sees one, else the CPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"device cuda: torch {torch.__version__} sees no GPU; expected a CUDA build of torch and a card, "
            "or say --device cpu (make: DEVICE=cpu)"
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def train_all(
    planned: Sequence[PlannedRun],
    source: Source,
    *,
    device: str,
    pack: int | None,
    layout: str | None,
    jobs: int,
    checkpoint_seconds: float,
    say: Callable[[str], None],
    backend: str = "local",
    scheduler: str | None = None,
    command: Whole | None = None,
) -> list[str]:
    """Train all runs. Returns a line for each that failed.

    Packs that an earlier call left with a checkpoint are taken up as they were; the other runs are packed anew, by
    memory and a short measurement. On a CPU the packs are spread over ``jobs`` processes (0: one per core). With the
    backend ``dask`` they go to the workers of a cluster, which see the same files; the device is then the
    workers' own, and a pack whose worker is lost is taken up by another one from its checkpoint.
    """
    for path in () if isinstance(source.files, Archive) else source.files:
        if cache.add_clip_digests(path):
            say(f"{path}: its contents are as they were written; digests by clip are added")
    common: dict[str, Any] = {
        "files": source.files,
        "data_set": source.data_set,
        "checkpoint_seconds": checkpoint_seconds,
    }
    make = partial(PlannedPack, **common, command=command)
    if backend == "dask":
        return in_cluster(planned, source.files, make, pack, layout, device, jobs, scheduler, say)
    place = chosen_device(device)
    make = partial(make, device=place)
    processes = processes_of(jobs, len(planned), place)
    whole = packed_in_homes(planned, make, pack, layout, processes, say)
    if processes == 1 or len(whole) == 1:
        return [line for one in whole for line in packs.train(one, say)]
    return in_processes(whole, processes)


def processes_of(jobs: int, most: int, place: str) -> int:
    """How many are trained in at a time: ``jobs``, or on a CPU one per core, but no more than ``most``; one on a GPU."""
    return min(jobs or cores.of_torch(), most) if place == "cpu" else 1


def packed_in_homes(
    planned: Sequence[PlannedRun],
    make: Callable[..., PlannedPack],
    pack: int | None,
    layout: str | None,
    processes: int,
    say: Callable[[str], None],
) -> list[PlannedPack]:
    """``packed`` of each folder's runs, which has its own checkpoints, by their ``turn``."""
    whole = []
    for home in dict.fromkeys(run.home for run in planned):
        own = with_peers([run for run in planned if run.home == home])
        whole += packed(own, make, home / ".checkpoints", pack, layout, processes, say)
    return sorted(whole, key=lambda one: one.turn)


def packed(
    planned: Sequence[PlannedRun],
    make: Callable[..., PlannedPack],
    checkpoints: Path,
    pack: int | None,
    layout: str | None,
    processes: int,
    say: Callable[[str], None],
) -> list[PlannedPack]:
    """The packs: those that were stopped as they were, the other runs by ``choose``, at least one per process."""
    whole = [make(**fields) for fields in left_over(checkpoints, planned, say)]
    taken = {run for one in whole for run in one.runs}
    for alike in groups([run for run in planned if run not in taken]):
        space = room.room(make(runs=tuple(alike), layout="loop", checkpoint=Path()), processes, pack)
        most = space.teachers if space and space.teachers else len(alike)
        share = -(-len(alike) // processes)
        choice = choose(alike[:most], make, pack, layout, space, processes, share)
        size = min(choice.pack, share)
        measured = {"run_steps_per_second": choice.run_steps_per_second, "measured": choice.measured}
        new = [
            make(
                runs=tuple(members),
                layout=choice.layout,
                checkpoint=checkpoints / f"{packs.pack_name(members)}.pt",
                measured=measured,
                live=space is not None and space.live,
            )
            for members in packing.split(alike, size, len(alike[0].cohort), processes)
        ]
        takes = f", {choice.memory}; {space.told(most_teachers(new))}" if space else ""
        say(f"{choice}{takes}" + (f", {processes} processes" if processes > 1 else ""))
        whole += new
    return whole


def groups(planned: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """The runs that can lie in one pack: of one network and schedule, whose terms need the same beyond vectors. So whoever reads no
    map, and has no adapter, pays for none."""
    alike: dict[object, list[PlannedRun]] = {}
    for run in planned:
        needs, reads = needs_of([run.mix]), run.mix.reads
        # Embeddings of unlike widths lie side by side, with zeros behind the narrower, which an adapter would learn and live
        # teachers have no place for; maps of unlike teachers do not.
        wide = "embedding" in needs.outputs and (bool(run.mix.adapted) or run.changed_inputs)
        vectors = not needs.vague and not needs.reduced and {"logits", "embedding", MEMBERS}.issuperset(needs.outputs)
        alone = wide or not vectors
        teachers = tuple(kind(teacher, alone) for teacher in run.teachers) if alone or packs.with_files([run]) else ()
        maps = (None if reads is None else tuple(stage_names(reads)), views.two(run.mix))
        large = (*stage_names(needs.outputs), *needs.reduced, *needs.constants)
        members = len(run.teachers) if needs.members else 0
        # Constants are of the labels that a run knows, a file's columns of its classes; a teacher of each seed's own comes with it.
        seed = run.seed if run.network.labels_by_seed and (needs.constants or packs.with_files([run])) else None
        key = (run.network, run.mix.adapted, teachers, maps, large, members, run.crossed, bool(run.base), seed)
        alike.setdefault((*key, run.changed_inputs, bool(run.peer)), []).append(run)
    return list(alike.values())


def choose(
    planned: Sequence[PlannedRun],
    make: Callable[..., PlannedPack],
    pack: int | None,
    layout: str | None,
    space: Room | None = None,
    processes: int = 1,
    share: int | None = None,
) -> packing.Choice:
    """Pack size and layout, by a short measurement on the runs' own data: for ``processes`` packs at a time of at most ``share`` runs."""
    make = partial(make, layout="loop", checkpoint=Path(), live=space is not None and space.live)
    data, values, labels = packs.load(make(runs=tuple(planned)))
    few = make(runs=tuple(planned[: packing.LARGEST[values.device.type]]))  # whole cohorts: it is even
    memory = packing.budget(values, processes)
    return packing.choose(
        values,
        labels,
        packs.trainings(few.runs, data),
        few.network,
        classes=subsets.count(few.network, data.classes),
        teaching=room.sketch(few, packs.needs_of_pack(few))
        if space and not space.live and not packs.with_files(few.runs)
        else packs.teaching_of(few),
        pack=pack,
        layout=layout,
        measure=space is not None and pack is not None,
        memory=space.beside(memory, most_teachers([few])) if space else memory,
        most=share,
    )


def in_processes(
    whole: Sequence[PlannedPack], processes: int, train: Callable[..., list[Any]] = packs.train
) -> list[Any]:
    """``train(pack, say)`` for each pack, one pack per process, its lists as one; each gets its share of the threads."""
    for path in () if isinstance(files := whole[0].files, Archive) else files:
        require_whole(path)  # here once, not in each process
    processes = min(processes, len(whole))
    share = max(1, cores.of_torch() // processes)
    context = multiprocessing.get_context("spawn")
    initial = os.getpid(), checking.checked
    with ctrl_c_held_back(resource_tracker):  # the pool's locks start the tracker, which SIGHUP would end
        executor = ProcessPoolExecutor(processes, context, initializer=stay_with, initargs=initial)
    with executor as pool:
        try:
            with shadowing.OwnFolderHidden(), ctrl_c_held_back(resource_tracker):
                waiting = [pool.submit(train_here, one, share, train) for one in whole]
                # The pool looks out for processes that die from the moment it is woken behind their start.
                pool.submit(int)
            return [line for future in waiting for line in future.result()]
        except BrokenProcessPool:
            raise InputError(
                "a training process was killed (by the system for want of memory, or by hand); expected all of "
                "them to live: what was finished is kept, and the same command goes on; --jobs 1 takes "
                "less memory"
            ) from None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # they end their step and keep it
                for child in multiprocessing.active_children():
                    child.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def require_whole(path: Path) -> None:
    """``InputError`` where features in a file are not what was written."""
    if damaged := cache.check(path, again=True).damaged:
        raise InputError(f"{path}: {checking.words(damaged)}; {checking.remedy(path)}")


def stay_with(parent: int, checked: dict[checking.State, checking.Check]) -> None:
    """End this process when ``parent`` is gone: two of them on one checkpoint would harm each other.

    ``checked``: the files whose contents it has compared with their digests.
    """
    signals.seen_by_child()
    checking.checked.update(checked)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def train_here(pack: PlannedPack, threads: int, train: Callable[..., list[Any]] = packs.train) -> list[Any]:
    """``train`` in a process of its own, one pack at a time: a dask worker may have several threads."""
    from pipeline.engine.missing import say

    with ALONE:
        # A pack that was handed over, or waited here, before its process or thread was asked to stop.
        if signals.received or threading.get_ident() in signals.asked:
            raise KeyboardInterrupt
        return train(dataclasses.replace(pack, threads=threads), say)


def in_cluster(
    planned: Sequence[PlannedRun],
    files: Files,
    make: Callable[..., PlannedPack],
    pack: int | None,
    layout: str | None,
    device: str,
    jobs: int,
    scheduler: str | None,
    say: Callable[[str], None],
) -> list[str]:
    """``train_all`` on dask workers: the one that answers first measures, then each takes packs as it gets free.

    A worker that is lost is replaced by dask itself. On this machine alone there is a worker per core, or one for its GPU.
    """
    one_gpu = scheduler is None and device != "cpu" and torch.cuda.is_available()
    paths = [files.path] if isinstance(files, Archive) else files
    with cluster.connected(1 if one_gpu else jobs or -1, scheduler, paths) as workers:
        place = workers.one(chosen_device, device)
        count = len(workers.workers())
        whole = workers.one(packed_in_homes, planned, partial(make, device=place), pack, layout, count, print)
        say(f"{many(len(whole), 'pack')} on {many(count, 'dask worker')}, device {place}")
        # One pack per worker at a time.
        tasks = ((one, 0) for one in whole)
        with contextlib.closing(workers.results(train_here, tasks, len, stops=True)) as trained:
            return sorted(line for lines in trained for line in lines)
