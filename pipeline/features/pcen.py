"""Per-channel energy normalisation of mel bands: each band over what it was a moment ago (Wang et al. 2017, as ``librosa.pcen``).

With S 2³¹ times the mel power of samples in units of full scale, band f and frame t, and M its average over the past:

    M[f, t] = (1 − b) M[f, t − 1] + b S[f, t]
    PCEN[f, t] = (S[f, t] / (ε + M[f, t])^α + δ)^r − δ^r

A steady background becomes the same small number whatever its level, an onset stands out. All numbers are librosa's defaults. M begins
at the first frame, as if the sound had gone on before; librosa's own beginning would make an onset of it.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.config import FeatureSpec

#: Full scale of samples in 32 bits, as librosa advises. Its example scales magnitudes so; here it is the power, which full scale would
#: have squared: S is 2³¹ times smaller than that of samples in 32 bits, of which r and δ notice a factor of 2^(31 × 0.02) = 1.5.
SCALE = 2.0**31

#: α, δ and ε; r is 1/2, a square root.
GAIN, BIAS, EPSILON = 0.98, 2.0, 1e-6

#: Seconds over which M forgets.
TIME_CONSTANT = 0.4


def share(spec: FeatureSpec) -> float:
    """b: the share of a new frame in M, as librosa has it for ``TIME_CONSTANT``."""
    frames = TIME_CONSTANT * spec.sr / spec.hop_length
    return (math.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)


def pcen(mel: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Mel power (frame, band) → PCEN, float32, from 0 on."""
    from scipy.signal import lfilter  # slow to import: other features do without

    b, scaled = share(spec), np.multiply(mel, SCALE, dtype=np.float64)
    smooth, _ = lfilter([b], [1, b - 1], scaled, axis=0, zi=(1 - b) * scaled[:1])
    level = np.log((smooth + EPSILON).astype(np.float32))
    level *= np.float32(-GAIN)
    np.exp(level, out=level)
    level *= scaled.astype(np.float32)
    level += np.float32(BIAS)
    np.sqrt(level, out=level)
    return np.subtract(level, np.float32(math.sqrt(BIAS)), out=level)
