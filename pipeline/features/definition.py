"""What librosa's functions give for settings: filters, windows, limits. Kept on the disk once they were asked.

librosa takes most of a second to import, and its constant-Q filters of one of 101 tunings as long as a clip's features.
Who meets settings and a tuning again reads the same arrays, bit for bit, and never imports librosa. They lie beside the
compiled kernels (``kernels``), in a folder of these versions; where that cannot be written they are built anew. A file says
what it holds, and its digest that it is whole: what is damaged, or of other settings or versions, is built and written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, wraps
from pathlib import Path
from typing import ParamSpec

import numpy as np

from pipeline.features.kernels import version

OCTAVES = 7  # librosa.feature.chroma_cqt's and chroma_cens' default
KEPT = 128  # more than there are tunings

P = ParamSpec("P")
Arrays = dict[str, np.ndarray]


@lru_cache(maxsize=1)
def folder() -> Path:
    """Of what these versions of the libraries, by this module, give."""
    about = [version(name) for name in ("librosa", "numpy", "scipy")], Path(__file__).read_bytes()
    digest = hashlib.sha256(repr(about).encode()).hexdigest()[:16]
    return Path(__file__).parent / "__pycache__" / f"librosa-{digest}"


def kept(function: Callable[P, Arrays]) -> Callable[P, Arrays]:
    """A function whose arrays for the same arguments are those of the first time, in this process and in later ones."""

    @lru_cache(maxsize=KEPT)
    @wraps(function)
    def remembered(*args: P.args, **kwargs: P.kwargs) -> Arrays:
        path = folder() / f"{'-'.join(map(str, (function.__name__, *args, *kwargs.values())))}.arrays"
        about = f"{folder().name}/{path.stem}"
        # Not there, or damaged, which may raise anything.
        with suppress(Exception):
            return unpacked(path.read_bytes(), about)
        arrays = function(*args, **kwargs)
        store(path, packed(arrays, about))
        return arrays

    return remembered  # type: ignore[return-value]


def packed(arrays: Arrays, about: str) -> bytes:
    """SHA-256 of the rest, a line of JSON (``about``; name, type, shape and order of each array), the arrays."""
    orders = {name: "F" if array.flags.fnc else "C" for name, array in arrays.items()}
    rows = [(name, array.dtype.str, array.shape, orders[name]) for name, array in arrays.items()]
    head = json.dumps([about, rows]).encode() + b"\n"
    rest = b"".join([head, *(array.tobytes("A") for array in arrays.values())])
    return hashlib.sha256(rest).digest() + rest


def unpacked(content: bytes, about: str) -> Arrays:
    """The arrays of ``packed``; ``ValueError`` where they are not whole, or not those of ``about``."""
    rest, arrays = content[hashlib.sha256().digest_size :], {}
    head, _, body = rest.partition(b"\n")
    if hashlib.sha256(rest).digest() + rest != content or (layout := json.loads(head))[0] != about:
        raise ValueError(f"expected the arrays of {about}")
    start = 0
    for name, kind, shape, order in layout[1]:
        array = np.ndarray(shape, kind, body, start, order=order).copy("K")
        arrays[name], start = array, start + array.nbytes
    return arrays


def store(path: Path, content: bytes) -> None:
    """All of it or nothing; nothing where the system refuses."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


@kept
def mel(sr: int, n_fft: int, n_mels: int) -> Arrays:
    """ "bank" (n_mels, bin)."""
    import librosa  # slow to import: filters on the disk need none

    return {"bank": librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=n_mels)}


@kept
def dct(n_mels: int) -> Arrays:
    """ "matrix" (n_mels, n_mels): orthonormal DCT-II, the default of ``librosa.feature.mfcc``."""
    import scipy.fft  # slow to import: filters on the disk need none

    return {"matrix": scipy.fft.dct(np.eye(n_mels), axis=0, type=2, norm="ortho")}


@kept
def chroma(sr: int, n_fft: int, n_chroma: int, tuning: float) -> Arrays:
    """ "bank" (n_chroma, bin): a spectrum's bins onto pitch classes."""
    import librosa  # slow to import: filters on the disk need none

    return {"bank": librosa.filters.chroma(sr=sr, n_fft=n_fft, tuning=tuning, n_chroma=n_chroma)}


