"""Filter banks and other matrices of the fast path: librosa's own (``definition``), laid out for quick products.

A tuning is one of 101 numbers (a histogram's edges), so the banks that depend on it are few. Filters that
are narrow in frequency are kept as a few dense blocks on their band: less work than the whole matrix, and
far sooner than a sparse one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from pipeline.features import definition, sparse
from pipeline.features.definition import KEPT

#: A power of two that makes all weights of a chromagram's bell curves normal numbers, the smallest subnormal one too, and leaves the
#: power spectrum of the loudest samples (``LARGEST``) room below float32's limit.
LIFT = np.float32(2.0**44)


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
    return blocks(definition.mel(sr, n_fft, n_mels)["bank"], 4 * -(-n_mels // 32))


@lru_cache(maxsize=8)
def dct(n_mels: int, n_mfcc: int) -> np.ndarray:
    """(n_mels, n_mfcc)."""
    return np.ascontiguousarray(definition.dct(n_mels)["matrix"][:n_mfcc].T, dtype=np.float32)


@lru_cache(maxsize=KEPT)
def chroma(sr: int, n_fft: int, n_chroma: int, tuning: float) -> np.ndarray:
    """(bin, n_chroma): a spectrum's bins onto pitch classes."""
    return np.ascontiguousarray(definition.chroma(sr, n_fft, n_chroma, tuning)["bank"].T)


@lru_cache(maxsize=KEPT)
def lifted_chroma(sr: int, n_fft: int, n_chroma: int, tuning: float) -> np.ndarray:
    """``chroma`` times ``LIFT``: the same digits, none of them subnormal, by which a processor multiplies a hundred times as long."""
    return np.multiply(definition.chroma(sr, n_fft, n_chroma, tuning)["bank"].T, LIFT, order="C")


@lru_cache(maxsize=8)
def fold(bins_per_octave: int, n_chroma: int) -> np.ndarray:
    """(bins_per_octave, n_chroma): one octave of a constant-Q transform onto pitch classes, all octaves alike."""
    return np.ascontiguousarray(whole_fold(bins_per_octave, n_chroma)[:, :bins_per_octave].T)


def whole_fold(bins_per_octave: int, n_chroma: int) -> np.ndarray:
    """(n_chroma, constant-Q bin), as librosa has it."""
    return definition.cq_to_chroma(bins_per_octave, n_chroma)["bank"]


def smoothing(frames: int, length: int = 41) -> np.ndarray:
    """(frames, frames): the smoothing of CENS over time, by default as ``librosa.feature.chroma_cens``."""
    return definition.smoothing(frames, length)["matrix"]


@dataclass(frozen=True)
class Filters:
    """Constant-Q filters as librosa has them, not scaled by their length; octaves at half the rate have the same ones."""

    dense: np.ndarray
    """(filter, bin) complex64, on the octave's ``band``."""

    @cached_property
    def rows(self) -> sparse.Rows:
        """The same without zeros; few clips need it, and a scaled copy for every octave would be a megabyte a tuning."""
        return sparse.rows_of(self.dense)


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
    filters: Filters
    scale: np.float64
    """By which librosa multiplies the filters of this octave."""


@dataclass(frozen=True)
class ConstantQ:
    """What ``librosa.cqt`` builds anew for every clip."""

    early: int
    """The clip is first down-sampled by this factor."""
    octaves: tuple[Octave, ...]
    """From the highest down."""
    lengths: np.ndarray
    """Of all filters, in samples at the first octave's rate; from the lowest up."""


@lru_cache(maxsize=KEPT)
def constant_q(sr: int, hop_length: int, bins_per_octave: int, tuning: float) -> ConstantQ:
    """The plan of ``librosa.cqt`` with its filters, scaled by the square root of their lengths.

    While the hop can be halved, every octave is computed at half the rate of the one above and the filters
    are the same; with an odd hop the rate stays and the filters get longer.
    """
    arrays = definition.wavelets(sr, hop_length, bins_per_octave, tuning)
    lengths, rates = arrays["lengths"], arrays["rate"]
    octaves: list[Octave] = []
    for octave, (n_fft, hop, halve) in enumerate(zip(*(arrays[k].tolist() for k in ("n_fft", "hop", "halve")))):
        scale = np.sqrt(rates[0] / rates[octave])
        if f"low{octave}" in arrays:
            low, filters = int(arrays[f"low{octave}"]), Filters(arrays[f"filters{octave}"])
            whole = np.zeros((len(filters.dense), n_fft // 2 + 1), np.complex64)
            band = slice(low, low + filters.dense.shape[1])
            whole[:, band] = filters.dense
            stop = len(lengths) - bins_per_octave * octave
            by_length = scale / np.sqrt(lengths[stop - bins_per_octave : stop])
            bank = real_blocks(whole * by_length[:, np.newaxis], 8)
        octaves.append(Octave(halve, hop, n_fft, bank, band, filters, scale))
    return ConstantQ(int(arrays["early"]), tuple(octaves), lengths)


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
