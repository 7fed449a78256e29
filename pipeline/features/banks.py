"""Filter banks and other matrices of the fast path: librosa's own, built once and kept.

A tuning is one of 101 numbers (a histogram's edges), so the banks that depend on it are few. Filters that
are narrow in frequency are kept as a few dense blocks on their band: less work than the whole matrix, and
far sooner than a sparse one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import librosa
import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse
from librosa.core import constantq

OCTAVES = 7  # librosa.feature.chroma_cqt's and chroma_cens' default
KEPT = 128  # more than there are tunings


@dataclass(frozen=True)
class Block:
    """Dense part of a bank: columns ``columns`` of the result are ``x[:, rows] @ weights``."""

    rows: slice
    columns: slice
    weights: np.ndarray


def blocks(bank: np.ndarray, width: int) -> tuple[Block, ...]:
    """A bank (filter, bin) as dense blocks of ``width`` neighbouring filters on the bins where any is not 0."""
    parts = []
    for start in range(0, len(bank), width):
        part = bank[start : start + width]
        used = np.flatnonzero(part.any(axis=0))
        low, high = (used[0], used[-1] + 1) if len(used) else (0, 1)
        weights = np.ascontiguousarray(part[:, low:high].T)
        parts.append(Block(slice(low, high), slice(start, start + len(part)), weights))
    return tuple(parts)


@lru_cache(maxsize=8)
def mel(sr: int, n_fft: int, n_mels: int) -> tuple[Block, ...]:
    return blocks(librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=n_mels), 4 * -(-n_mels // 32))


@lru_cache(maxsize=8)
def dct(n_mels: int, n_mfcc: int) -> np.ndarray:
    """(n_mels, n_mfcc): orthonormal DCT-II, the default of ``librosa.feature.mfcc``."""
    matrix = scipy.fft.dct(np.eye(n_mels), axis=0, type=2, norm="ortho")[:n_mfcc]
    return np.ascontiguousarray(matrix.T, dtype=np.float32)


@lru_cache(maxsize=KEPT)
def chroma(sr: int, n_fft: int, n_chroma: int, tuning: float) -> np.ndarray:
    """(bin, n_chroma): a spectrum's bins onto pitch classes."""
    bank = librosa.filters.chroma(sr=sr, n_fft=n_fft, tuning=tuning, n_chroma=n_chroma)
    return np.ascontiguousarray(bank.T)


@lru_cache(maxsize=8)
def fold(bins_per_octave: int, n_chroma: int) -> np.ndarray:
    """(bins_per_octave, n_chroma): one octave of a constant-Q transform onto pitch classes, all octaves alike."""
    return np.ascontiguousarray(whole_fold(bins_per_octave, n_chroma)[:, :bins_per_octave].T)


@lru_cache(maxsize=8)
def whole_fold(bins_per_octave: int, n_chroma: int) -> np.ndarray:
    """(n_chroma, constant-Q bin), as librosa has it."""
    return librosa.filters.cq_to_chroma(
        OCTAVES * bins_per_octave, bins_per_octave=bins_per_octave, n_chroma=n_chroma
    )


@lru_cache(maxsize=8)
def smoothing(frames: int, length: int = 41) -> np.ndarray:
    """(frames, frames): the smoothing of CENS over time, by default as ``librosa.feature.chroma_cens``."""
    window = librosa.filters.get_window("hann", length + 2, fftbins=False)
    window = (window / window.sum())[np.newaxis, :]
    return scipy.ndimage.convolve(np.eye(frames), window, mode="constant").astype(np.float32)


@dataclass(frozen=True)
class Octave:
    """One step of the recursive constant-Q transform (Schörkhuber and Klapuri, 2010)."""

    halve: bool
    """Halve the sampling rate before this octave."""
    hop: int
    n_fft: int
    bank: tuple[Block, ...]
    """Complex filters as real blocks: rows are interleaved (real, imaginary) parts of a spectrum, columns
    the real parts of a block's filters and then their imaginary parts. Scaled by 1 / sqrt(length)."""
    band: slice
    """The bins where any filter is not 0."""
    basis: scipy.sparse.csr_matrix
    """The same filters on that band as librosa has them, not scaled by their length."""


