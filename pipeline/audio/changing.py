"""The views of a clip as samples: clean, with noise, and copies whose speed, gain and noise are others.

A copy is a function of the clip's name, the seed and its own number alone: the same in any order, process and backend, and however
many copies there are.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

from pipeline.audio import surroundings
from pipeline.audio.reading import filled, noise
from pipeline.config import FeatureSpec

#: Slowest and fastest copy; all between are equally likely on a scale of octaves, for one is as far from 1 as the other.
SPEEDS = (0.8, 1.25)

#: Largest gain, in dB either way.
GAIN = 6.0

#: The noise of a copy is so many times as strong as that of the noisy view: from, to; equally likely on a scale of dB.
NOISES = (0.1, 10.0)

#: Of soxr, with which a copy's speed is changed: 16 bits, which takes less time than the 20 of what is read.
QUALITY = "MQ"

#: Signal-to-noise ratio of a copy in a background, in dB: from, to.
SNRS = (0.0, 20.0)


class Change(NamedTuple):
    """How a changed copy differs from its clip."""

    speed: float
    """The sound is played so many times as fast: shorter, and higher by as much."""
    gain: float
    """In dB, of all but its noise."""
    noise: float
    """Standard deviation of the noise, in units of full scale."""
    turned: float
    """The noise is that of the noisy view, beginning at this share of it."""
    room: Path | None = None
    """The response of the room that it is heard in, where there is one."""
    background: Path | None = None
    """The recording that it lies in, where there is one."""
    begins: float = 0.0
    """The share of the recording at which its piece begins."""
    snr: float = 0.0
    """In dB: the sound's mean square over that of the piece."""


def change(name: str, number: int, spec: FeatureSpec) -> Change:
    """How copy ``number`` (from 1) of the clip ``name`` is changed."""
    key = hashlib.sha256(f"{spec.noise_seed}/changed {number}/{name}".encode("utf-8", "surrogateescape")).digest()
    draws = np.random.Generator(np.random.SFC64(int.from_bytes(key[:16]))).random(8).tolist()
    speed, gain, level, turned, room, background, begins, snr = draws
    return Change(
        between(*SPEEDS, speed),
        GAIN * (2 * gain - 1),
        spec.noise_std * between(*NOISES, level),
        turned,
        surroundings.chosen(surroundings.recordings(spec.rooms), room),
        surroundings.chosen(surroundings.recordings(spec.backgrounds), background),
        begins,
        SNRS[0] + snr * (SNRS[1] - SNRS[0]),
    )


def between(low: float, high: float, share: float) -> float:
    """From ``low`` (``share`` 0) to ``high`` (1), by equal factors."""
    return low * math.exp(share * math.log(high / low))


def views(sound: np.ndarray, name: str, spec: FeatureSpec, *, rate: int, samples: int, short: str) -> np.ndarray:
    """(view, samples) float32 of the clip ``name``, in the order of ``spec.view_names``.

    ``sound`` (n,) at ``rate`` Hz, as ``reading.read_sound`` gives it: what is beyond ``samples`` is cut before a copy is made.
    ``short``: how what is too short is filled up.
    """
    each = np.empty((len(spec.view_names), samples), np.float32)
    each[0] = filled(sound, samples, short)
    hiss = noise(name, samples, std=spec.noise_std, seed=spec.noise_seed)
    np.add(each[0], hiss, out=each[1])
    for number in range(1, spec.views + 1):
        how = change(name, number, spec)
        each[1 + number] = changed(sound[:samples], hiss, how, spec.noise_std, rate, short)
    return each


def changed(sound: np.ndarray, hiss: np.ndarray, how: Change, std: float, rate: int, short: str) -> np.ndarray:
    """(samples,) float32 of a sound (n,) at ``rate`` Hz changed as ``how`` says; ``hiss`` (samples,): noise of deviation ``std``."""
    faster = soxr.resample(sound, rate * how.speed, rate, quality=QUALITY) if len(sound) else sound
    faster = (faster if len(faster) else sound)[: len(hiss)]
    copy = filled(faster, len(hiss), short)
    if how.room is not None:
        copy = surroundings.in_room(copy, how.room, rate)
    if how.background is not None:
        piece = surroundings.background(how.background, rate, len(hiss), how.begins)
        copy = copy + np.float32(strength(faster, piece, how.snr)) * piece
    copy *= np.float32(10 ** (how.gain / 20))
    if std:
        copy += np.float32(how.noise / std) * np.roll(hiss, int(how.turned * len(hiss)))
    return copy


def strength(sound: np.ndarray, piece: np.ndarray, snr: float) -> float:
    """By what a background is multiplied so that the mean square of the sound is ``snr`` dB above its own; 0 of silent ones."""
    power, behind = (float(np.mean(np.square(one, dtype=np.float64))) if len(one) else 0.0 for one in (sound, piece))
    return math.sqrt(power / 10 ** (snr / 10) / behind) if behind else 0.0
