"""The tuning of a clip, ``librosa.estimate_tuning`` in one compiled pass over the bins that count.

``librosa.piptrack`` interpolates every bin of a spectrogram and then keeps the few per cent that are peaks
between 150 Hz and 4 kHz. Here only those are looked at, in the same arithmetic (operation for operation, in
the same precision), so that the estimate, the mode of a histogram, is the same number and not a neighbour's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

FMIN, FMAX, THRESHOLD = 150.0, 4000.0, 0.1  # librosa.piptrack's defaults
RESOLUTION = 0.01  # librosa.estimate_tuning's default
EDGES = np.linspace(-0.5, 0.5, int(np.ceil(1.0 / RESOLUTION)) + 1)  # of its histogram


@lru_cache
def bins_that_count(sr: int, n_fft: int) -> tuple[int, int]:
    """First bin at or above ``FMIN`` and first bin at or above ``FMAX`` (or half the sampling rate)."""
    low, high = np.searchsorted(np.fft.rfftfreq(n_fft, 1 / sr), [FMIN, min(FMAX, sr / 2)])
    return int(low), int(high)


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


def median(values: np.ndarray) -> np.floating:
    """``numpy.median`` of a vector, without its checks."""
    half = len(values) // 2
    ordered = np.partition(values, half)
    return ordered[half] if len(values) % 2 else np.mean([ordered[:half].max(), ordered[half]])


def octaves(pitches: np.ndarray) -> np.ndarray:
    """``librosa.hz_to_octs``: octaves above 27.5 Hz, four below A440."""
    return np.log2(pitches / (440.0 / 16))


def estimate(spectrum: np.ndarray, largest: np.ndarray, places: np.ndarray, *, sr: int, bins_per_octave: int) -> float:
    """``librosa.estimate_tuning`` of a spectrogram (frame, bin) float32.

    ``largest``: of each frame; ``places``: ``candidates`` that hold all its peaks. Returned: deviation from
    A440 in fractions of a bin, one of -0.5, -0.49 ... 0.49; 0 where there are no peaks.
    """
    where, shifts, heights = peaks(spectrum, np.float32(THRESHOLD) * largest, places)
    if not len(heights):
        return 0.0
    n_fft = 2 * (spectrum.shape[1] - 1)
    pitches = frequencies(where, shifts, heights, float(median(heights)), float(sr), n_fft)
    return float(EDGES[mode(bins_per_octave * octaves(pitches), EDGES)])
