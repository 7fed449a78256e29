"""How long trainings will take, by what finished runs took."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline import label_sets, runs
from pipeline.plurals import many
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


def time_of(epochs: Mapping[str, int], root: Path, corpus: str = "") -> str:
    """How long that takes, by what finished runs took, first of all those of the same corpus; or that nothing was measured."""
    if not epochs:
        return "Time: none; all is finished."
    with label_sets.commanded(""):  # of any kind of clips: their times alone are read
        records = runs.find(root) if root.is_dir() else []
    own = rates_of(record for record in records if record.corpus == corpus)
    rates = {**rates_of(records), **own}
    if unknown := sorted(epochs.keys() - rates.keys()):
        return f"Time: not known; no finished run of {', '.join(unknown)} in {root} to go by."
    minutes = sum(rates[model] * count for model, count in epochs.items()) / 60
    where = "of this corpus" if epochs.keys() <= own.keys() else "of whatever corpus and machine"
    return f"Time: about {many(max(1, round(minutes)), 'minute')}, as finished runs in {root} took, {where}."


def rates_of(records: Iterable[Record]) -> dict[str, float]:
    """Network → seconds that an epoch of a run takes, the median of its last runs."""
    each: dict[str, list[float]] = {}
    for record in records:
        if rate := rate_of(record):
            each.setdefault(record.model, []).append(rate)
    return {model: statistics.median(rates[-MEASURED:]) for model, rates in each.items()}


def rate_of(record: Record) -> float | None:
    """Seconds of an epoch of one run: its pack's, shared among its runs, and among the packs that were trained beside it."""
    result = record.result
    if not result.seconds or not result.runs_in_pack or not result.epochs:
        return None
    return result.seconds / result.runs_in_pack / result.epochs / processes(record)


def processes(record: Record) -> int:
    """How many were at work where a run was trained on a CPU: each has its share of the threads that a command has here."""
    import torch  # what finds no run does without

    threads = record.pack.threads if record.pack.device == "cpu" else None
    return max(1, torch.get_num_threads() // threads) if threads else 1
