"""Which clips of a held-out fold are heard: some of each class, that have an event; the others are counted by class."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import cache, runs
from pipeline.config import InputError
from pipeline.figures.explained import foreground
from pipeline.report.explaining.listeners import PLANE
from pipeline.runs import Record
from pipeline.runs.held_out import require_held_out


@dataclass(frozen=True)
class Clips:
    """The clips that all networks of a fold hear, and where sound is in them."""

    fold: int
    names: tuple[str, ...]
    labels: tuple[str, ...]
    """The clips' classes."""
    values: np.ndarray
    """(clips, features, bins, frames) float32, clean."""
    plane: int
    """Which of the features is disturbed."""
    real: tuple[int, ...]
    """Frames that are of the sound."""
    fold_clips: int
    left_out: dict[str, tuple[int, int]]
    """Class → its clips without an event, and all of them; classes without any of the first are absent."""
    frame_seconds: float

    @property
    def mel(self) -> np.ndarray:
        """(clips, bins, frames) in dB."""
        return self.values[:, self.plane]

    @property
    def counting(self) -> np.ndarray:
        """(clips, bins, blocks): those that are more than padding."""
        return np.stack([foreground.blocks(np.zeros(m.shape, bool), r)[1] for m, r in zip(self.mel, self.real)])

    def foreground(self, margin: float) -> np.ndarray:
        """(clips, bins, blocks): which blocks are sound, from so many dB above the floor."""
        return np.stack(
            [foreground.blocks(foreground.foreground(m, r, margin), r)[0] for m, r in zip(self.mel, self.real)]
        )

    def shares(self, margin: float) -> np.ndarray:
        """(clips,) share of the real cells that are foreground."""
        return np.array([foreground.share(m, r, margin) for m, r in zip(self.mel, self.real)])


def chosen(record: Record, cache_root: Path, count: int, told: Collection[str] = ()) -> Clips:
    """``count`` clips of a run's held-out fold that have an event, class by class in turn, in the order of a hash of their names.
    ``told``: of these classes alone; (): of all.

    ``InputError`` where the features are gone, damaged or others than the run was tested on, and where no clip has an event.
    """
    require_held_out(record)
    spec = record.settings.features
    path = cache.fold_path(cache_root, record.corpus, spec, record.fold)
    fold = cache.read_fold(path, record.trained_by.features_in)
    header = fold.header
    if reason := runs.outdated(record, data={record.fold: header.digest}, folds=(record.fold,)):
        raise InputError(
            f"{record.folder} {reason}, as {path} has it; compute the old ones again, or train the run again"
        )
    plane = spec.names.index(PLANE)
    mel = fold.features[:, 0, plane]
    lengths = [part.seconds for part in header.windows or header.files]
    real = [foreground.real_frames(m, spec, seconds) for m, seconds in zip(mel, lengths)]
    events = np.array([foreground.share(m, r) >= foreground.LEAST for m, r in zip(mel, real)])
    classes = [header.classes[label] for label in header.labels]
    names = [name for name in header.classes if name in told or not told]
    rows = in_turn([i for i in range(len(mel)) if events[i] and classes[i] in names], classes, header.clips)[:count]
    if not rows:
        raise InputError(
            f"fold {record.fold} of {record.corpus}: no clip has an event, {foreground.MARGIN:g} dB above its noise floor in "
            f"{foreground.LEAST:.0%} of its cells; expected a fold with some: explain speaks of events"
        )
    left_out = {
        name: (sum(not e for e, c in zip(events, classes) if c == name), classes.count(name))
        for name in names
        if any(not e for e, c in zip(events, classes) if c == name)
    }
    return Clips(
        record.fold,
        tuple(header.clips[i] for i in rows),
        tuple(classes[i] for i in rows),
        np.ascontiguousarray(fold.features[rows, 0]),
        plane,
        tuple(real[i] for i in rows),
        sum(name in names for name in classes),
        left_out,
        spec.hop_length / spec.sr,
    )


def in_turn(rows: list[int], classes: list[str], names: tuple[str, ...]) -> list[int]:
    """The rows, one of each class after another, each class in the order of a hash of the clips' names."""
    by_class: dict[str, list[int]] = {}
    for row in sorted(rows, key=lambda row: hashlib.sha256(names[row].encode()).hexdigest()):
        by_class.setdefault(classes[row], []).append(row)
    queues = [by_class[name] for name in sorted(by_class)]
    return [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
