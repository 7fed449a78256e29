"""MFCC, mel-spectrogram, chroma_stft and PCEN: a short-time Fourier transform of two small products, then all banks in one.

The transform of N = N1 · N2 samples is that of Cooley and Tukey (1965), one step: with n = N2 · n1 + n2 and k = k1 + N1 · k2,

    X[k] = Σ_n2 exp(−2πi n2 k2 / N2) · exp(−2πi n2 k1 / N) · Σ_n1 exp(−2πi n1 k1 / N1) · x[n]

A sound is real, so k1 goes to N1 // 2 only; place (k1, k2) then holds bin k, or bin N − k where k > N / 2. The spectrum is left
in that order: the rows of the banks are put in it instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import FeatureSpec, InputError
from pipeline.features import banks, definition, pcen
from pipeline.features.fast import MFCC_MELS, TINY
from pipeline.features.graph.tables import Table, constant

#: Features of the spectrum.
SPECTRAL = ("mfcc", "melspectrogram", "chroma_stft", "pcen")

CHROMA = "chroma_stft"

#: Column of the bank, of a spectrum's energy, which says what silence is.
ENERGY = "energy"

#: A frame is put together from at most so many pieces of the clip.
PIECES = 256

#: Frames of a block of PCEN's average, at least: all of a clip of 5 s at the usual hop.
BLOCK = 256


class Spectral(nn.Module):
    """Samples (batch, sample) → feature → (batch, row, frame), of the features ``names`` of the spectrum."""

    def __init__(self, spec: FeatureSpec, names: Sequence[str], *, half: bool) -> None:
        super().__init__()
        self.power, self.floor = Power(spec), spec.floor
        columns = {
            "mfcc": lambda: definition.mel(spec.sr, spec.n_fft, MFCC_MELS)["bank"].T,
            "melspectrogram": lambda: definition.mel(spec.sr, spec.n_fft, spec.bins)["bank"].T,
            "pcen": lambda: definition.mel(spec.sr, spec.n_fft, spec.bins)["bank"].T,
            CHROMA: lambda: without_subnormals(banks.chroma(spec.sr, spec.n_fft, spec.bins, float(spec.tuning))),
        }
        # PCEN is of the very bands that the mel-spectrogram is of.
        self.bands = "melspectrogram" if "melspectrogram" in names else "pcen"
        parts = {name: columns[name]() for name in names if name != "pcen" or name == self.bands}
        if self.floor and CHROMA in names:
            parts[ENERGY] = whole_spectrum(spec.n_fft)
        self.widths = {name: part.shape[1] for name, part in parts.items()}
        bank = np.concatenate(list(parts.values()), axis=1)
        order = places(spec.n_fft)
        self.bank = Table(np.where(order[:, None] < 0, 0, bank[order]), half=half)
        self.normalised = EnergyNormalised(spec) if "pcen" in names else None
        self.dct = Table(banks.dct(MFCC_MELS, spec.bins), half=half) if "mfcc" in names else None

    def forward(self, samples: Tensor) -> dict[str, Tensor]:
        products = (self.power(samples) @ self.bank()).split(list(self.widths.values()), dim=2)
        parts = dict(zip(self.widths, products))
        energy = parts.pop(ENERGY, None)
        planes: dict[str, Tensor] = {}
        if self.normalised is not None:
            planes["pcen"] = self.normalised(parts[self.bands])
        for name, part in parts.items():
            if name == CHROMA:
                planes[name] = self.chroma(part, energy)
            elif self.dct is not None and name == "mfcc":
                planes[name] = decibels(part) @ self.dct()
            elif name == "melspectrogram":
                planes[name] = decibels(part)
        return {name: plane.transpose(1, 2) for name, plane in planes.items()}

    def chroma(self, pitches: Tensor, energy: Tensor | None) -> Tensor:
        """(batch, frame, row) over the frame's largest; zeros where the frame's ``energy`` (batch, frame, 1) is below the floor."""
        if energy is not None:
            amplitude = energy.sqrt()
            silent = amplitude < self.floor * amplitude.amax(dim=1, keepdim=True)
            pitches = torch.where(silent, torch.zeros_like(pitches), pitches)
        return over(pitches, pitches.amax(dim=2, keepdim=True))


def without_subnormals(bank: np.ndarray) -> np.ndarray:
    """Zeros for weights below float32's normal numbers, by which some processors multiply a hundred times as long: the ends of bell curves."""
    return np.where(np.abs(bank) < np.finfo(np.float32).tiny, np.float32(0), bank)


