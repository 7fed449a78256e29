"""The fast path: librosa's numbers to float32 rounding, in another order of work.

One short-time Fourier transform serves mel-spectrogram, MFCC, chroma_stft and both tunings; one constant-Q
transform serves chroma_cqt and CENS. All that is a definition (filters, windows, banks, thresholds of
tuning) comes from librosa; see ``banks``, ``tuning`` and ``transforms``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipeline.config import FeatureSpec
from pipeline.features import banks, definition, pcen, silence, steps, transforms, tuning

MFCC_MELS = 128  # librosa.feature.melspectrogram's default, which librosa.feature.mfcc takes
CQT_N_FFT = 2048  # librosa.estimate_tuning's default, which librosa.cqt takes; its hop is a quarter
#: Loudness of a frame over the loudest samples in its windows (``transforms.octave_peaks``), below which rounding shows.
#: Ordinary frames have 2 to 20. Shares of a frame are right to ``ROUNDING`` over this ratio (measured: 1.1e-6).
WEAK = 0.5
ROUNDING = 1.5e-6
FAINT = 1e-15  # loudness whose parts' squares float32 loses
NEAR = 4e-6  # of a threshold
#: Below it all energy lies outside of the bells of a pitch class; a subnormal number's last digit is 1.4e-45.
DUST = np.float32(1e-30)
CENS_STEPS = (0.4, 0.2, 0.1, 0.05)  # librosa.feature.chroma_cens' thresholds, a quarter each
TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Spectrum:
    """Short-time Fourier transform of a clip ``y``, without its phase; (frame, bin) float32. Each part when it is asked for."""

    y: np.ndarray
    sr: int
    n_fft: int
    hop_length: int
    power_alone: bool = False
    """Nobody asks for the magnitude: it is squared in its place, while the processor has it at hand."""
    bands: dict[int, np.ndarray] = field(default_factory=dict)
    """What ``mel`` gave."""

    @cached_property
    def magnitude(self) -> np.ndarray:
        return transforms.magnitudes(self.y, n_fft=self.n_fft, hop_length=self.hop_length)

    @cached_property
    def power(self) -> np.ndarray:
        if self.power_alone:
            return transforms.magnitudes(self.y, n_fft=self.n_fft, hop_length=self.hop_length, squared=True)
        return np.square(self.magnitude)

    def mel(self, count: int) -> np.ndarray:
        """Power in so many mel bands, (frame, band): computed once for all features that ask; not to be written to."""
        if count not in self.bands:
            self.bands[count] = product(self.power, banks.mel(self.sr, self.n_fft, count))
        return self.bands[count]

    @cached_property
    def largest(self) -> np.ndarray:
        """Largest magnitude of each frame."""
        return self.magnitude.max(axis=1)

    @cached_property
    def peaks(self) -> np.ndarray:
        """Where the tunings look for peaks (``vectors.candidates``)."""
        # A peak of the magnitude is above 0.1 of the largest, one of the power above 0.1 of its largest.
        floors = np.float32(0.99 * tuning.THRESHOLD**2) * np.square(self.largest)
        low, high = tuning.bins_that_count(self.sr, self.n_fft)
        return steps.now().candidates(self.power, floors, low, high)


def spectrum_of(y: np.ndarray, *, sr: int, n_fft: int, hop_length: int, power_alone: bool = False) -> Spectrum:
    return Spectrum(y, sr, n_fft, hop_length, power_alone)


def stacked(y: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """The features of one clip, (n,) float32 → (features in use, bins, 1 + n // hop_length) float32."""
    tuned = spec.tuning == "estimate" and any(name.startswith("chroma") for name in spec.names)  # by the magnitude
    spectrum = spectrum_of(y, sr=spec.sr, n_fft=spec.n_fft, hop_length=spec.hop_length, power_alone=not tuned)
    makers = {
        "mfcc": mfcc,
        "melspectrogram": melspectrogram,
        "chroma_stft": chroma_stft,
        "pcen": energy_normalised,
    }
    planes = {name: makers[name](spectrum, spec) for name in spec.names if name in makers}
    if len(planes) < len(spec.names):
        plan = banks.constant_q(spec.sr, spec.hop_length, spec.bins_per_octave, cqt_tuning(y, spectrum, spec))
        wide, narrow = cqt_chromagrams(y, plan, spec)
        if "chroma_cqt" in spec.names:
            planes["chroma_cqt"] = peak_normalised(wide)
        if "chroma_cens" in spec.names:
            planes["chroma_cens"] = cens(narrow)
    out = np.zeros((len(planes), spec.bins, 1 + len(y) // spec.hop_length), dtype=np.float32)
    for rows, name in zip(out, spec.names):
        rows[: planes[name].shape[1]] = planes[name].T
    return out


def mfcc(spectrum: Spectrum, spec: FeatureSpec) -> np.ndarray:
    """(frame, row), as the other features."""
    levels = decibels(spectrum.mel(MFCC_MELS))
    return levels @ banks.dct(MFCC_MELS, spec.bins)


def melspectrogram(spectrum: Spectrum, spec: FeatureSpec) -> np.ndarray:
    return decibels(spectrum.mel(spec.bins))


def energy_normalised(spectrum: Spectrum, spec: FeatureSpec) -> np.ndarray:
    return pcen.pcen(spectrum.mel(spec.bins), spec)


def chroma_stft(spectrum: Spectrum, spec: FeatureSpec) -> np.ndarray:
    chroma = pitch_classes(spectrum.power, (spec.sr, spec.n_fft, spec.bins, stft_tuning(spectrum, spec)))
    chroma[silence.silent_frames(spectrum.y, spec)] = 0
    return peak_normalised(chroma)


def pitch_classes(power: np.ndarray, filters: tuple[int, int, int, float]) -> np.ndarray:
    """``power @ banks.chroma(*filters)``, bit for bit, in a tenth of the time on processors that are slow with subnormal numbers."""
    chroma: np.ndarray = power @ banks.lifted_chroma(*filters)
    # Where what the plain product loses among subnormal numbers would show.
    if ((chroma > 0) & (chroma < DUST * banks.LIFT)).any():
        return power @ banks.chroma(*filters)  # type: ignore[no-any-return]
    chroma /= banks.LIFT
    return chroma


def cqt_chromagrams(y: np.ndarray, plan: banks.ConstantQ, spec: FeatureSpec) -> tuple[np.ndarray, np.ndarray]:
    """Constant-Q chromagrams of ``bins`` and of ``cens_bins`` rows, (frame, row) each, not normalised.

    Two kinds of frames are computed once more in librosa's own arithmetic, for there rounding is all: those
    far below the clip's own level in their windows (after a hard cut, or where all sound lies above or below the
    filters, chroma_cqt blows up rounding dust to full scale), and those with a share so near a threshold of CENS
    that rounding decides. Frames below ``spec.floor`` are zeros, and of the first kind only those so near the floor that
    rounding decides are computed.
    """
    rows = (spec.bins, spec.cens_bins)
    signals = transforms.octave_signals(y, plan)
    total = transforms.octave_sum(signals, plan, 1 + len(y) // spec.hop_length)
    wide, narrow = (total @ banks.fold(spec.bins_per_octave, n) for n in rows)
    loudness = total.sum(axis=1, keepdims=True)
    level = transforms.octave_peaks(signals, plan, len(total))[:, np.newaxis]
    floor = np.float32(spec.floor)
    edge = floor * loudness.max()
    reach = np.float32(ROUNDING) * (level + floor * level.max())
    doubtful = (loudness < WEAK * level) & (loudness >= edge - reach) | (loudness < FAINT)
    if floor:
        doubtful |= np.abs(loudness - edge) <= reach
    doubtful &= level > 0
    over_zero = np.maximum(loudness, TINY)
    share, uncertain = narrow / over_zero, np.float32(ROUNDING) * level / over_zero
    near = np.zeros(share.shape, bool)
    for step in CENS_STEPS if "chroma_cens" in spec.names else ():
        near |= np.abs(share - np.float32(step)) < np.float32(NEAR * step) + uncertain
    doubtful |= near.any(axis=1, keepdims=True) & (loudness >= edge - reach)
    again = np.flatnonzero(doubtful)
    if len(again):
        # Whole and in librosa's layout: the order in which a matrix product adds depends on the place.
        bins = np.zeros((len(plan.lengths), len(total)), dtype=np.float32, order="F")
        bins[:, again] = transforms.constant_q(signals, plan, again)
        for chroma, n in zip((wide, narrow), rows):
            bank = banks.whole_fold(spec.bins_per_octave, n)
            chroma[again] = np.einsum("cf,ft->ct", bank, bins, optimize=True)[:, again].T
        loudness[again, 0] = bins[:, again].sum(axis=0)
    silent = loudness[:, 0] < floor * loudness.max()
    wide[silent], narrow[silent] = 0, 0
    return wide, narrow


def stft_tuning(spectrum: Spectrum, spec: FeatureSpec) -> float:
    """chroma_stft's: estimated from the power spectrum."""
    if spec.tuning != "estimate":
        return float(spec.tuning)
    largest = np.square(spectrum.largest)
    return tuning.estimate(spectrum.power, largest, spectrum.peaks, sr=spec.sr, bins_per_octave=spec.bins)


def cqt_tuning(y: np.ndarray, spectrum: Spectrum, spec: FeatureSpec) -> float:
    """The constant-Q transform's: estimated from a magnitude spectrum of 2048 samples, whatever ``n_fft`` is."""
    if spec.tuning != "estimate":
        return float(spec.tuning)
    if (spec.n_fft, spec.hop_length) != (CQT_N_FFT, CQT_N_FFT // 4):
        spectrum = spectrum_of(y, sr=spec.sr, n_fft=CQT_N_FFT, hop_length=CQT_N_FFT // 4)
    return tuning.estimate(
        spectrum.magnitude,
        spectrum.largest,
        spectrum.peaks,
        sr=spec.sr,
        bins_per_octave=spec.bins_per_octave,
    )


def keep_filters(spec: FeatureSpec) -> None:
    """Build the filters of every tuning that may be met, so that no clip has to wait for librosa (see ``definition``)."""
    for deviation in tuning.EDGES[:-1].tolist():
        definition.chroma(spec.sr, spec.n_fft, spec.bins, deviation)
        definition.wavelets(spec.sr, spec.hop_length, spec.bins_per_octave, deviation)


def product(x: np.ndarray, bank: tuple[banks.Block, ...]) -> np.ndarray:
    """(frame, bin) × bank → (frame, filter)."""
    out = np.empty((len(x), bank[-1].columns.stop), dtype=np.float32)
    for block in bank:
        np.matmul(x[:, block.rows], block.weights, out=out[:, block.columns])
    return out


def decibels(power: np.ndarray) -> np.ndarray:
    """``librosa.power_to_db(power)``: re 1, at least -100 dB and at most 80 dB below the largest."""
    level = np.maximum(power, np.float32(1e-10))
    np.log(level, out=level)
    level *= np.float32(10.0 / np.log(10.0))
    return np.maximum(level, level.max() - np.float32(80.0), out=level)


def peak_normalised(chroma: np.ndarray) -> np.ndarray:
    """Each frame over its largest value; frames of zeros stay."""
    return over(chroma, chroma.max(axis=1, keepdims=True))


def over(chroma: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """``librosa.util.normalize``, given the norms: frames with less than the smallest normal number stay."""
    return chroma / np.where(norm < TINY, np.float32(1.0), norm)


def cens(chroma: np.ndarray) -> np.ndarray:
    """(frame, bin) → CENS: shares of a frame, quantised, smoothed over 41 frames, of unit length (Müller and
    Ewert, 2011)."""
    share = over(chroma, chroma.sum(axis=1, keepdims=True))
    quantised = np.zeros_like(share)
    for step in CENS_STEPS:
        quantised += (share > np.float32(step)) * np.float32(0.25)
    smooth = banks.smoothing(len(chroma)) @ quantised
    return over(smooth, np.sqrt(np.square(smooth).sum(axis=1, keepdims=True)))
