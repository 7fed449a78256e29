"""Following runs by the ``metrics.jsonl`` they write: one line for people, and a log for TensorBoard.

Nothing here talks to the processes that train, so a run can be followed from any machine that sees its files.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import runs
from pipeline.config import InputError
from pipeline.extras import install_line
from pipeline.figures import evaluation

#: How many of the last epochs say how long one takes.
RECENT = 5

#: A run whose last line is older than so many of its epochs (and a minute) may have been stopped.
STALE_EPOCHS, STALE_SECONDS = 10, 60.0

#: Between two packs there is a moment without any unfinished run.
GRACE_SECONDS = 15.0

#: How often a log looks at the runs that are trained meanwhile.
LOG_SECONDS = 3.0


@dataclass(frozen=True)
class Seen:
    """One run under way, as its files say."""

    folder: Path
    epoch: int
    epochs: int
    accuracy: float | None
    """Of the last epoch, in [0, 1]."""
    left: float | None
    """Seconds, by the median of the last epochs; None before the first epoch's end."""
    age: float
    """Seconds since its last line."""
    synthetic: bool

    @property
    def stale(self) -> bool:
        per_epoch = (self.left or 0) / max(1, self.epochs - self.epoch)
        return self.epoch > 0 and self.age > max(STALE_SECONDS, STALE_EPOCHS * per_epoch)


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


def hidden(path: Path, place: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(place).parts)


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
        last.get("accuracy"),
        statistics.median(took) * (epochs - epoch) if took else None,
        max(0.0, time.time() - written),
        record.synthetic,
    )


def line(unfinished: Sequence[Path], finished: int = 0) -> str:
    """The state of a pack or of several in one line."""
    states = [state for folder in unfinished if (state := seen(folder))]
    ended = f"; {finished} finished" if finished else ""
    if not states:
        return f"no run under way{ended}"
    stamp = "SYNTHETIC " if any(state.synthetic for state in states) else ""
    low, high = min(s.epoch for s in states), max(s.epoch for s in states)
    epochs = max(s.epochs for s in states)
    parts = [
        f"{stamp}{len(states)} run{'s' * (len(states) > 1)}",
        f"epoch {low}{f'–{high}' if high > low else ''} of {epochs}",
    ]
    alive = [s for s in states if not s.stale]
    lefts = [s.left for s in alive if s.left is not None]
    if any(lefts):
        parts.append(f"{duration(max(lefts))} left")
    if len(alive) < len(states):
        oldest = max(s.age for s in states)
        parts.append(f"{len(states) - len(alive)} silent for {duration(oldest)}: stopped? The same command goes on")
    known = [s for s in states if s.accuracy is not None]
    if known:
        accuracies = [100 * float(s.accuracy or 0) for s in known]
        worst = min(known, key=lambda s: float(s.accuracy or 0))
        several = len({s.folder.parent for s in states}) > 1  # for example mixes whose runs have the same names
        name = "/".join(worst.folder.parts[-2:] if several else worst.folder.parts[-1:])
        of = f", worst {min(accuracies):.1f} % ({name})" if len(known) > 1 else ""
        parts.append(f"accuracy {'mean ' * (len(known) > 1)}{statistics.mean(accuracies):.1f} %{of}")
    return ", ".join(parts) + ended


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def follow(
    look: Callable[[], tuple[list[Path], list[Path]]],
    show: Callable[[str], None],
    *,
    every: float,
    log: TensorBoardLog | None = None,
    grace: float = GRACE_SECONDS,
) -> None:
    """Show the line whenever it changes, until nothing has been under way for ``grace`` seconds."""
    shown, idle_since = "", time.monotonic()
    while True:
        unfinished, finished = look()
        if log is not None:
            log.write([*unfinished, *finished])
        text = line(unfinished, len(finished))
        if text != shown:
            show(text)
            shown = text
        if unfinished:
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since >= grace:
            return
        time.sleep(every)


