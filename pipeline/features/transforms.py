"""Short-time Fourier and constant-Q transforms of the fast path.

Frames are rows here (frame, bin), the other way round than librosa's, so that a frame is contiguous.
"""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import soxr

from pipeline.features import banks, definition, fourier, sparse, steps
from pipeline.features.vectors import framed, padded

#: Frames that are transformed at a time, so few that the processor has them still at hand.
FRAMES = 16


class Own(threading.local):
    """What a thread keeps from sound to sound."""

    def __init__(self) -> None:
        self.halvers: dict[int, soxr.ResampleStream] = {}


own = Own()


def magnitudes(y: np.ndarray, *, n_fft: int, hop_length: int, squared: bool = False) -> np.ndarray:
    """``abs(librosa.stft(y))``: (frame, 1 + n_fft // 2) float32, bit for bit (on x86); ``squared``: the power, in the same memory.

    Windowed and transformed in float64, as librosa does (its window is float64): bins 80 dB below a frame's
    peak are then right to float32 rounding, and the tuning, a mode, does not hop.
    """
    out = np.empty((1 + len(y) // hop_length, 1 + n_fft // 2), np.float32)
    sounding = sounding_frames(y, hop_length, n_fft, len(out))
    out[sounding:] = 0
    window, sound = definition.hann(n_fft)["window"], padded(y, hop_length, n_fft, sounding)
    rows, bins = max(1, min(FRAMES, sounding)), out.shape[1]
    windowed = fourier.scratch("windowed", (rows, n_fft), np.float64)
    spectrum = fourier.scratch("spectrum", (rows, bins), np.complex128)
    single = fourier.scratch("single", (rows, bins), np.complex64)
    for first in range(0, sounding, rows):
        part = out[first : min(first + rows, sounding)]
        if len(part) < rows:
            windowed, spectrum, single = (some[: len(part)] for some in (windowed, spectrum, single))
        steps.now().windowed(sound[first * hop_length :], hop_length, window, windowed)
        np.copyto(single, fourier.rfft(windowed, spectrum), casting="same_kind")
        np.abs(single, out=part)
        if squared:
            np.square(part, out=part)
    return out


def sounding_frames(y: np.ndarray, hop: int, n_fft: int, count: int) -> int:
    """How many of ``count`` frames there are up to the last one that has a sample other than 0: a clip filled up with zeros needs no
    transforms of them."""
    last = len(y) if len(y) and y[-1] else steps.now().sounding(y)[1]
    return min(count, 1 + (last - 1 + n_fft // 2) // hop) if last else 0


def halver(factor: int) -> soxr.ResampleStream:
    """This thread's: ``soxr.resample`` builds one for each sound."""
    if factor not in own.halvers:
        own.halvers[factor] = soxr.ResampleStream(factor, 1, 1, dtype="float32", quality="HQ")
    return own.halvers[factor]


def halved(y: np.ndarray, factor: int = 2) -> np.ndarray:
    """``librosa.resample(y, orig_sr=factor, target_sr=1, res_type="soxr_hq", scale=True)``."""
    ratio = 1.0 / factor
    if hasattr(soxr.ResampleStream, "clear"):
        stream = halver(factor)
        stream.clear()
        shorter = stream.resample_chunk(y, last=True)
    else:  # soxr 0.3, whose streams serve one sound
        shorter = soxr.resample(y, factor, 1, quality="soxr_hq")
    size = int(np.ceil(len(y) * ratio))
    if len(shorter) != size:
        shorter = np.pad(shorter[:size], (0, max(0, size - len(shorter))))
    return steps.now().divided(shorter, float(np.sqrt(ratio)))


def octave_peaks(signals: list[np.ndarray], plan: banks.ConstantQ, count: int) -> np.ndarray:
    """(count,) float32: the largest sample in a frame's window, added over the octaves.

    Measured on all that the window holds, also on what lies above or below all filters; 0 only where it holds zeros only.
    """
    total = np.zeros(count, np.float32)
    for y, octave in zip(signals, plan.octaves):
        steps.now().add_peaks(total, y, octave.hop, octave.n_fft)
    return total


def octave_signals(y: np.ndarray, plan: banks.ConstantQ) -> list[np.ndarray]:
    """The clip at the sampling rate of each octave, from the highest down."""
    if plan.early > 1:
        y = halved(y, plan.early)
    signals = []
    for octave in plan.octaves:
        if octave.halve:
            y = halved(y)
        signals.append(y)
    return signals


def octave_sum(signals: list[np.ndarray], plan: banks.ConstantQ, count: int) -> np.ndarray:
    """Magnitudes of ``librosa.cqt`` added over the octaves: (count, bins_per_octave) float32.

    All that a chromagram needs: the map onto pitch classes is the same for every octave. Errors are some
    1e-7 of the loudest sample in reach of a frame's windows, not of the frame itself: see ``constant_q``.
    """
    total = np.zeros((count, len(plan.lengths) // len(plan.octaves)), dtype=np.float32)
    bank = plan.octaves[0].bank
    parts = np.zeros((len(bank), count, max(block.weights.shape[1] for block in bank)), np.float32)
    for y, octave in zip(signals, plan.octaves):
        sounding = sounding_frames(y, octave.hop, octave.n_fft, count)
        frames = framed(y, octave.hop, octave.n_fft, sounding)
        if frames.strides[0] % fourier.BOUNDARY:
            apart = fourier.scratch("frames", frames.shape, np.float32)
            np.copyto(apart, frames)
            frames = apart
        transformed = fourier.scratch("spectrum", (count, 1 + octave.n_fft // 2), np.complex64)
        fourier.rfft(frames, transformed[:sounding])
        transformed[sounding:] = 0
        spectrum = transformed.view(np.float32)
        for block, part in zip(octave.bank, parts):
            np.matmul(spectrum[:, block.rows], block.weights, out=part[:, : block.weights.shape[1]])
        steps.now().add_magnitudes(total, parts)
    return total


@cache
def since_2(version: str) -> bool:
    """Of numpy's versions; to read one takes as long as the transform of a frame."""
    return bool(np.lib.NumpyVersion(version) >= "2.0.0")


def scipys_rfft(frames: np.ndarray) -> np.ndarray:
    """``scipy.fft.rfft``, bit for bit: since numpy 2 its transform is the same, and scipy takes half a second to import."""
    if since_2(np.__version__):
        return np.fft.rfft(frames)  # type: ignore[no-any-return]
    import scipy.fft

    return scipy.fft.rfft(frames)  # type: ignore[no-any-return]


def constant_q(signals: list[np.ndarray], plan: banks.ConstantQ, wanted: np.ndarray) -> np.ndarray:
    """Frames ``wanted`` of ``abs(librosa.cqt)``, bit for bit (on x86): (bin, frame) float32.

    librosa's own arithmetic (float64 transforms, sparse complex64 products), on the frames where it matters.
    """
    parts = []
    for y, octave in zip(signals, plan.octaves):
        # Past a clip's end the short windows see zeros only.
        first, last = steps.now().sounding(y)
        starts = wanted * octave.hop - octave.n_fft // 2
        live = (starts < last) & (starts + octave.n_fft > first)
        chosen = wanted[live]
        frames = np.empty((len(chosen), octave.n_fft), dtype=np.float64)
        steps.now().gather_chosen(y, octave.hop, chosen, frames)
        spectrum = scipys_rfft(frames)[:, octave.band].T.astype(np.complex64, order="C")
        part = sparse.product(octave.filters.rows, octave.scale, spectrum)
        if len(chosen) < len(wanted):
            whole = np.zeros((len(part), len(wanted)), dtype=part.dtype)
            whole[:, live] = part
            part = whole
        parts.append(part)
    response = np.concatenate(parts[::-1])
    response /= np.sqrt(plan.lengths)[:, np.newaxis]
    return np.abs(response)