@kept
def cq_to_chroma(bins_per_octave: int, n_chroma: int) -> Arrays:
    """ "bank" (n_chroma, constant-Q bin)."""
    import librosa  # slow to import: filters on the disk need none

    bins = OCTAVES * bins_per_octave
    return {"bank": librosa.filters.cq_to_chroma(bins, bins_per_octave=bins_per_octave, n_chroma=n_chroma)}


@kept
def hann(length: int) -> Arrays:
    """ "window" (length,) float64: periodic, as of ``librosa.stft``."""
    import librosa  # slow to import: filters on the disk need none

    return {"window": librosa.filters.get_window("hann", length, fftbins=True)}


@kept
def smoothing(frames: int, length: int) -> Arrays:
    """ "matrix" (frames, frames): the smoothing of CENS over time."""
    import librosa  # slow to import: filters on the disk need none
    import scipy.ndimage

    window = librosa.filters.get_window("hann", length + 2, fftbins=False)
    window = (window / window.sum())[np.newaxis, :]
    return {"matrix": scipy.ndimage.convolve(np.eye(frames), window, mode="constant").astype(np.float32)}


@kept
def highest_cutoff(sr: int, bins_per_octave: int, tuning: float) -> Arrays:
    """ "hertz": upper edge of the highest constant-Q filter."""
    import librosa  # slow to import: filters on the disk need none

    lowest = float(librosa.note_to_hz("C1"))
    bins = OCTAVES * bins_per_octave
    freqs = librosa.cqt_frequencies(bins, fmin=lowest, bins_per_octave=bins_per_octave, tuning=tuning)
    return {"hertz": np.array(librosa.filters.wavelet_lengths(freqs=freqs, sr=sr)[1])}


@kept
def wavelets(sr: int, hop_length: int, bins_per_octave: int, tuning: float) -> Arrays:
    """The filters of ``librosa.cqt``, octave by octave from the highest down.

    "early": the factor by which a clip is first down-sampled; "lengths" of all filters from the lowest up, in samples at
    the first octave's rate; "n_fft", "hop", "rate", "halve" (7,): whether the rate is halved before an octave; "filters0"
    … (filter, bin) complex64 and "low0" …, their first bin, of the octaves that have filters of their own.
    """
    import librosa  # slow to import: filters on the disk need none
    from librosa.core import constantq

    lowest = librosa.note_to_hz("C1") * 2.0 ** (tuning / bins_per_octave)  # as librosa.vqt has it
    freqs = librosa.interval_frequencies(
        n_bins=OCTAVES * bins_per_octave,
        fmin=lowest,
        intervals="equal",
        bins_per_octave=bins_per_octave,
        sort=True,
    )
    alpha = librosa.filters._relative_bandwidth(freqs=freqs)
    _, cutoff = librosa.filters.wavelet_lengths(freqs=freqs, sr=sr, window="hann", gamma=0, alpha=alpha)
    early = 2 ** getattr(constantq, "__early_downsample_count")(sr / 2.0, cutoff, hop_length, OCTAVES)
    rate, hop, halve, n_fft = sr / early, hop_length // early, False, 0
    lengths, _ = librosa.filters.wavelet_lengths(freqs=freqs, sr=rate, window="hann", gamma=0, alpha=alpha)
    arrays: Arrays = {"early": np.array(early), "lengths": lengths}
    octaves = []
    for octave in range(OCTAVES):
        stop = len(freqs) - bins_per_octave * octave
        part = slice(stop - bins_per_octave, stop)
        if octave == 0 or not halve:
            basis, n_fft, _ = getattr(constantq, "__vqt_filter_fft")(
                rate, freqs[part], 1, 1, 0.01, window="hann", gamma=0, dtype=np.complex64, alpha=alpha[part]
            )
            low, high = int(basis.indices.min()), int(basis.indices.max()) + 1
            arrays |= {f"filters{octave}": basis[:, low:high].toarray(), f"low{octave}": np.array(low)}
        octaves.append((n_fft, hop, rate, halve))
        halve = hop % 2 == 0
        if halve:
            hop //= 2
            rate /= 2.0
    return arrays | dict(zip(("n_fft", "hop", "rate", "halve"), map(np.array, zip(*octaves))))
