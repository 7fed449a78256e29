"""How long trainings will take, by what finished runs took."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import label_sets, runs
from pipeline.plurals import many
from pipeline.processes import cores
from pipeline.runs import Record
from pipeline.runs.planned import PlannedRun

#: Runs of a network whose times are looked at, the last ones by path.
MEASURED = 50


def planned_epochs(planned: Sequence[PlannedRun]) -> dict[str, int]:
    """Network → epochs of all its runs."""
    epochs: dict[str, int] = {}
    for run in planned:
        epochs[run.network.model] = epochs.get(run.network.model, 0) + run.network.epochs
    return epochs


@dataclass(frozen=True)
class Rate:
    """Seconds of an epoch of a run."""

    shared: float
    """Where all processes are at work: its share of the time that goes by."""
    alone: float
    """Where it is the last one."""


def time_of(
    epochs: Mapping[str, int], root: Path, corpus: str = "", levels: Iterable[Sequence[PlannedRun]] = ()
) -> str:
    """How long that takes, by what finished runs took, first of all those of the same corpus; or that nothing was measured.

    ``levels``: the runs whose epochs these are, where it is known which wait for which.
    """
    if not epochs:
        return "Time: none; all is finished."
    with label_sets.commanded(""):  # of any kind of clips: their times alone are read
        records = runs.find(root) if root.is_dir() else []
    own = rates_of(record for record in records if record.corpus == corpus)
    rates = {**rates_of(records), **own}
    if unknown := sorted(epochs.keys() - rates.keys()):
        return f"Time: not known; no finished run of {', '.join(unknown)} in {root} to go by."
    seconds = [of_level(level, rates) for level in levels]
    minutes = (sum(seconds) if seconds else sum(rates[model].shared * count for model, count in epochs.items())) / 60
    where = "of this corpus" if epochs.keys() <= own.keys() else "of whatever corpus and machine"
    return f"Time: about {many(max(1, round(minutes)), 'minute')}, as finished runs in {root} took, {where}."


def of_level(planned: Sequence[PlannedRun], rates: Mapping[str, Rate]) -> float:
    """Seconds of runs that none of them waits for: all processes share them, but no run is shared, and where they are fewer than
    processes, or do not divide, some processes wait."""
    shared, longest = 0.0, 0.0
    for (model, epochs), count in Counter((run.network.model, run.network.epochs) for run in planned).items():
        rate = rates[model]
        at_once = max(1, round(rate.alone / rate.shared))
        shared += rate.shared * epochs * count
        longest = max(longest, rate.alone * epochs * -(-count // at_once))
    return max(shared, longest)


def rates_of(records: Iterable[Record]) -> dict[str, Rate]:
    """Network → what an epoch of a run takes, the medians of its last runs."""
    each: dict[str, list[Rate]] = {}
    for record in records:
        if rate := rate_of(record):
            each.setdefault(record.model, []).append(rate)
    return {
        model: Rate(*(statistics.median(getattr(one, how) for one in rates[-MEASURED:]) for how in ("shared", "alone")))
        for model, rates in each.items()
    }


def rate_of(record: Record) -> Rate | None:
    """Of one run: its pack's seconds, shared among its runs, of which a pack trains as many at once as it has threads, and among
    the packs that were trained beside it."""
    result = record.result
    if not result.seconds or not result.runs_in_pack or not result.epochs:
        return None
    each = result.seconds / result.runs_in_pack / result.epochs
    threads = (record.pack.threads if record.pack.device == "cpu" else None) or 1
    # Torch's threads are on record, and it knows of no container.
    at_once = min(threads, cores.of_torch(), result.runs_in_pack)
    return Rate(each / processes(record), each * at_once)


def processes(record: Record) -> int:
    """How many were at work where a run was trained on a CPU: each has its share of the threads that a command has here."""
    threads = record.pack.threads if record.pack.device == "cpu" else None
    return max(1, cores.of_torch() // threads) if threads else 1