@dataclass(frozen=True)
class ConstantQ:
    """What ``librosa.cqt`` builds anew for every clip."""

    early: int
    """The clip is first down-sampled by this factor."""
    octaves: tuple[Octave, ...]
    """From the highest down."""
    lengths: np.ndarray
    """Of all filters, in samples at the first octave's rate; from the lowest up."""


def frequencies(bins_per_octave: int, tuning: float) -> np.ndarray:
    """Centre frequencies (Hz) of the constant-Q filters, as ``librosa.vqt`` has them."""
    lowest = librosa.note_to_hz("C1") * 2.0 ** (tuning / bins_per_octave)
    return librosa.interval_frequencies(
        n_bins=OCTAVES * bins_per_octave,
        fmin=lowest,
        intervals="equal",
        bins_per_octave=bins_per_octave,
        sort=True,
    )


@lru_cache(maxsize=KEPT)
def constant_q(sr: int, hop_length: int, bins_per_octave: int, tuning: float) -> ConstantQ:
    """The plan of ``librosa.cqt`` with its filters, scaled by the square root of their lengths.

    While the hop can be halved, every octave is computed at half the rate of the one above and the filters
    are the same; with an odd hop the rate stays and the filters get longer.
    """
    freqs = frequencies(bins_per_octave, tuning)
    alpha = librosa.filters._relative_bandwidth(freqs=freqs)
    _, cutoff = librosa.filters.wavelet_lengths(freqs=freqs, sr=sr, window="hann", gamma=0, alpha=alpha)
    early = 2 ** getattr(constantq, "__early_downsample_count")(sr / 2.0, cutoff, hop_length, OCTAVES)
    rate, hop = sr / early, hop_length // early
    lengths, _ = librosa.filters.wavelet_lengths(freqs=freqs, sr=rate, window="hann", gamma=0, alpha=alpha)
    start_rate, halve, shared, octaves = rate, False, None, []
    for octave in range(OCTAVES):
        stop = len(freqs) - bins_per_octave * octave
        part = slice(stop - bins_per_octave, stop)
        if shared is None or not halve:
            basis, n_fft, _ = getattr(constantq, "__vqt_filter_fft")(
                rate, freqs[part], 1, 1, 0.01, window="hann", gamma=0, dtype=np.complex64, alpha=alpha[part]
            )
            scale = np.sqrt(start_rate / rate) / np.sqrt(lengths[part])
            band = slice(basis.indices.min(), basis.indices.max() + 1)
            shared = n_fft, real_blocks(basis.toarray() * scale[:, np.newaxis], 8), band
        scaled = basis[:, band]
        scaled.data *= np.sqrt(start_rate / rate)
        octaves.append(Octave(halve, hop, *shared, scaled))
        halve = hop % 2 == 0
        if halve:
            hop //= 2
            rate /= 2.0
    return ConstantQ(early, tuple(octaves), lengths)


def real_blocks(basis: np.ndarray, width: int) -> tuple[Block, ...]:
    """Complex filters (filter, bin) as real blocks; see ``Octave.bank``. Columns count real numbers."""
    parts = []
    for block in blocks(basis, width):
        bins, filters = block.weights.shape
        weights = np.empty((bins, 2, 2, filters), dtype=np.float32)
        weights[:, 0, 0] = weights[:, 1, 1] = block.weights.real
        weights[:, 0, 1] = block.weights.imag
        weights[:, 1, 0] = -block.weights.imag
        parts.append(
            Block(
                slice(2 * block.rows.start, 2 * block.rows.stop),
                slice(block.columns.start, block.columns.stop),
                weights.reshape(2 * bins, 2 * filters),
            )
        )
    return tuple(parts)
