"""What changed copies of a clip may lie in: recordings of backgrounds, and responses of rooms, from folders of the user's own."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np

from pipeline.audio.reading import ClipError, read_sound
from pipeline.config import FeatureSpec, InputError
from pipeline.folder_contents import files_of, folder_of

#: Of a recording, so many seconds are heard at most.
LONGEST = 600.0

#: Of a room's response, what follows its loudest sample, at most.
ECHO = 3.0

#: Recordings that are held in memory at a time.
HELD = 64


@functools.lru_cache(maxsize=8)
def recordings(setting: str) -> tuple[Path, ...]:
    """The files of a folder, in the order of their names; none where the setting is "". Kept by the setting, which says what is in it."""
    return tuple(files_of(folder_of(setting))) if setting else ()


@functools.lru_cache(maxsize=HELD)
def recording(path: Path, rate: int) -> np.ndarray:
    """(n,) float32 of a recording at ``rate`` Hz. ``InputError`` for one that cannot be read, or is silent."""
    try:
        sound = read_sound(path, sr=rate, samples=round(LONGEST * rate))
    except ClipError as error:
        raise InputError(f"{error}; expected recordings alone in that folder: take it out") from None
    if not sound.any():
        raise InputError(f"{path}: nothing but silence; expected a recording: take it out of the folder")
    return sound


def check(spec: FeatureSpec) -> None:
    """``InputError`` for the first recording of the settings' folders that cannot be used."""
    for setting in (spec.backgrounds, spec.rooms):
        for path in recordings(setting):
            recording(path, spec.sr)


def chosen(paths: tuple[Path, ...], draw: float) -> Path | None:
    """None for ``draw`` in [0, ½), else one of the paths, all equally likely."""
    return None if draw < 0.5 or not paths else paths[min(int((2 * draw - 1) * len(paths)), len(paths) - 1)]


def in_room(sound: np.ndarray, path: Path, rate: int) -> np.ndarray:
    """The sound (n,) as a room's response answers to it: convolved, from the response's loudest sample on, as loud as before."""
    response = recording(path, rate)
    peak = int(np.argmax(np.abs(response)))
    response = response[peak : peak + round(ECHO * rate)].astype(np.float64)
    size = 1 << (len(sound) + len(response) - 1).bit_length()
    heard = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[: len(sound)]
    before, after = (float(np.mean(np.square(one, dtype=np.float64))) for one in (sound, heard))
    return (heard * math.sqrt(before / after) if after else heard).astype(np.float32)


def background(path: Path, rate: int, samples: int, begins: float) -> np.ndarray:
    """(samples,) float32 of a recording from the share ``begins`` of it on, again from its beginning where it ends."""
    sound = recording(path, rate)
    return np.resize(np.roll(sound, -int(begins * len(sound))), samples)
