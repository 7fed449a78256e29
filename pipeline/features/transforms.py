"""Short-time Fourier and constant-Q transforms of the fast path.

Frames are rows here (frame, bin), the other way round than librosa's, so that a frame is contiguous.
"""

from __future__ import annotations

import numpy as np
import soxr
from numba import njit

from pipeline.features import banks, definition

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


def gather_frames(y: np.ndarray, hop: int, out: np.ndarray) -> None:
    """All frames from the first on."""
    gather_chosen(y, hop, np.arange(len(out)), out)


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
def gather_windowed(y: np.ndarray, hop: int, window: np.ndarray, out: np.ndarray) -> None:
    """As ``gather_frames``, every frame times ``window``."""
    n_fft = out.shape[1]
    for t in range(out.shape[0]):
        start = t * hop - n_fft // 2
        low = min(max(-start, 0), n_fft)
        high = max(min(n_fft, len(y) - start), low)
        out[t, :low] = 0
        source, target, weights = y[start + low : start + high], out[t, low:high], window[low:high]
        for i in range(len(target)):
            target[i] = source[i] * weights[i]
        out[t, high:] = 0


def magnitudes(y: np.ndarray, *, n_fft: int, hop_length: int) -> np.ndarray:
    """``abs(librosa.stft(y))``: (frame, 1 + n_fft // 2) float32, bit for bit (on x86).

    Windowed and transformed in float64, as librosa does (its window is float64): bins 80 dB below a frame's
    peak are then right to float32 rounding, and the tuning, a mode, does not hop.
    """
    frames = aligned((1 + len(y) // hop_length, n_fft), np.float64)
    gather_windowed(y, hop_length, definition.hann(n_fft)["window"], frames)
    return np.abs(rfft(frames).astype(np.complex64))


@njit(cache=True)
def divided(y: np.ndarray, by: float) -> np.ndarray:
    """``y / by`` in float64, rounded once to float32, as numpy divides in place."""
    out = np.empty(len(y), np.float32)
    for i in range(len(y)):
        out[i] = y[i] / by
    return out


def halved(y: np.ndarray, factor: int = 2) -> np.ndarray:
    """``librosa.resample(y, orig_sr=factor, target_sr=1, res_type="soxr_hq", scale=True)``."""
    ratio = 1.0 / factor
    shorter = soxr.resample(y, factor, 1, quality="soxr_hq")
    size = int(np.ceil(len(y) * ratio))
    if len(shorter) != size:
        shorter = np.pad(shorter[:size], (0, max(0, size - len(shorter))))
    return divided(shorter, float(np.sqrt(ratio)))


@njit(cache=True)
def add_magnitudes(total: np.ndarray, start: int, parts: np.ndarray) -> None:
    """total[:, start:] += |parts|; ``parts``: (frame, 2 · filters), real parts and then imaginary parts."""
    filters = parts.shape[1] // 2
    for t in range(parts.shape[0]):
        sums = total[t, start : start + filters]
        reals, imaginaries = parts[t, :filters], parts[t, filters:]
        for i in range(filters):
            real, imaginary = abs(reals[i]), abs(imaginaries[i])
            # The largest part keeps what is so small that its square is 0.
            sums[i] += max(np.sqrt(real * real + imaginary * imaginary), max(real, imaginary))


@njit(cache=True, fastmath={"nnan", "nsz"})
def add_peaks(total: np.ndarray, y: np.ndarray, hop: int, n_fft: int) -> None:
    """total[t] += the largest |y| in the window of frame t: n_fft samples (or up to a hop more at either end) around t · hop."""
    count = (len(y) + hop - 1) // hop
    blocks = np.zeros(count, np.float32)
    for b in range(count):
        largest = np.float32(0.0)
        for sample in y[b * hop : (b + 1) * hop]:
            largest = max(largest, abs(sample))
        blocks[b] = largest
    reach = (n_fft // 2 + hop - 1) // hop
    for t in range(len(total)):
        largest = np.float32(0.0)
        for block in blocks[min(max(t - reach, 0), count) : min(t + reach, count)]:
            largest = max(largest, block)
        total[t] += largest


def octave_peaks(signals: list[np.ndarray], plan: banks.ConstantQ, count: int) -> np.ndarray:
    """(count,) float32: the largest sample in a frame's window, added over the octaves.

    Measured on all that the window holds, also on what lies above or below all filters; 0 only where it holds zeros only.
    """
    total = np.zeros(count, np.float32)
    for y, octave in zip(signals, plan.octaves):
        add_peaks(total, y, octave.hop, octave.n_fft)
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
    frames = np.empty((0, 0), np.float32)
    for y, octave in zip(signals, plan.octaves):
        if frames.shape[1] != octave.n_fft:  # else memory that the processor still has at hand
            frames = aligned((count, octave.n_fft), np.float32)
        gather_frames(y, octave.hop, frames)
        spectrum = rfft(frames).view(np.float32)
        for block in octave.bank:
            add_magnitudes(total, block.columns.start, spectrum[:, block.rows] @ block.weights)
    return total


def constant_q(signals: list[np.ndarray], plan: banks.ConstantQ, wanted: np.ndarray) -> np.ndarray:
    """Frames ``wanted`` of ``abs(librosa.cqt)``, bit for bit (on x86): (bin, frame) float32.

    librosa's own arithmetic (float64 transforms, sparse complex64 products), on the frames where it matters.
    """
    import scipy.fft  # slow to import: a finished stage does without

    parts = []
    for y, octave in zip(signals, plan.octaves):
        # Past a clip's end the short windows see zeros only.
        first, last = sounding(y)
        starts = wanted * octave.hop - octave.n_fft // 2
        live = (starts < last) & (starts + octave.n_fft > first)
        chosen = wanted[live]
        frames = np.empty((len(chosen), octave.n_fft), dtype=np.float64)
        gather_chosen(y, octave.hop, chosen, frames)
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
