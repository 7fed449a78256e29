"""Short-time Fourier and constant-Q transforms of the fast path.

Frames are rows here (frame, bin), the other way round than librosa's, so that a frame is contiguous.
"""

from __future__ import annotations

import numpy as np
import soxr

from pipeline.features import banks, definition, steps

#: Frames that are transformed at a time, where few windows reach over their edge.
FRAMES = 48

try:  # torch brings MKL's Fourier transforms, the soonest at hand; scipy's give the same to rounding
    import torch

    def rfft(frames: np.ndarray) -> np.ndarray:
        return torch.fft.rfft(torch.from_numpy(frames)).numpy()
except ImportError:
    from scipy.fft import rfft  # type: ignore[no-redef]


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An empty array on a 64-byte boundary: MKL's last bit can depend on where its input lies."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def magnitudes(y: np.ndarray, *, n_fft: int, hop_length: int) -> np.ndarray:
    """``abs(librosa.stft(y))``: (frame, 1 + n_fft // 2) float32, bit for bit (on x86).

    Windowed and transformed in float64, as librosa does (its window is float64): bins 80 dB below a frame's
    peak are then right to float32 rounding, and the tuning, a mode, does not hop.
    """
    count, reach = 1 + len(y) // hop_length, n_fft // 2
    out = np.empty((count, 1 + reach), np.float32)
    # Some frames at a time: a megabyte, that the processor has still at hand. The first of them begin in frames before.
    before = -(-reach // hop_length)
    rows = max(FRAMES, 8 * before)
    frames = aligned((before + min(rows, count), n_fft), np.float64)
    for first in range(0, count, rows):
        last, lead = min(first + rows, count), min(before, first)
        part = y[(first - lead) * hop_length : (last - 1) * hop_length + n_fft - reach]
        some = frames[: last - first + lead]
        steps.now().gather_windowed(part, hop_length, definition.hann(n_fft)["window"], some)
        np.abs(rfft(some[lead:]).astype(np.complex64), out=out[first:last])
    return out


def halved(y: np.ndarray, factor: int = 2) -> np.ndarray:
    """``librosa.resample(y, orig_sr=factor, target_sr=1, res_type="soxr_hq", scale=True)``."""
    ratio = 1.0 / factor
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
    frames = np.empty((0, 0), np.float32)
    for y, octave in zip(signals, plan.octaves):
        if frames.shape[1] != octave.n_fft:  # else memory that the processor still has at hand
            frames = aligned((count, octave.n_fft), np.float32)
        steps.now().gather_frames(y, octave.hop, frames)
        spectrum = rfft(frames).view(np.float32)
        for block, part in zip(octave.bank, parts):
            np.matmul(spectrum[:, block.rows], block.weights, out=part[:, : block.weights.shape[1]])
        steps.now().add_magnitudes(total, parts)
    return total


def constant_q(signals: list[np.ndarray], plan: banks.ConstantQ, wanted: np.ndarray) -> np.ndarray:
    """Frames ``wanted`` of ``abs(librosa.cqt)``, bit for bit (on x86): (bin, frame) float32.

    librosa's own arithmetic (float64 transforms, sparse complex64 products), on the frames where it matters.
    """
    import scipy.fft  # slow to import: a finished stage does without

    parts = []
    for y, octave in zip(signals, plan.octaves):
        # Past a clip's end the short windows see zeros only.
        first, last = steps.now().sounding(y)
        starts = wanted * octave.hop - octave.n_fft // 2
        live = (starts < last) & (starts + octave.n_fft > first)
        chosen = wanted[live]
        frames = np.empty((len(chosen), octave.n_fft), dtype=np.float64)
        steps.now().gather_chosen(y, octave.hop, chosen, frames)
        spectrum = scipy.fft.rfft(frames)[:, octave.band].T.astype(np.complex64, order="C")
        part = octave.basis.dot(spectrum)
        if len(chosen) < len(wanted):
            whole = np.zeros((len(part), len(wanted)), dtype=part.dtype)
            whole[:, live] = part
            part = whole
        parts.append(part)
    response = np.concatenate(parts[::-1])
    response /= np.sqrt(plan.lengths)[:, np.newaxis]
    return np.abs(response)
