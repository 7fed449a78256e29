"""Resampling as convolutions whose taps are soxr's own, measured with impulses.

soxr's resampling (quality HQ, the project's and librosa's) is linear, and repeats itself: between the rates ``source`` and
``target`` with the greatest common divisor g there are up = target / g kinds of output sample, and

    y[up · q + p] = Σ_n h[p, n − down · q] · x[n],    down = source / g

so impulses at ``down`` neighbouring samples tell all of h. It is one convolution of ``up`` channels and stride ``down``.

Between most rates soxr goes in two steps, and the second does not see what the first would give ahead of the sound. The first
few output samples therefore have weights of their own (``beginning``).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import soxr
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import InputError
from pipeline.features.graph.tables import Table

#: What is smaller, of the largest tap, is rounding.
DUST = 1e-7

#: Numbers in the table of a pair of rates, at most: 4 MB.
LARGEST_TABLE = 1_000_000

#: Output samples that a convolution gives at once, one a channel: with a single channel it would copy its input taps times.
CHANNELS, FEW, SHORT = 32, 8, 4096


class Filter(nn.Module):
    """(batch, ``wanted``) → (batch, ``length``): the response of soxr from ``down`` input samples to ``up`` output samples.

    Output sample 0 lies at input sample ``before``.
    """

    def __init__(self, down: int, up: int, length: int, *, gain: float = 1.0, half: bool = False) -> None:
        super().__init__()
        taps, first = response(down, up)
        repeat = max(1, (CHANNELS if length >= SHORT else FEW) // up)
        channels = np.zeros((repeat * up, taps.shape[1] + down * (repeat - 1)))
        for again in range(repeat):
            channels[again * up : (again + 1) * up, again * down : again * down + taps.shape[1]] = gain * taps
        self.length, self.stride = length, down * repeat
        self.spans: list[tuple[int, int]] = []
        tables: list[nn.Module] = []
        for start in range(0, len(channels), CHANNELS):  # a few at a time: neighbours see nearly the same input
            part = channels[start : start + CHANNELS]
            used = np.flatnonzero(part.any(axis=0))
            low, high = int(used[0]), int(used[-1]) + 1
            single = up == 1 and not low and high == channels.shape[1]
            tables.append(
                Shifted(gain * taps[0], repeat, down, half=half) if single else Table(part[:, low:high].T, half=half)
            )
            self.spans.append((low, high))
        self.tables = nn.ModuleList(tables)
        self.blocks = -(-length // len(channels))
        self.before, self.wanted = -first, (self.blocks - 1) * self.stride + channels.shape[1]
        weights = gain * beginning(down, up)[:length]
        self.start = Table(weights.T, half=False) if weights.size else None
        self.wanted = max(self.wanted, self.before + weights.shape[1])

    def forward(self, sound: Tensor) -> Tensor:
        parts = []
        for (low, high), table in zip(self.spans, self.tables):
            seen = sound[:, low : high + (self.blocks - 1) * self.stride].unsqueeze(1)
            parts.append(functional.conv1d(seen, table().transpose(0, 1).unsqueeze(1), stride=self.stride))
        channels = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        response = channels.transpose(1, 2).flatten(1)[:, : self.length]
        if self.start is None:
            return response
        table = self.start()
        first = sound[:, self.before : self.before + table.shape[0]] @ table
        return response + functional.pad(first, (0, self.length - table.shape[1]))


class Shifted(nn.Module):
    """The matrix (tap, channel) of ``channels`` copies of one filter, each ``step`` samples behind the one before.

    Only the filter is kept; a runtime puts the matrix together once, when it loads the file.
    """

    def __init__(self, taps: np.ndarray, channels: int, step: int, *, half: bool) -> None:
        super().__init__()
        self.taps = Table(taps[:, np.newaxis], half=half)
        self.channels, self.step, self.width = channels, step, len(taps) + step * (channels - 1)

    def forward(self) -> Tensor:
        # Rows one ``step`` shorter than what is repeated: every row begins so much later in it.
        period = functional.pad(self.taps().flatten(), (0, self.width + self.step - len(self.taps.values)))
        repeated = period.unsqueeze(0).expand(self.channels, self.width + self.step).flatten()
        return repeated[: self.channels * self.width].reshape(self.channels, self.width).transpose(0, 1)


class Decimator(nn.Module):
    """(batch, ``length``) → (batch, ceil(length / factor)): ``librosa.resample(..., res_type="soxr_hq", scale=True)``."""

    def __init__(self, factor: int, length: int) -> None:
        super().__init__()
        # soxr rounds the number of samples, librosa fills up with a zero.
        there = (2 * length + factor) // (2 * factor)
        self.lacking = -(-length // factor) - there
        self.filter = Filter(factor, 1, there, gain=math.sqrt(factor))
        self.pads = (self.filter.before, max(0, self.filter.wanted - self.filter.before - length))

    def forward(self, signal: Tensor) -> Tensor:
        shorter = self.filter(functional.pad(signal, self.pads))
        return functional.pad(shorter, (0, self.lacking)) if self.lacking else shorter


class Resampler(nn.Module):
    """Samples (batch, n ≥ 1) at the rate ``source`` → (batch, ``length``) at ``target``, cut or filled up with zeros.

    As soxr, what comes out of n samples are n · target / source, rounded; what the filter rings beyond them is cut off.
    """

    def __init__(self, source: int, target: int, length: int, *, half: bool = False) -> None:
        super().__init__()
        check_rate(source, target)
        common = math.gcd(source, target)
        self.up, self.down, self.length = target // common, source // common, length
        self.filter = Filter(self.down, self.up, length, half=half)

    def forward(self, samples: Tensor) -> Tensor:
        before, wanted = self.filter.before, self.filter.wanted
        sound = functional.pad(samples, (before, wanted))[:, :wanted]
        there = (2 * samples.shape[1] * self.up + self.down) // (2 * self.down)
        return functional.pad(self.filter(sound)[:, :there], (0, self.length))[:, : self.length]


def check_rate(source: int, target: int) -> None:
    """``InputError`` for a rate from which the table to ``target`` would be too large."""
    common = math.gcd(source, target)
    least = 190 * max(1.0, source / target) + source // common
    if target // common * least > LARGEST_TABLE:
        raise InputError(
            f"{source} Hz: a table of {4e-6 * target // common * least:.0f} MB would resample it to {target} Hz; expected a rate "
            "that has more in common with it, for example 44100, 48000 or 16000"
        )


@lru_cache(maxsize=8)
def response(down: int, up: int) -> tuple[np.ndarray, int]:
    """(up, tap) float64, what soxr HQ weighs its input with, and the place of the first tap beside output sample 0.

    Row p, tap j weighs input sample ``down`` · q + first + j in output sample ``up`` · q + p.
    """
    reach = 2 * math.ceil(200 * max(1.0, down / up))
    middle = down * -(-2 * reach // down)
    size = 2 * middle + down
    q = middle // down  # output samples up · (q + t) + p lie at input samples down · (q + t) and behind
    span = -(-reach // down) + 1
    taps = np.zeros((up, 2 * span * down + down))
    for phase in range(down):
        impulse = np.zeros(size)
        impulse[middle + phase] = 1.0
        answer = soxr.resample(impulse, down, up, quality="HQ")
        for t in range(-span, span + 1):
            place = up * (q + t)
            part = answer[max(0, place) : place + up]
            # The impulse lies ``phase − down · t`` behind the beginning of that block of output samples.
            if len(part) == up and place >= 0:
                taps[:, (span - t) * down + phase] = part
    taps[np.abs(taps) < DUST * np.abs(taps).max()] = 0
    used = np.flatnonzero(taps.any(axis=0))
    low, high = used[0], used[-1] + 1
    return taps[:, low:high], int(low - span * down)


@lru_cache(maxsize=8)
def beginning(down: int, up: int) -> np.ndarray:
    """(output sample, input sample) float64: what is added to ``response`` at the beginning of a sound; empty in one step."""
    taps, first = response(down, up)
    reach = taps.shape[1] + first  # of output sample 0; nothing ahead of the sound is seen
    size = 2 * (taps.shape[1] + down)
    rows = -(-2 * reach * up // down)
    difference = np.zeros((rows, reach))
    for sample in range(reach):
        impulse = np.zeros(size)
        impulse[sample] = 1.0
        difference[:, sample] = soxr.resample(impulse, down, up, quality="HQ")[:rows]
    for row in range(rows):
        q, p = divmod(row, up)
        low = max(0, down * q + first)
        part = taps[p, low - down * q - first :][: max(0, reach - low)]
        difference[row, low : low + len(part)] -= part
    difference[np.abs(difference) < 10 * DUST * np.abs(taps).max()] = 0
    outputs, inputs = np.nonzero(difference)
    return difference[: outputs.max(initial=-1) + 1, : inputs.max(initial=-1) + 1]
