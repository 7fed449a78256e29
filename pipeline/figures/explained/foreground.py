"""What is sound and what is background in a clip: our own definition, for a sound comes without a segmentation.

A bin's noise floor is the 10th percentile of its real frames. A cell is foreground where it is some dB above its floor, and not too far
below the clip's loudest cell. What only fills up a short clip is neither. A stationary sound has next to no foreground by this: the
method speaks of events.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.config import FeatureSpec

#: dB above the floor of its bin from which a cell is foreground; and those that the figures are repeated with.
MARGIN, MARGINS = 10.0, (6.0, 10.0, 15.0)

#: dB below the clip's loudest cell, beyond which nothing is foreground.
RANGE = 40.0

#: Percentile of a bin's real frames that is its floor.
FLOOR = 10.0

#: A clip with a smaller share of foreground among its real cells is left out: it has no event.
LEAST = 0.02

#: Frames of a block; a block is one bin high.
BLOCK = 8


def real_frames(mel: np.ndarray, spec: FeatureSpec, seconds: float | None) -> int:
    """How many frames of a mel plane (bins, frames), in dB, are of the sound: those behind only fill the clip up.

    ``seconds``: the annotated length, None where nothing says. What was filled with zeros lies at the plane's smallest value in all
    bins. At least 1; all frames of a clip that is filled up with itself (``spec.short`` = "loop").
    """
    frames = mel.shape[1]
    if spec.short == "loop":
        return frames
    sounding = np.flatnonzero((mel > mel.min()).any(0))
    real = int(sounding[-1]) + 1 if len(sounding) else 1
    if seconds:
        real = min(real, math.ceil(seconds * spec.sr / spec.hop_length))
    return max(1, min(real, frames))


def foreground(mel: np.ndarray, real: int, margin: float = MARGIN) -> np.ndarray:
    """(bins, frames) bool: which cells of a mel plane in dB are foreground. ``real``: frames of the sound; none behind is."""
    sound = mel[:, :real].astype(np.float64)
    floor = np.percentile(sound, FLOOR, axis=1, keepdims=True)
    cells = np.zeros(mel.shape, dtype=bool)
    cells[:, :real] = (sound >= floor + margin) & (sound >= sound.max() - RANGE)
    return cells


def share(mel: np.ndarray, real: int, margin: float = MARGIN) -> float:
    """Of the real cells, how many are foreground, in [0, 1]."""
    return float(foreground(mel, real, margin)[:, :real].mean())


def blocks(cells: np.ndarray, real: int, block: int = BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """Of cells (bins, frames): which blocks (bins, ⌈frames / block⌉) are foreground, and which count.

    A block is foreground where more than half of its real cells are; it counts where it has a real cell.
    """
    bins, frames = cells.shape
    count = -(-frames // block)
    padded = np.zeros((bins, count * block))
    padded[:, :real] = cells[:, :real]
    lengths = np.clip(real - block * np.arange(count), 0, block)
    return padded.reshape(bins, count, block).sum(2) > lengths / 2, np.broadcast_to(lengths > 0, (bins, count))