class Power(nn.Module):
    """Samples (batch, sample) → power spectrum (batch, frame, place) of centred Hann windows; the bins lie as ``places`` says."""

    window: Tensor
    first: Tensor
    cosines: Tensor
    sines: Tensor
    second: Tensor

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        self.n_fft, self.hop, self.frames = spec.n_fft, spec.hop_length, spec.frames
        self.one, self.two = factors(spec.n_fft)
        rows = np.arange(self.one // 2 + 1)
        turn = 2 * np.pi * np.outer(rows, np.arange(self.one)) / self.one
        twiddle = 2 * np.pi * np.outer(rows, np.arange(self.two)) / self.n_fft
        inner = 2 * np.pi * np.outer(np.arange(self.two), np.arange(self.two)) / self.two
        cosine, sine = np.cos(inner), np.sin(inner)
        self.register_buffer("window", constant(definition.hann(self.n_fft)["window"]))
        self.register_buffer("first", constant(np.concatenate([np.cos(turn), -np.sin(turn)])))
        self.register_buffer("cosines", constant(np.cos(twiddle)))
        self.register_buffer("sines", constant(np.sin(twiddle)))
        self.register_buffer("second", constant(np.block([[cosine, -sine], [sine, cosine]])))

    def forward(self, samples: Tensor) -> Tensor:
        windowed = self.framed(samples) * self.window
        halves = self.first @ windowed.reshape(-1, self.frames, self.one, self.two)
        rows = self.one // 2 + 1
        real, imaginary = halves[:, :, :rows], halves[:, :, rows:]
        turned = torch.cat(
            [real * self.cosines + imaginary * self.sines, imaginary * self.cosines - real * self.sines], dim=3
        )
        spectrum = turned @ self.second
        squares = spectrum * spectrum
        power = squares[:, :, :, : self.two] + squares[:, :, :, self.two :]
        return power.reshape(-1, self.frames, rows * self.two)

    def framed(self, samples: Tensor) -> Tensor:
        """(batch, frame, n_fft): each frame put together from pieces of the greatest common length of window and hop."""
        piece = math.gcd(self.n_fft, self.hop)
        step, count = self.hop // piece, self.n_fft // piece
        needed = ((self.frames - 1) * step + count) * piece
        left = self.n_fft // 2
        # What lies behind the last frame is left out, if anything does.
        sound = functional.pad(samples, (left, max(0, needed - left - samples.shape[1])))[:, :needed]
        pieces = sound.reshape(-1, needed // piece, piece)
        last = (self.frames - 1) * step + 1
        return torch.cat([pieces[:, first : first + last : step] for first in range(count)], dim=2)


class EnergyNormalised(nn.Module):
    """Mel power (batch, frame, band) → PCEN (``pipeline.features.pcen``).

    Its average over the past is a product in each block of frames, and one over the blocks, of what each hands on. One product over
    all frames would take the square of their number: gigabytes of a clip of minutes.
    """

    within: Tensor
    onward: Tensor
    fading: Tensor

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        left, self.frames = 1 - pcen.share(spec), spec.frames
        self.length = min(self.frames, max(BLOCK, math.isqrt(self.frames - 1) + 1))
        self.blocks = -(-self.frames // self.length)
        self.register_buffer("within", constant(pcen.share(spec) * decaying(left, self.length)))
        self.register_buffer("onward", constant(decaying(left**self.length, self.blocks)))
        self.register_buffer("fading", constant(left ** np.arange(1, self.length + 1)[:, None]))

    def forward(self, mel: Tensor) -> Tensor:
        power = pcen.SCALE * mel
        smooth = self.averages(power)
        gain = torch.exp(-pcen.GAIN * torch.log(smooth + pcen.EPSILON))
        return torch.sqrt(power * gain + pcen.BIAS) - math.sqrt(pcen.BIAS)

    def averages(self, power: Tensor) -> Tensor:
        """M (batch, frame, band); before the first frame it was that frame's level, as if it had gone on before."""
        bands = power.shape[2]
        filled = functional.pad(power, (0, 0, 0, self.blocks * self.length - self.frames))
        own = self.within @ filled.reshape(-1, self.blocks, self.length, bands)
        handed = torch.cat(
            [power[:, :1], own[:, :-1, -1]], dim=1
        )  # what each block is given, but for what came earlier
        smooth = own + self.fading * (self.onward @ handed)[:, :, None]
        return smooth.reshape(-1, self.blocks * self.length, bands)[:, : self.frames]


def decaying(left: float, count: int) -> np.ndarray:
    """(count, count): ``left`` to the power of the age of column j in row i, 0 where j is still to come, and where float32 has no
    normal number."""
    ages = np.subtract.outer(np.arange(count), np.arange(count))
    return without_subnormals(np.where(ages >= 0, left ** np.maximum(ages, 0.0), 0.0).astype(np.float32))


def factors(n_fft: int) -> tuple[int, int]:
    """(N1, N2) with N1 · N2 = n_fft and N1 as near to twice N2 as there is: least work, for half of N1 is enough."""
    one = min((n for n in range(1, n_fft + 1) if n_fft % n == 0), key=lambda n: abs(math.log(n / math.sqrt(2 * n_fft))))
    return one, n_fft // one


def places(n_fft: int) -> np.ndarray:
    """(place,): the bin that each place of ``Power`` holds, −1 where an earlier place holds it too."""
    one, two = factors(n_fft)
    k = (np.arange(one // 2 + 1)[:, None] + one * np.arange(two)).ravel()
    bins = np.minimum(k, n_fft - k)
    _, first = np.unique(bins, return_index=True)
    once = np.full(len(bins), -1)
    once[first] = bins[first]
    return once


def whole_spectrum(n_fft: int) -> np.ndarray:
    """(bin, 1): the bins of half a spectrum as often as they stand in the whole one."""
    times = np.full((n_fft // 2 + 1, 1), 2.0)
    times[[0, -1]] = 1.0
    return times


def check_framing(spec: FeatureSpec) -> None:
    """``InputError`` where hop and window have no common length that frames can be put together from."""
    if spec.n_fft // math.gcd(spec.n_fft, spec.hop_length) > PIECES:
        least = spec.n_fft // PIECES
        raise InputError(
            f"features.hop_length = {spec.hop_length}: expected one that shares a factor of at least {least} with "
            f"n_fft = {spec.n_fft}, for example {max(1, round(spec.hop_length / least)) * least}"
        )


def decibels(power: Tensor) -> Tensor:
    """``librosa.power_to_db`` of each clip: re 1, at least -100 dB and at most 80 dB below the largest of the clip."""
    level = torch.log(power.clamp(min=1e-10)) * (10 / math.log(10))
    return torch.maximum(level, level.amax(dim=(1, 2), keepdim=True) - 80)


def over(values: Tensor, norm: Tensor) -> Tensor:
    """``librosa.util.normalize``, given the norms: what has less than the smallest normal number stays."""
    return values / torch.where(norm < float(TINY), torch.ones_like(norm), norm)
