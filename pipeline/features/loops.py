"""The innermost steps of the fast path, compiled by numba: what ``vectors`` says of each, bit for bit, and sooner.

To load them takes a second: see ``steps``.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def gather_chosen(y: np.ndarray, hop: int, wanted: np.ndarray, out: np.ndarray) -> None:
    """Row k of ``out`` (frame, n_fft): ``y`` between zeros, centred on sample wanted[k] · hop."""
    n_fft = out.shape[1]
    for k in range(out.shape[0]):
        start = wanted[k] * hop - n_fft // 2
        low = min(max(-start, 0), n_fft)
        high = max(min(n_fft, len(y) - start), low)
        out[k, :low] = 0
        source, target = y[start + low : start + high], out[k, low:high]
        for i in range(len(target)):
            target[i] = source[i]
        out[k, high:] = 0


@njit(cache=True)
def windowed(sound: np.ndarray, hop: int, window: np.ndarray, out: np.ndarray) -> None:
    """Row t of ``out`` (frame, n_fft): the samples from t · hop on, times ``window``, in float64."""
    for t in range(out.shape[0]):
        source, target = sound[t * hop : t * hop + out.shape[1]], out[t]
        for i in range(len(target)):
            target[i] = source[i] * window[i]


@njit(cache=True)
def sounding(y: np.ndarray) -> tuple[int, int]:
    """First sample other than 0, and one past the last; equal where there is none."""
    first, last = 0, len(y)
    while first < last and y[first] == 0:
        first += 1
    while last > first and y[last - 1] == 0:
        last -= 1
    return first, last


@njit(cache=True)
def divided(y: np.ndarray, by: float) -> np.ndarray:
    """``y / by`` in float64, rounded once to float32, as numpy divides in place."""
    out = np.empty(len(y), np.float32)
    for i in range(len(y)):
        out[i] = y[i] / by
    return out


@njit(cache=True)
def add_magnitudes(total: np.ndarray, parts: np.ndarray) -> None:
    """total (frame, filter) += |parts|; ``parts`` (block, frame, 2 · width): see ``vectors``."""
    width = parts.shape[2] // 2
    for block in range(parts.shape[0]):
        start = block * width
        filters = min(width, total.shape[1] - start)
        for t in range(parts.shape[1]):
            sums = total[t, start : start + filters]
            reals, imaginaries = parts[block, t, :filters], parts[block, t, filters : 2 * filters]
            for i in range(filters):
                real, imaginary = abs(reals[i]), abs(imaginaries[i])
                # The largest part keeps what is so small that its square is 0.
                sums[i] += max(np.sqrt(real * real + imaginary * imaginary), max(real, imaginary))


@njit(cache=True)
def add_peaks(total: np.ndarray, y: np.ndarray, hop: int, n_fft: int) -> None:
    """total[t] += the largest |y| in the window of frame t: n_fft samples (or up to a hop more at either end) around t · hop."""
    # Without their signs, finite floats and their bits as whole numbers are in the same order, and only of these are maxima vectorised.
    bits, unsigned = y.view(np.int32), np.int32(0x7FFFFFFF)
    count = (len(y) + hop - 1) // hop
    blocks = np.zeros(count, np.int32)
    for b in range(count):
        largest = np.int32(0)
        for sample in bits[b * hop : (b + 1) * hop]:
            largest = max(largest, sample & unsigned)
        blocks[b] = largest
    reach = (n_fft // 2 + hop - 1) // hop
    peaks = np.zeros(len(total), np.int32)
    for t in range(len(total)):
        largest = np.int32(0)
        for block in blocks[min(max(t - reach, 0), count) : min(t + reach, count)]:
            largest = max(largest, block)
        peaks[t] = largest
    total += peaks.view(np.float32)


@njit(cache=True)
def candidates(power: np.ndarray, floors: np.ndarray, low: int, high: int) -> np.ndarray:
    """Positions (flat) of bins at or above both neighbours and their frame's floor, found without a branch."""
    frames, bins = power.shape
    width = high - low
    positions = np.empty(frames * width + 1, np.int32)
    mask = np.empty(width, np.uint8)
    count = 0
    for t in range(frames):
        floor = floors[t]
        # Slices: an index that may be negative would keep the loop from being vectorised.
        before, here, after = power[t, low - 1 : high - 1], power[t, low:high], power[t, low + 1 : high + 1]
        for i in range(width):
            mask[i] = (here[i] >= floor) & (here[i] >= before[i]) & (here[i] >= after[i])
        for i in range(width):
            positions[count] = t * bins + low + i
            count += mask[i]
    return positions[:count]


@njit(cache=True)
def peaks(spectrum: np.ndarray, floors: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bin, shift (fraction of a bin) and height of the peaks among ``places``, parabolically interpolated.

    As ``librosa.piptrack``, operation for operation: the parabola in float64, the rest in float32.
    """
    bins = spectrum.shape[1]
    flat = spectrum.ravel()
    where = np.empty(len(places), np.int32)
    shifts = np.empty(len(places), np.float32)
    heights = np.empty(len(places), np.float32)
    count = 0
    for place in places:
        before, here, after = flat[place - 1], flat[place], flat[place + 1]
        t = place // bins
        if here > floors[t] and here > before and here >= after:
            curvature = np.float64(after + before) - 2.0 * np.float64(here)
            slope = np.float64(after - before) / 2.0
            shift = np.float32(0.0)
            if abs(slope) < abs(curvature):
                shift = np.float32(-slope / curvature)
            average = np.float32((after - before) / np.float32(2.0))
            where[count] = place - t * bins
            shifts[count] = shift
            heights[count] = here + np.float32(0.5) * average * shift
            count += 1
    return where[:count], shifts[:count], heights[:count]


@njit(cache=True)
def frequencies(
    where: np.ndarray, shifts: np.ndarray, heights: np.ndarray, least: float, sr: float, n_fft: int
) -> np.ndarray:
    """Frequencies (Hz, float32) of the peaks of height ``least`` or more."""
    hertz = np.empty(len(where), np.float32)
    count = 0
    for i in range(len(where)):
        hertz[count] = (where[i] + np.float64(shifts[i])) * sr / n_fft
        count += heights[i] >= least
    return hertz[:count]


@njit(cache=True)
def mode(places: np.ndarray, edges: np.ndarray) -> int:
    """The fullest bin of a histogram of distances to the nearest whole number, the first of equals.

    ``numpy.histogram``'s counts to the last one: bins are half open, but the last one is closed.
    """
    last = len(edges) - 2
    counts = np.zeros(last + 1, np.int64)
    for place in places:
        residual = place - np.floor(place)
        if residual >= np.float32(0.5):
            residual -= np.float32(1.0)
        wide = np.float64(residual)
        bin_ = min(max(int((wide - edges[0]) * (last + 1)), 0), last)
        while bin_ > 0 and wide < edges[bin_]:
            bin_ -= 1
        while bin_ < last and wide >= edges[bin_ + 1]:
            bin_ += 1
        counts[bin_] += 1
    return int(np.argmax(counts))
