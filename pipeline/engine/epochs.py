"""What a pack says and keeps of every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from pipeline import models, runs
from pipeline.config import InputError
from pipeline.engine.whole import Whole
from pipeline.plurals import many
from pipeline.runs.planned import PlannedRun

#: Epochs that are shorter are not all told, so that a log can be read: of each so many seconds the last.
SECONDS_A_LINE = 0.5


class EpochLog:
    """Keeps ``metrics.jsonl`` of every run, and says of an epoch a line per mix, below one that says whom it is about.

    ``whole``: all that the command trains, for how far it is and how long it will take.
    """

    def __init__(self, planned: Sequence[PlannedRun], say: Callable[[str], None], whole: Whole | None = None) -> None:
        self.runs, self.say, self.whole = planned, say, whole
        self.seen: set[int] = set()
        self.records: list[tuple[PlannedRun, dict[str, Any]]] = []
        self.times: list[tuple[int, float]] = []
        self.told = 0.0

    def begin(self) -> None:
        """A line within the first epoch."""
        mixes = ", ".join(dict.fromkeys(str(run.mix) for run in self.runs))
        epochs = self.runs[0].network.epochs
        self.say(f"  {about(self.runs)}: {mixes}; training, {many(epochs, 'epoch')}{self.far()}")

    def keep(self, index: int, record: dict[str, Any]) -> None:
        folder, epoch = self.runs[index].folder, record["epoch"]
        if self.records and self.records[-1][1]["epoch"] != epoch:
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
        self.records.append((self.runs[index], record))

    def flush(self) -> None:
        """Say what the last epoch was; of very short ones some are passed over, but never the last."""
        if not self.records:
            return
        now, epoch, epochs = time.monotonic(), self.records[-1][1]["epoch"], self.runs[0].network.epochs
        self.times = [*self.times, (epoch, now)] if not self.times or self.times[-1][0] < epoch else []
        if now - self.told >= SECONDS_A_LINE or epoch == epochs:
            self.told = now
            for line in epoch_lines(self.records, left(self.times, epochs), self.far()):
                self.say(line)
        self.records = []

    def far(self) -> str:
        """How far the whole command is, behind a semicolon."""
        return f"; {told}" if self.whole and (told := self.whole.told()) else ""


def left(times: Sequence[tuple[int, float]], epochs: int) -> str:
    """Until the last of the ``epochs``, by (epoch, time) of those before; "" while nothing is known."""
    if len(times) < 2 or times[-1][0] >= epochs:
        return ""
    pace = (times[-1][1] - times[0][1]) / (times[-1][0] - times[0][0])
    seconds = int(pace * (epochs - times[-1][0]))
    return f"  {seconds // 60}:{seconds % 60:02d} left"


def about(planned: Sequence[PlannedRun]) -> str:
    """Which network, how many runs, and of which folds and seeds."""
    folds, seeds = (sorted({getattr(run, name) for run in planned}) for name in ("fold", "seed"))
    return (
        f"{planned[0].network.model}  {many(len(planned), 'run')}  {counted('fold', folds)}  {counted('seed', seeds)}"
    )


def counted(noun: str, numbers: Sequence[int]) -> str:
    """ "fold 3", "folds 1 2 5", "folds 1-10" where all between are there."""
    whole = len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{noun}{'s' * (len(numbers) > 1)} " + (
        f"{numbers[0]}-{numbers[-1]}" if whole else " ".join(map(str, numbers))
    )


def epoch_lines(records: Sequence[tuple[PlannedRun, dict[str, Any]]], remaining: str, far: str = "") -> list[str]:
    """Whom an epoch is about, and for each mix its accuracy, and its loss as the sum of its terms: means over the runs of that mix
    alone, since losses of different mixes do not compare. A single mix stands in the first line."""
    by_mix: dict[str, list[dict[str, Any]]] = {}
    for run, record in records:
        by_mix.setdefault(str(run.mix), []).append(record)
    planned = [run for run, _ in records]
    head = f"  {about(planned)}  epoch {records[-1][1]['epoch']}/{planned[0].network.epochs}"
    names_classes = not models.width_of(planned[0].network.model)  # of a space outputs are zeros
    each = [f"{mix}  {figures(members, names_classes)}" for mix, members in by_mix.items()]
    if len(each) == 1:
        return [f"{head}  {each[0]}{remaining}{far}"]
    return [f"{head}{remaining}{far}", *(f"    {line}" for line in each)]


def figures(records: Sequence[dict[str, Any]], names_classes: bool = True) -> str:
    """Accuracy, the worst of several (of networks that name classes), and loss = its terms, weighted and raw, of runs of one mix."""
    measure, score = ("mAP", "map") if "map" in records[0] else ("accuracy", "accuracy")
    scores = [record[score] for record in records]
    terms: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, term in record["terms"].items():
            terms.setdefault(name, []).append((term["raw"], term["weighted"]))
    parts = [
        f"{name} {np.mean([w for _, w in both]):.4g} (raw {np.mean([r for r, _ in both]):.4g})"
        for name, both in sorted(terms.items())
    ]
    worst = f" worst {min(scores):.3f}" if len(scores) > 1 else ""
    loss = np.mean([record["loss"] for record in records])
    tested = "" if np.isnan(scores).all() or not names_classes else f"{measure} {np.mean(scores):.3f}{worst}  "
    return f"{tested}loss {loss:.4g} = {' + '.join(parts)}"
