"""Following runs by the ``metrics.jsonl`` they write: a line, and one per mix, for people; ``tensorboard`` has a log of the same.

Nothing here talks to the processes that train, so a run can be followed from any machine that sees its files.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import models, runs
from pipeline.config import InputError
from pipeline.engine.epochs import figures
from pipeline.plurals import many
from pipeline.report.tensorboard import TensorBoardLog, hidden
from pipeline.report.told import Told
from pipeline.runs.lost import is_trained

#: How many of the last epochs say how long one takes.
RECENT = 5

#: A run whose last line is older than so many of its epochs (and a minute) may have been stopped; before its first epoch, one
#: that nobody trains any more.
STALE_EPOCHS, STALE_SECONDS = 10, 60.0

#: Between two packs there is a moment without any unfinished run.
GRACE_SECONDS = 15.0


@dataclass(frozen=True)
class Seen:
    """One run under way, as its files say."""

    folder: Path
    epoch: int
    epochs: int
    accuracy: float | None
    """Of the last epoch, in [0, 1]; where clips have several labels the mean average precision (``several``)."""
    left: float | None
    """Seconds, by the median of the last epochs; None before the first epoch's end."""
    age: float
    """Seconds since its last line."""
    synthetic: bool
    trained: bool = True
    """Whether a process has what lies around it locked."""
    about: str = ""
    """Its mix, or its role where it learns from labels alone."""
    last: dict[str, Any] | None = None
    """What it wrote of its last epoch."""
    several: bool = False
    """Whether its clips have several labels each."""
    trusted: bool = False
    """Whether a user vouched for a teacher that does not say what it was trained on."""

    @property
    def stale(self) -> bool:
        if not self.epoch:
            return self.age > STALE_SECONDS and not self.trained
        per_epoch = (self.left or 0) / max(1, self.epochs - self.epoch)
        return self.age > max(STALE_SECONDS, STALE_EPOCHS * per_epoch)


def wanted(paths: Sequence[Path], root: Path) -> tuple[list[Path], list[Path]]:
    """The unfinished and the finished run folders in ``paths``, or in ``root`` where none are named."""
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path}: no such folder; expected a run, or a folder of runs such as runs/CORPUS")
    unfinished, finished = [], []
    for place in paths or [root]:
        unfinished += runs.unfinished(place)
        finished += [path.parent for path in sorted(place.rglob("result.json")) if not hidden(path, place)]
        if paths and not unfinished and not finished:
            raise InputError(f"{place}: no run in it; expected folders such as fold1-seed0")
    return list(dict.fromkeys(unfinished)), list(dict.fromkeys(finished))


def seen(folder: Path) -> Seen | None:
    """An unfinished run; None for a folder whose run has not written its record yet."""
    if not (folder / "config.json").is_file():
        return None
    record, lines = runs.read(folder), runs.read_metrics(folder)
    epochs, last = record.trained_by.epochs, lines[-1] if lines else {}
    epoch = int(last.get("epoch", 0))
    took = [float(line["seconds"]) for line in lines[-RECENT:]]
    written = (folder / ("metrics.jsonl" if lines else "config.json")).stat().st_mtime
    return Seen(
        folder,
        epoch,
        epochs,
        None if models.width_of(record.model) else last.get("map" if record.several_labels else "accuracy"),
        statistics.median(took) * (epochs - epoch) if took else None,
        max(0.0, time.time() - written),
        record.synthetic,
        is_trained(folder),
        record.mix_text or record.role,
        last or None,
        record.several_labels,
        record.trusted,
    )


def line(unfinished: Sequence[Path], finished: int = 0) -> Told:
    """The state of a pack or of several in one line, and below it one per mix."""
    return told([state for folder in unfinished if (state := seen(folder))], finished)


def as_data(state: Seen) -> dict[str, object]:
    """One run under way, as ``--json`` has it."""
    about = {"folder": str(state.folder), "epoch": state.epoch, "epochs": state.epochs}
    about["map" if state.several else "accuracy"] = state.accuracy
    said = {"silent": state.stale, "synthetic": state.synthetic, "trusted": state.trusted}
    return {**about, "seconds_left": state.left, **said}


def told(states: Sequence[Seen], finished: int) -> Told:
    """``line`` of what was seen. Mixes are not averaged: their losses do not compare, and neither are their accuracies alike."""
    ended = f"; {finished} finished" if finished else ""
    data = {"runs": [as_data(state) for state in states], "finished": finished}
    if not states:
        return Told(f"no run under way{ended}", data)
    stamp = "SYNTHETIC " if any(state.synthetic for state in states) else ""
    low, high = min(s.epoch for s in states), max(s.epoch for s in states)
    epochs = max(s.epochs for s in states)
    parts = [
        f"{stamp}{many(len(states), 'run')}",
        f"epoch {low}{f'–{high}' if high > low else ''} of {epochs}",
    ]
    alive = [s for s in states if not s.stale]
    lefts = [s.left for s in alive if s.left is not None]
    if any(lefts):
        parts.append(f"{duration(max(lefts))} left")
    if len(alive) < len(states):
        oldest = max(s.age for s in states if s.stale)
        parts.append(f"{len(states) - len(alive)} silent for {duration(oldest)}: stopped? The same command goes on")
    parts += accuracy([s for s in states if s.accuracy is not None])
    if trusted := sum(s.trusted for s in states):
        parts.append("trusted teacher" if trusted == len(states) else f"trusted teacher of {trusted}")
    return Told("\n".join([", ".join(parts) + ended, *mixes(states)]), data)


def accuracy(states: Sequence[Seen]) -> list[str]:
    """The mean, of runs of one mix, and the worst of several; nothing where none is known."""
    if not states:
        return []
    accuracies = [100 * float(s.accuracy or 0) for s in states]
    worst = min(states, key=lambda s: float(s.accuracy or 0))
    spread = len({s.folder.parent for s in states}) > 1  # for example mixes whose runs have the same names
    name = "/".join(worst.folder.parts[-2:] if spread else worst.folder.parts[-1:])
    named = (
        "mAP" if all(s.several for s in states) else "accuracy or mAP" if any(s.several for s in states) else "accuracy"
    )
    if len(states) == 1:
        return [f"{named} {accuracies[0]:.1f} %"]
    of_one = len({s.about for s in states}) == 1
    mean = f"{named} mean {statistics.mean(accuracies):.1f} %, " if of_one else f"{named} "
    return [f"{mean}worst {min(accuracies):.1f} % ({name})"]


def mixes(states: Sequence[Seen]) -> list[str]:
    """A line per mix with the figures that training says of an epoch: of the last one of each of its runs."""
    by_mix: dict[str, list[dict[str, Any]]] = {}
    for state in states:
        if state.last and "terms" in state.last:
            by_mix.setdefault(state.about, []).append(state.last)
    return [f"  {about}  {many(len(lines), 'run')}  {figures(lines)}" for about, lines in by_mix.items()]


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def follow(
    look: Callable[[], tuple[list[Path], list[Path]]],
    show: Callable[[Told], None],
    *,
    every: float,
    log: TensorBoardLog | None = None,
    grace: float = GRACE_SECONDS,
) -> None:
    """Show the line whenever it changes, until nothing has been under way for ``grace`` seconds: runs that were stopped are not."""
    shown, idle_since = "", time.monotonic()
    while True:
        unfinished, finished = look()
        if log is not None:
            log.write([*unfinished, *finished])
        states = [state for folder in unfinished if (state := seen(folder))]
        text = told(states, len(finished))
        if text != shown:
            show(text)
            shown = text
        if not all(state.stale for state in states):
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since >= grace:
            return
        time.sleep(every)
