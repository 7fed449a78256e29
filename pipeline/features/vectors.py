"""The innermost steps of the fast path in numpy: there at once. ``loops`` has the same, compiled; see ``steps``."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def framed(y: np.ndarray, hop: int, n_fft: int, count: int) -> np.ndarray:
    """(count, n_fft), a view: ``y`` between zeros, row t centred on sample t · hop."""
    half = n_fft // 2
    padded = np.zeros(max((count - 1) * hop + n_fft, half + len(y)), y.dtype)
    padded[half : half + len(y)] = y
    return sliding_window_view(padded, n_fft)[: (count - 1) * hop + 1 : hop]


def gather_chosen(y: np.ndarray, hop: int, wanted: np.ndarray, out: np.ndarray) -> None:
    """Row k of ``out`` (frame, n_fft): ``y`` between zeros, centred on sample wanted[k] · hop."""
    out[...] = framed(y, hop, out.shape[1], int(wanted.max(initial=0)) + 1)[wanted]


def gather_frames(y: np.ndarray, hop: int, out: np.ndarray) -> None:
    """All frames from the first on."""
    out[...] = framed(y, hop, out.shape[1], len(out))


def gather_windowed(y: np.ndarray, hop: int, window: np.ndarray, out: np.ndarray) -> None:
    """As ``gather_frames``, every frame times ``window``."""
    np.multiply(framed(y, hop, out.shape[1], len(out)), window, out=out)


def sounding(y: np.ndarray) -> tuple[int, int]:
    """First sample other than 0, and one past the last; equal where there is none."""
    places = np.flatnonzero(y)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (len(y), len(y))


def divided(y: np.ndarray, by: float) -> np.ndarray:
    """``y / by`` in float64, rounded once to float32, as numpy divides in place."""
    return np.divide(y, by, dtype=np.float64).astype(np.float32)


def add_magnitudes(total: np.ndarray, start: int, parts: np.ndarray) -> None:
    """total[:, start:] += |parts|; ``parts``: (frame, 2 · filters), real parts and then imaginary parts."""
    filters = parts.shape[1] // 2
    sizes = np.abs(parts)
    largest = np.maximum(sizes[:, :filters], sizes[:, filters:])
    sizes *= sizes
    squares = sizes[:, :filters] + sizes[:, filters:]
    # The largest part keeps what is so small that its square is 0.
    total[:, start : start + filters] += np.maximum(np.sqrt(squares, out=squares), largest, out=largest)


def add_peaks(total: np.ndarray, y: np.ndarray, hop: int, n_fft: int) -> None:
    """total[t] += the largest |y| in the window of frame t: n_fft samples (or up to a hop more at either end) around t · hop."""
    count = -(-len(y) // hop)
    padded = np.zeros(count * hop, np.float32)
    np.abs(y, out=padded[: len(y)])
    reach = -(-(n_fft // 2) // hop)
    blocks = np.zeros(max(len(total), count) + 2 * reach, np.float32)
    blocks[reach : reach + count] = padded.reshape(count, hop).max(axis=1, initial=0)
    total += sliding_window_view(blocks, 2 * reach)[: len(total)].max(axis=1)


def candidates(power: np.ndarray, floors: np.ndarray, low: int, high: int) -> np.ndarray:
    """Positions (flat) of bins at or above both neighbours and their frame's floor."""
    before, here, after = power[:, low - 1 : high - 1], power[:, low:high], power[:, low + 1 : high + 1]
    mask = here >= floors[:, np.newaxis]
    mask &= here >= before
    mask &= here >= after
    frames, bins = np.nonzero(mask)
    return (frames * power.shape[1] + low + bins).astype(np.int32)


def peaks(spectrum: np.ndarray, floors: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bin, shift (fraction of a bin) and height of the peaks among ``places``, parabolically interpolated.

    As ``librosa.piptrack``, operation for operation: the parabola in float64, the rest in float32.
    """
    flat = spectrum.ravel()
    before, here, after = flat[places - 1], flat[places], flat[places + 1]
    frames, bins = np.divmod(places, np.int32(spectrum.shape[1]))
    true = (here > floors[frames]) & (here > before) & (here >= after)
    before, here, after = before[true], here[true], after[true]
    curvature = (after + before).astype(np.float64) - 2.0 * here.astype(np.float64)
    slope = (after - before).astype(np.float64) / 2.0
    shifts = np.zeros(len(here), np.float32)
    np.divide(-slope, curvature, out=shifts, where=np.abs(slope) < np.abs(curvature), casting="same_kind")
    average = (after - before) / np.float32(2.0)
    return bins[true], shifts, here + np.float32(0.5) * average * shifts


def frequencies(
    where: np.ndarray, shifts: np.ndarray, heights: np.ndarray, least: float, sr: float, n_fft: int
) -> np.ndarray:
    """Frequencies (Hz, float32) of the peaks of height ``least`` or more."""
    high = heights >= np.float64(least)
    return ((where[high] + shifts[high].astype(np.float64)) * sr / n_fft).astype(np.float32)


def mode(places: np.ndarray, edges: np.ndarray) -> int:
    """The fullest bin of a histogram of distances to the nearest whole number, the first of equals.

    ``numpy.histogram``'s counts to the last one: bins are half open, but the last one is closed.
    """
    residual = places - np.floor(places)
    residual[residual >= np.float32(0.5)] -= np.float32(1.0)
    last = len(edges) - 2
    bins = np.searchsorted(edges, residual.astype(np.float64), side="right") - 1
    return int(np.bincount(np.clip(bins, 0, last), minlength=last + 1).argmax())