@dataclass
class TensorBoardLog:
    """A log folder with one run of TensorBoard's for each of ours; each epoch is written once."""

    folder: Path
    root: Path
    """What the names of runs are relative to."""
    epochs: dict[Path, int] = field(default_factory=dict)
    """Run → last epoch that was written."""
    ended: set[Path] = field(default_factory=set)
    writers: dict[Path, Any] = field(default_factory=dict)

    def write(self, folders: Sequence[Path]) -> None:
        """What is new in the runs' files: scalars of every term, and of finished runs the confusion matrix."""
        for folder in folders:
            done = self.epochs.get(folder, 0)
            fresh = [] if folder in self.ended else [r for r in runs.read_metrics(folder) if r["epoch"] > done]
            for record in fresh:
                for tag, value in scalars(record).items():
                    self.writer(folder).add_scalar(tag, value, record["epoch"])
                self.epochs[folder] = record["epoch"]
            if runs.finished(folder) and folder not in self.ended:
                self.matrix(folder)
                self.ended.add(folder)
                self.writer(folder).close()
                del self.writers[folder]
            elif fresh:
                self.writer(folder).flush()

    def matrix(self, folder: Path) -> None:
        predictions, classes = runs.read_predictions(folder), runs.read(folder).classes
        if not len(predictions.labels) or not np.isfinite(predictions.logits).all():  # a run that failed
            return
        counts = evaluation.confusion(predictions.logits, predictions.labels)
        step = self.epochs.get(folder, 0)
        self.writer(folder).add_image("confusion", picture(counts), step, dataformats="HWC")
        self.writer(folder).add_text("confusion", matrix_text(counts, classes), step)

    def writer(self, folder: Path) -> Any:
        if folder not in self.writers:
            absolute = folder.resolve()
            root = self.root.resolve()
            place = self.folder / (absolute.relative_to(root) if absolute.is_relative_to(root) else absolute.name)
            for old in place.glob("events.out.tfevents.*"):  # of an earlier log: its epochs would stand there twice
                old.unlink()
            self.writers[folder] = summary_writer()(log_dir=str(place))
        return self.writers[folder]


def summary_writer() -> Any:
    """torch's writer of TensorBoard's files; ``InputError`` where the extra is not installed."""
    try:
        import PIL.Image  # noqa: F401 (draws the confusion matrix)
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        lacking = "pillow" if "PIL" in str(error) else "tensorboard"
        raise InputError(
            f"--log tensorboard: the package {lacking} is not installed; install it: {install_line('tensorboard')}"
        ) from None
    return SummaryWriter


@contextmanager
def logging(log: TensorBoardLog, below: Path, *, every: float = LOG_SECONDS) -> Iterator[None]:
    """While the block runs, and once more at its end, the log gets what the runs in ``below`` write meanwhile.

    By their files alone, so whichever process or machine trains them knows nothing of it. Runs that nobody writes to
    meanwhile are left out.
    """
    before = {folder: state(folder) for folder in all_runs(below)}
    over = threading.Event()

    def look() -> None:
        log.write([folder for folder in all_runs(below) if state(folder) != before.get(folder)])

    def watch() -> None:
        while not over.wait(every):
            with suppress(InputError, OSError):  # of a file that is just being replaced; the last look tells
                look()

    watcher = threading.Thread(target=watch, name="log", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        look()


def all_runs(root: Path) -> list[Path]:
    """The folders of runs below ``root``, under way or finished."""
    finished = [path.parent for path in sorted(root.rglob("result.json")) if not hidden(path, root)]
    return [*runs.unfinished(root), *finished]


def state(folder: Path) -> tuple[int, int] | None:
    """Another one whenever a run's epochs were written; None before the first."""
    try:
        stat = (folder / "metrics.jsonl").stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """Tag → value of one epoch: raw and weighted value of every term, and the totals; what is null is left out."""
    values_by_tag = {
        name: record.get(name) for name in ("loss", "train_accuracy", "accuracy", "test_loss", "lr", "seconds")
    }
    for term, values in record.get("terms", {}).items():
        values_by_tag |= {
            f"{kind}/{term.replace('@', '_').replace('=', '-')}": values[kind] for kind in ("raw", "weighted")
        }
    return {tag: float(value) for tag, value in values_by_tag.items() if value is not None}


def picture(counts: np.ndarray, side: int = 24) -> np.ndarray:
    """(classes · side, classes · side, 3) uint8: share of the label's clips, white 0 to dark blue 1; rows labels."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = 255 - share[..., None] * (255 - np.array([8, 48, 107]))
    return np.asarray(cells.round().astype(np.uint8).repeat(side, 0).repeat(side, 1))


def matrix_text(counts: np.ndarray, classes: Sequence[str]) -> str:
    """The same as Markdown: a row per label, a column per predicted class."""
    head = ["label ↓, predicted →", *classes]
    rows = [[name, *map(str, row)] for name, row in zip(classes, counts.tolist(), strict=True)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])
