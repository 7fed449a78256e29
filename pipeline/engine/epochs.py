"""What a pack says and keeps of every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from pipeline import runs
from pipeline.config import InputError, TrainSettings
from pipeline.runs.planned import PlannedRun


class EpochLog:
    """Keeps ``metrics.jsonl`` of every run, and says one line per epoch for the whole pack."""

    def __init__(self, planned: Sequence[PlannedRun], say: Callable[[str], None]) -> None:
        self.runs, self.say = planned, say
        self.seen: set[int] = set()
        self.records: list[dict[str, Any]] = []
        self.times: list[tuple[int, float]] = []

    def keep(self, index: int, record: dict[str, Any]) -> None:
        folder, epoch = self.runs[index].folder, record["epoch"]
        if self.records and self.records[-1]["epoch"] != epoch:
            self.flush()
        if runs.finished(folder):
            return
        if index not in self.seen:
            # Lines past the checkpoint that this call goes on from would stand there twice.
            before: list[dict[str, Any]] = []
            with suppress(InputError):  # damaged lines: all of them are written anew when the run ends
                before = [old for old in runs.read_metrics(folder) if old["epoch"] < epoch]
            runs.restart_metrics(folder, before, self.runs[index].identity)
            self.seen.add(index)
        runs.append_metrics(folder, record, self.runs[index].identity)
        self.records.append(record)

    def flush(self) -> None:
        if self.records:
            epoch = self.records[-1]["epoch"]
            self.times = [*self.times, (epoch, time.monotonic())] if not self.times or self.times[-1][0] < epoch else []
            self.say(epoch_line(self.runs[0].network, self.records, self.times))
            self.records = []


def epoch_line(network: TrainSettings, records: list[dict[str, Any]], times: list[tuple[int, float]]) -> str:
    """Epoch, accuracies and the terms, raw and weighted, each a mean over the pack's runs; time left."""
    epoch = records[-1]["epoch"]
    accuracies = [record["accuracy"] for record in records]
    terms: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, term in record["terms"].items():
            terms.setdefault(name, []).append((term["raw"], term["weighted"]))
    parts = [
        f"{name} {np.mean([w for _, w in both]):.4g} (raw {np.mean([r for r, _ in both]):.4g})"
        for name, both in sorted(terms.items())
    ]
    left = ""
    if len(times) > 1:
        pace = (times[-1][1] - times[0][1]) / (times[-1][0] - times[0][0])
        seconds = int(pace * (network.epochs - epoch))
        left = f"  {seconds // 60}:{seconds % 60:02d} left"
    spread = f" worst {min(accuracies):.3f}" if len(accuracies) > 1 else ""
    many = f"  {len(records)} runs" if len(records) > 1 else ""
    return (
        f"  {network.model}{many}  epoch {epoch}/{network.epochs}  accuracy {np.mean(accuracies):.3f}{spread}"
        f"  loss {np.mean([record['loss'] for record in records]):.4g} = {' + '.join(parts)}{left}"
    )
