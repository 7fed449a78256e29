"""Which cells are trained together and where: packs, one after another or one a process."""

from __future__ import annotations

import dataclasses
import json
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

from pipeline import runs, signals
from pipeline.config import InputError, Settings
from pipeline.engine import packs
from pipeline.engine.packs import Work
from pipeline.images.archive import Archive
from pipeline.processes import cluster, shadowing
from pipeline.runs.planned import Cell, Files
from pipeline.signals import ctrl_c_held_back
from pipeline.training import packing

#: Held while this process trains a pack.
ALONE = threading.Lock()


def chosen_device(device: str) -> str:
    """``auto`` is the GPU where torch sees one, else the CPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device cuda: torch {torch.__version__} sees no GPU; expected a CUDA build of torch and a card, "
                         "or say --device cpu (make: DEVICE=cpu)")  # fmt: skip
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def train_all(cells: Sequence[Cell], settings: Settings, files: Files, about: dict[str, Any], *, device: str,
              pack: int | None, layout: str | None, jobs: int, checkpoints: Path, checkpoint_seconds: float,
              say: Callable[[str], None], backend: str = "local", scheduler: str | None = None) -> list[str]:  # fmt: skip
    """Train all cells. Returns a line for each run that failed.

    Packs that an earlier call left with a checkpoint are taken up as they were; the other cells are packed anew, by
    memory and a short measurement. On a CPU the packs are spread over ``jobs`` processes (0: one a core). With the
    backend ``dask`` they go to the workers of a cluster, which see the same files; the device is then the
    workers' own, and a pack whose worker is lost is taken up by another one from its checkpoint.
    """
    make = partial(
        Work, settings=settings, features=files, corpus=about, checkpoint_seconds=checkpoint_seconds
    )
    if backend == "dask":
        return in_cluster(cells, make, checkpoints, pack, layout, device, jobs, scheduler, say)
    place = chosen_device(device)
    make = partial(make, device=place)
    processes = min(jobs or torch.get_num_threads(), len(cells)) if place == "cpu" else 1
    works = planned(cells, make, checkpoints, pack, layout, processes, say)
    if processes == 1 or len(works) == 1:
        return [line for work in works for line in packs.train(work, say)]
    return in_processes(works, processes)


def planned(cells: Sequence[Cell], make: Callable[..., Work], checkpoints: Path, pack: int | None, layout: str | None,
            processes: int, say: Callable[[str], None]) -> list[Work]:  # fmt: skip
    """The packs: those that were stopped as they were, the other cells by ``choose``, at least one a process."""
    left = left_over(checkpoints, cells)
    works = [make(**fields) for fields in left]
    taken = {cell for work in works for cell in work.cells}
    rest = [cell for cell in cells if cell not in taken]
    if rest:
        choice = choose(rest, make, pack, layout)
        say(f"{choice}" + (f", {processes} processes" if processes > 1 else ""))
        size = min(choice.pack, -(-len(rest) // processes))
        measured = {"run_steps_per_second": choice.run_steps_per_second, "measured": choice.measured}
        works += [
            make(
                cells=tuple(own),
                layout=choice.layout,
                checkpoint=checkpoints / f"{packs.pack_name(own)}.pt",
                measured=measured,
            )
            for own in packing.split(rest, size)
        ]
    return works


def choose(
    cells: Sequence[Cell], make: Callable[..., Work], pack: int | None, layout: str | None
) -> packing.Choice:
    """Pack size and layout, from a short measurement on the cells' own data."""
    work = make(cells=tuple(cells), layout="loop", checkpoint=Path())
    data, values, labels = packs.load(work)
    few = cells[: packing.LARGEST[values.device.type]]
    outputs = packs.teaching_of(make(cells=tuple(few), layout="loop", checkpoint=Path()))
    return packing.choose(values, labels, packs.trainings(few, data), work.network, classes=len(data.classes),
                          teaching=outputs, pack=pack, layout=layout)  # fmt: skip


