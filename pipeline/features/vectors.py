"""The innermost steps of the fast path in numpy: there at once. ``loops`` has the same, compiled; see ``steps``."""

from __future__ import annotations

import numpy as np

from pipeline.features import fourier


def padded(y: np.ndarray, hop: int, n_fft: int, count: int) -> np.ndarray:
    """This thread's scratch: ``y`` between zeros, so that frame t, centred on sample t · hop, begins at t · hop; float32."""
    half = n_fft // 2
    out = fourier.scratch("padded", (max((count - 1) * hop + n_fft, half + len(y)),), np.float32)
    out[:half], out[half : half + len(y)], out[half + len(y) :] = 0, y, 0
    return out


def overlapping(sound: np.ndarray, hop: int, n_fft: int, count: int) -> np.ndarray:
    """(count, n_fft), a view: row t begins at sample t · hop."""
    return np.ndarray((count, n_fft), sound.dtype, sound, strides=(hop * sound.itemsize, sound.itemsize))


def framed(y: np.ndarray, hop: int, n_fft: int, count: int) -> np.ndarray:
    """(count, n_fft), a view of this thread's scratch: ``y`` between zeros, row t centred on sample t · hop."""
    return overlapping(padded(y, hop, n_fft, count), hop, n_fft, count)


def windowed(sound: np.ndarray, hop: int, window: np.ndarray, out: np.ndarray) -> None:
    """Row t of ``out`` (frame, n_fft): the samples from t · hop on, times ``window``, in float64."""
    np.multiply(overlapping(sound, hop, out.shape[1], len(out)), window, out=out)


def gather_chosen(y: np.ndarray, hop: int, wanted: np.ndarray, out: np.ndarray) -> None:
    """Row k of ``out`` (frame, n_fft): ``y`` between zeros, centred on sample wanted[k] · hop."""
    out[...] = framed(y, hop, out.shape[1], int(wanted.max(initial=0)) + 1)[wanted]


def sounding(y: np.ndarray) -> tuple[int, int]:
    """First sample other than 0, and one past the last; equal where there is none."""
    sounds = y != 0
    first = int(sounds.argmax()) if len(y) else 0
    if not len(y) or not sounds[first]:
        return len(y), len(y)
    return first, len(y) - int(sounds[::-1].argmax())


def divided(y: np.ndarray, by: float) -> np.ndarray:
    """``y / by`` in float64, rounded once to float32, as numpy divides in place."""
    return np.divide(y, by, dtype=np.float64).astype(np.float32)


def add_magnitudes(total: np.ndarray, parts: np.ndarray) -> None:
    """total (frame, filter) += |parts|; ``parts`` (block, frame, 2 · width): of each block of ``width`` neighbouring filters
    (the last one may have fewer) the real parts and then the imaginary ones.
    """
    width = parts.shape[2] // 2
    start = 0
    for some in (parts[: total.shape[1] // width], parts[total.shape[1] // width :]):
        filters = min(width, total.shape[1] - start)
        if not len(some):
            continue
        sizes, squares = np.abs(some), some * some
        largest = np.maximum(sizes[..., :filters], sizes[..., filters : 2 * filters])
        power = squares[..., :filters] + squares[..., filters : 2 * filters]
        # The largest part keeps what is so small that its square is 0.
        np.maximum(np.sqrt(power, out=power), largest, out=largest)
        stop = start + filters * len(some)
        total[:, start:stop] += largest.transpose(1, 0, 2).reshape(len(total), -1)
        start = stop


def add_peaks(total: np.ndarray, y: np.ndarray, hop: int, n_fft: int) -> None:
    """total[t] += the largest |y| in the window of frame t: n_fft samples (or up to a hop more at either end) around t · hop."""
    count = -(-len(y) // hop)
    padded = fourier.scratch("peaks", (count * hop,), np.float32)
    np.abs(y, out=padded[: len(y)])
    padded[len(y) :] = 0
    reach = -(-(n_fft // 2) // hop)
    blocks = padded.reshape(count, hop).max(axis=1, initial=0)
    total += framed(blocks, 1, 2 * reach, len(total)).max(axis=1)


def candidates(power: np.ndarray, floors: np.ndarray, low: int, high: int) -> np.ndarray:
    """Positions (flat) of bins at or above both neighbours and their frame's floor."""
    here = power[:, low:high]
    true = here >= floors[:, np.newaxis]
    true &= here >= power[:, low - 1 : high - 1]
    true &= here >= power[:, low + 1 : high + 1]
    places = np.flatnonzero(true)
    width = high - low
    return (places + places // width * (power.shape[1] - width) + low).astype(np.int32)


def peaks(spectrum: np.ndarray, floors: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bin, shift (fraction of a bin) and height of the peaks among ``places``, parabolically interpolated.

    As ``librosa.piptrack``, operation for operation: the parabola in float64, the rest in float32.
    """
    flat, (frames, width) = spectrum.ravel(), spectrum.shape
    counts = np.diff(places.searchsorted(width * np.arange(frames + 1)))
    here = flat.take(places)
    loud = np.flatnonzero(here > floors.repeat(counts))  # a few of them
    places, here, rows = places[loud], here[loud], np.arange(frames, dtype=np.int32).repeat(counts)[loud]
    before, after = flat.take(places - 1), flat.take(places + 1)
    true = (here > before) & (here >= after)
    bins, before, here, after = (places - width * rows)[true], before[true], here[true], after[true]
    curvature = (after + before).astype(np.float64) - 2.0 * here.astype(np.float64)
    difference = after - before
    slope = difference.astype(np.float64) / 2.0
    shifts = np.zeros(len(here), np.float32)
    np.divide(-slope, curvature, out=shifts, where=np.abs(slope) < np.abs(curvature), casting="same_kind")
    return bins.astype(np.int32), shifts, here + np.float32(0.5) * (difference / np.float32(2.0)) * shifts


def frequencies(
    where: np.ndarray, shifts: np.ndarray, heights: np.ndarray, least: float, sr: float, n_fft: int
) -> np.ndarray:
    """Frequencies (Hz, float32) of the peaks of height ``least`` or more."""
    high = heights >= np.float64(least)
    return ((where[high] + shifts[high].astype(np.float64)) * sr / n_fft).astype(np.float32)


def mode(places: np.ndarray, edges: np.ndarray) -> int:
    """The fullest bin of a histogram of distances to the nearest whole number, the first of equals.

    ``numpy.histogram``'s counts to the last one: bins are half open, but the last one is closed.
    """
    residual = places - np.floor(places)
    residual -= residual >= np.float32(0.5)
    wide, last = residual.astype(np.float64), len(edges) - 2
    # By division, and then by the edges themselves: rounding may lie one bin beside them.
    bins = np.clip(((wide - edges[0]) * (last + 1)).astype(np.int64), 0, last)
    bins -= (bins > 0) & (wide < edges[bins])
    bins += (bins < last) & (wide >= edges[bins + 1])
    return int(np.bincount(bins, minlength=last + 1).argmax())
