"""Silence by the samples themselves: which frames of the spectrum lie below ``floor``. One function for every path."""

from __future__ import annotations

import numpy as np

from pipeline.config import FeatureSpec
from pipeline.features import definition


def silent_frames(y: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """(frame,) bool of samples (n,): whose windowed samples have less than ``floor``² of the energy of the clip's loudest frame.

    By Parseval's theorem that is the energy of the frame's spectrum. In float64 and on the samples, so that the plain and the fast
    path never disagree about a frame. None is silent where ``floor`` is 0, or in a clip of zeros.
    """
    if not spec.floor:
        return np.zeros(1 + len(y) // spec.hop_length, bool)
    squares = np.pad(np.square(y, dtype=np.float64), spec.n_fft // 2)
    window = np.square(definition.hann(spec.n_fft)["window"])
    frames = np.lib.stride_tricks.sliding_window_view(squares, spec.n_fft)[:: spec.hop_length]
    energy = np.einsum("tn,n->t", frames, window)
    return energy < spec.floor**2 * energy.max()