def left_over(folder: Path, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Packs that were stopped behind a checkpoint, as fields of ``Work``; each cell is wanted now or finished already.

    (A pack that was killed while it wrote its run folders has finished cells; it ends as it would have.) What is of
    no more use is removed: notes without a checkpoint, packs that are finished as a whole.
    """
    wanted = set(cells)
    found = []
    for note in sorted(folder.glob("pack-*.json")):
        try:
            fields = json.loads(note.read_text())
            members = tuple(map(Cell.from_note, fields["cells"]))
            how = {"layout": fields["layout"], "measured": fields["measured"]}
        except (OSError, ValueError, KeyError, TypeError):
            members, how = (), {}
        path = note.with_suffix(".pt")
        done = {cell for cell in members if runs.finished(cell.folder)}
        if not path.is_file() or (members and len(done) == len(members)):
            path.unlink(missing_ok=True)
            note.unlink(missing_ok=True)
        elif not wanted.isdisjoint(members) and wanted.union(done).issuperset(members):
            found.append({"cells": members, "checkpoint": path, **how})
    return found


# --------------------------------------------------------------------------------------------- processes


def in_processes(works: Sequence[Work], processes: int) -> list[str]:
    """``packs.train`` for each pack, one pack a process; each gets its share of the threads."""
    processes = min(processes, len(works))
    share = max(1, torch.get_num_threads() // processes)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=stay_with, initargs=(os.getpid(),)) as pool:
        try:
            with shadowing.OwnFolderHidden(), ctrl_c_held_back(resource_tracker):
                waiting = [pool.submit(train_here, work, share) for work in works]
                # The pool looks out for processes that die from the moment it is woken behind their start.
                pool.submit(int)
            return [line for one in waiting for line in one.result()]
        except BrokenProcessPool:
            raise InputError("a training process was killed (by the system for want of memory, or by hand); expected all of "
                             "them to live: what was finished is kept, and the same command goes on; --jobs 1 takes "
                             "less memory") from None  # fmt: skip
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # they end their step and keep it
                for child in multiprocessing.active_children():
                    child.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def stay_with(parent: int) -> None:
    """End this process when ``parent`` is gone: two of them on one checkpoint would harm each other."""
    signals.seen_by_child()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def train_here(work: Work, threads: int) -> list[str]:
    """``packs.train`` in a process of its own, one pack at a time: a dask worker may have several threads."""
    from pipeline.engine.missing import say

    with ALONE:
        if signals.received:  # a pack that was handed over before its process was asked to stop
            raise KeyboardInterrupt
        return packs.train(dataclasses.replace(work, threads=threads), say)


# ----------------------------------------------------------------------------------------------- cluster


def in_cluster(cells: Sequence[Cell], make: Callable[..., Work], checkpoints: Path, pack: int | None, layout: str | None,
               device: str, jobs: int, scheduler: str | None, say: Callable[[str], None]) -> list[str]:  # fmt: skip
    """``train_all`` on dask workers: the one that answers first measures, then each takes packs as it gets free.

    A worker that is lost is replaced by dask itself. On this machine alone there is a worker a core, or one for its GPU.
    """
    one_gpu = scheduler is None and device != "cpu" and torch.cuda.is_available()
    files = make.keywords["features"]  # type: ignore[attr-defined]
    paths = [files.path] if isinstance(files, Archive) else files
    with cluster.connected(1 if one_gpu else jobs or -1, scheduler, paths) as workers:
        place = workers.one(chosen_device, device)
        count = len(workers.workers())
        works = workers.one(
            planned, cells, partial(make, device=place), checkpoints, pack, layout, count, print
        )
        say(f"{len(works)} packs on {count} dask workers, device {place}")
        # A pack a worker, for a worker trains one at a time.
        return sorted(
            line for lines in workers.results(train_here, ((w, 0) for w in works), len) for line in lines
        )
