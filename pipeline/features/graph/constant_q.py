"""chroma_cqt and CENS: the recursive constant-Q transform (Schörkhuber and Klapuri, 2010) as convolutions.

librosa multiplies the Fourier transform of a frame by sparse filters B[f, b]. With their inverse transform

    k[f, n] = Σ_b B[f, b] · exp(−2πi b n / N) / sqrt(length of f)

an octave is a convolution of its signal with k, a hop apart. All N taps are needed: what librosa left out of the filters in
frequency spreads them over the whole frame. An octave down the sound has half the rate, and the filters are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import FeatureSpec
from pipeline.features import banks, definition
from pipeline.features.fast import CENS_STEPS
from pipeline.features.graph.resampling import Decimator
from pipeline.features.graph.spectrum import over
from pipeline.features.graph.tables import Table, constant

#: Features of the constant-Q transform.
CONSTANT_Q = ("chroma_cqt", "chroma_cens")

SMOOTHED = 41  # frames: librosa.feature.chroma_cens' default


class Chromagrams(nn.Module):
    """Samples (batch, sample) → feature → (batch, row, frame), of the features ``names`` of the constant-Q transform."""

    smoothing: Tensor

    def __init__(self, spec: FeatureSpec, names: Sequence[str], *, half: bool) -> None:
        super().__init__()
        self.names, self.floor = tuple(names), spec.floor
        self.octaves = OctaveSum(spec, half=half)
        rows = {"chroma_cqt": spec.bins, "chroma_cens": spec.cens_bins}
        self.folds = nn.ModuleDict(
            {name: Table(banks.fold(spec.bins_per_octave, rows[name]).T, half=half) for name in names}
        )
        window = definition.smoothing(2 * SMOOTHED, SMOOTHED)["matrix"][SMOOTHED]
        middle = window[SMOOTHED - SMOOTHED // 2 : SMOOTHED + SMOOTHED // 2 + 1]
        self.register_buffer("smoothing", constant(middle).reshape(1, 1, 1, SMOOTHED))

    def forward(self, samples: Tensor) -> dict[str, Tensor]:
        total = self.octaves(samples)
        if self.floor:
            loudness = total.sum(dim=1, keepdim=True)
            silent = loudness < self.floor * loudness.amax(dim=2, keepdim=True)
            total = torch.where(silent, torch.zeros_like(total), total)
        planes = {}
        for name in self.names:
            chroma = self.folds[name]() @ total
            planes[name] = self.cens(chroma) if name == "chroma_cens" else over(chroma, chroma.amax(1, keepdim=True))
        return planes

    def cens(self, chroma: Tensor) -> Tensor:
        """(batch, row, frame) → CENS: shares of a frame, quantised, smoothed over 41 frames, of unit length."""
        share = over(chroma, chroma.sum(dim=1, keepdim=True))
        quantised = sum(((share > float(np.float32(step))).float() for step in CENS_STEPS), torch.zeros(())) * 0.25
        smooth = functional.conv2d(quantised.unsqueeze(1), self.smoothing, padding=(0, SMOOTHED // 2)).squeeze(1)
        return over(smooth, (smooth * smooth).sum(dim=1, keepdim=True).sqrt())


class OctaveSum(nn.Module):
    """Samples (batch, sample) → magnitudes of ``librosa.cqt`` added over the octaves: (batch, bins_per_octave, frame)."""

    def __init__(self, spec: FeatureSpec, *, half: bool) -> None:
        super().__init__()
        self.frames = spec.frames
        plan = banks.constant_q(spec.sr, spec.hop_length, spec.bins_per_octave, float(spec.tuning))
        length = spec.samples
        self.early = Decimator(plan.early, length) if plan.early > 1 else None
        length = -(-length // plan.early)
        self.hops = [octave.hop for octave in plan.octaves]
        self.kernel_of: list[int] = []
        kernels: list[Table] = []
        halvings: list[Decimator | nn.Identity] = []
        for place, octave in enumerate(plan.octaves):
            halvings.append(Decimator(2, length) if octave.halve else nn.Identity())
            length = -(-length // 2) if octave.halve else length
            if not place or octave.bank is not plan.octaves[place - 1].bank:
                kernels.append(Table(kernel(plan, place).T, half=half))
            self.kernel_of.append(len(kernels) - 1)
        self.kernels, self.halvings = nn.ModuleList(kernels), nn.ModuleList(halvings)

    def forward(self, samples: Tensor) -> Tensor:
        signal = samples if self.early is None else self.early(samples)
        kernels = [table().transpose(0, 1).unsqueeze(1) for table in self.kernels]
        parts = []
        for halving, hop, index in zip(self.halvings, self.hops, self.kernel_of):
            signal = halving(signal)
            response = functional.conv1d(
                signal.unsqueeze(1), kernels[index], stride=hop, padding=kernels[index].shape[2] // 2
            )
            squares = (response * response)[:, :, : self.frames]
            filters = squares.shape[1] // 2
            parts.append((squares[:, :filters] + squares[:, filters:]).sqrt())
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


def kernel(plan: banks.ConstantQ, place: int) -> np.ndarray:
    """(2 · filters, n_fft) of an octave: the real parts of its filters in time, then their imaginary parts."""
    octave = plan.octaves[place]
    scaled = octave.filters.dense.copy()
    scaled *= octave.scale
    stop = len(plan.lengths) - len(scaled) * place
    lengths = plan.lengths[stop - len(scaled) : stop]
    bins = np.arange(octave.n_fft // 2 + 1)[octave.band]
    phases = np.exp(-2j * np.pi * np.outer(bins, np.arange(octave.n_fft)) / octave.n_fft)
    filters = scaled.astype(np.complex128) / np.sqrt(lengths)[:, np.newaxis]
    response = filters @ phases
    return np.concatenate([response.real, response.imag])
