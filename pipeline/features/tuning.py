"""The tuning of a clip, ``librosa.estimate_tuning`` in one pass over the bins that count.

``librosa.piptrack`` interpolates every bin of a spectrogram and then keeps the few per cent that are peaks
between 150 Hz and 4 kHz. Here only those are looked at, in the same arithmetic (operation for operation, in
the same precision), so that the estimate, the mode of a histogram, is the same number and not a neighbour's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipeline.features import steps

FMIN, FMAX, THRESHOLD = 150.0, 4000.0, 0.1  # librosa.piptrack's defaults
RESOLUTION = 0.01  # librosa.estimate_tuning's default
EDGES = np.linspace(-0.5, 0.5, int(np.ceil(1.0 / RESOLUTION)) + 1)  # of its histogram


@lru_cache
def bins_that_count(sr: int, n_fft: int) -> tuple[int, int]:
    """First bin at or above ``FMIN`` and first bin at or above ``FMAX`` (or half the sampling rate)."""
    low, high = np.searchsorted(np.fft.rfftfreq(n_fft, 1 / sr), [FMIN, min(FMAX, sr / 2)])
    return int(low), int(high)


def median(values: np.ndarray) -> np.floating:
    """``numpy.median`` of a vector, without its checks."""
    half = len(values) // 2
    ordered = np.partition(values, half)
    return ordered[half] if len(values) % 2 else (ordered[:half].max() + ordered[half]) / values.dtype.type(2)


def octaves(pitches: np.ndarray) -> np.ndarray:
    """``librosa.hz_to_octs``: octaves above 27.5 Hz, four below A440."""
    return np.log2(pitches / (440.0 / 16))


def estimate(spectrum: np.ndarray, largest: np.ndarray, places: np.ndarray, *, sr: int, bins_per_octave: int) -> float:
    """``librosa.estimate_tuning`` of a spectrogram (frame, bin) float32.

    ``largest``: of each frame; ``places``: ``steps.candidates`` that hold all its peaks. Returned: deviation from
    A440 in fractions of a bin, one of -0.5, -0.49 ... 0.49; 0 where there are no peaks.
    """
    functions = steps.now()
    where, shifts, heights = functions.peaks(spectrum, np.float32(THRESHOLD) * largest, places)
    if not len(heights):
        return 0.0
    n_fft = 2 * (spectrum.shape[1] - 1)
    pitches = functions.frequencies(where, shifts, heights, float(median(heights)), float(sr), n_fft)
    return float(EDGES[functions.mode(bins_per_octave * octaves(pitches), EDGES)])
