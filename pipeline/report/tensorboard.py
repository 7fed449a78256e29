"""A log for TensorBoard of the ``metrics.jsonl`` that runs write: scalars of every epoch, and the confusion matrix at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import runs
from pipeline.config import InputError
from pipeline.extras import install_line
from pipeline.figures import evaluation

#: How often a log looks at the runs that are trained meanwhile.
LOG_SECONDS = 3.0


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
        several = predictions.labels.ndim == 2  # of these no class is taken for another
        if several or not len(predictions.labels) or not np.isfinite(predictions.logits).all():  # a run that failed
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


def hidden(path: Path, place: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(place).parts)


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
        name: record.get(name) for name in ("loss", "train_accuracy", "accuracy", "map", "test_loss", "lr", "seconds")
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
