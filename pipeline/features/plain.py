"""The plain path: librosa's public functions, one by one. Slow, and the oracle of the fast path.

Whatever these calls return is the definition of the features.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from pipeline.config import FeatureSpec
from pipeline.features import definition, pcen, silence

#: Features of the constant-Q transform, in which ``floor`` says what silence is.
FLOORED = ("chroma_cqt", "chroma_cens")


def calls(spec: FeatureSpec) -> dict[str, dict[str, Any]]:
    """Name of a feature in use → keyword arguments of ``librosa.feature.<name>`` for one clip ``y``; of pcen, of its melspectrogram."""
    tuning = None if spec.tuning == "estimate" else float(spec.tuning)
    stft = {"sr": spec.sr, "n_fft": spec.n_fft, "hop_length": spec.hop_length}
    cqt = {
        "sr": spec.sr,
        "bins_per_octave": spec.bins_per_octave,
        "hop_length": spec.hop_length,
        "tuning": tuning,
    }
    every: dict[str, dict[str, Any]] = {
        "mfcc": {"n_mfcc": spec.bins} | stft,
        "melspectrogram": {"n_mels": spec.bins} | stft,
        "chroma_stft": {"n_chroma": spec.bins, "tuning": tuning} | stft,
        "chroma_cqt": {"n_chroma": spec.bins} | cqt,
        "chroma_cens": {"n_chroma": spec.cens_bins} | cqt,
        "pcen": {"n_mels": spec.bins} | stft,
    }
    return {name: every[name] for name in spec.names}


def constant_q_cutoff(spec: FeatureSpec) -> float:
    """Upper edge (Hz) of the highest constant-Q filter at the highest tuning that may be met."""
    tuning = 0.5 if spec.tuning == "estimate" else float(spec.tuning)
    return float(definition.highest_cutoff(spec.sr, spec.bins_per_octave, tuning)["hertz"])


def constant_q(y: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """``abs(librosa.cqt(y))`` as the two chromagrams have it, (bin, frame) float32, with zeros in frames below ``spec.floor``.

    A frame's loudness is the sum of its magnitudes; the floor is a share of the clip's loudest frame.
    """
    import librosa  # slow to import: --help and a finished stage do without

    arguments = next(arguments for name, arguments in calls(spec).items() if name in FLOORED)
    names = ("sr", "hop_length", "bins_per_octave", "tuning")
    bins = definition.OCTAVES * spec.bins_per_octave
    magnitude = np.abs(librosa.cqt(y, n_bins=bins, **{name: arguments[name] for name in names}))
    magnitude = magnitude[:, : 1 + len(y) // spec.hop_length]
    loudness = magnitude.sum(axis=0)
    magnitude[:, loudness < np.float32(spec.floor) * loudness.max()] = 0
    return magnitude


def stacked(y: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """The features of one clip, (n,) float32 → (features in use, bins, 1 + n // hop_length) float32.

    The mel-spectrogram is in dB (``librosa.power_to_db``, at most 80 dB below the clip's peak); CENS of
    fewer rows than ``bins`` is padded with zero rows. With a floor the two chromagrams of the constant-Q transform are
    librosa's of ``constant_q``, and chroma_stft is 0 in ``silence.silent_frames``.
    """
    import librosa  # slow to import: --help and a finished stage do without

    out = np.zeros((len(spec.names), spec.bins, 1 + len(y) // spec.hop_length), dtype=np.float32)
    with warnings.catch_warnings():
        # Of silence ("empty frequency set"), of clips shorter than a window and of many narrow mel bands.
        warnings.filterwarnings("ignore", message="Trying to estimate tuning")
        warnings.filterwarnings("ignore", message="n_fft=.* is too large")
        warnings.filterwarnings("ignore", message="Empty filters detected")
        floored = {"C": constant_q(y, spec)} if spec.floor and set(FLOORED) & set(spec.names) else {"y": y}
        for plane, (name, arguments) in zip(out, calls(spec).items()):
            source = floored if name in FLOORED else {"y": y}
            values = getattr(librosa.feature, "melspectrogram" if name == "pcen" else name)(**source, **arguments)
            if name == "melspectrogram":
                values = librosa.power_to_db(values)
            elif name == "pcen":
                values = energy_normalised(values, spec)
            # The early down-sampling of the constant-Q transform can round up to one more frame.
            values = values[:, : plane.shape[1]]
            plane[: len(values)] = values
            if name == "chroma_stft":
                plane[:, silence.silent_frames(y, spec)] = 0
    return out


def energy_normalised(mel: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """``librosa.pcen`` of mel power (band, frame) of samples in units of full scale, from the first frame's level on."""
    import librosa  # slow to import: --help and a finished stage do without

    power, b = pcen.SCALE * mel, pcen.share(spec)
    values: np.ndarray = librosa.pcen(power, sr=spec.sr, hop_length=spec.hop_length, b=b, zi=(1 - b) * power[:, :1])
    return values
