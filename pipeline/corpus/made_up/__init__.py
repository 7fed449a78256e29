"""The built-in corpus for a machine without data: made-up sounds, not recordings, in UrbanSound8K's layout.

Ten classes by ten folds by two "recordings" by two slices: 400 clips. A class is a sound recipe; each recording draws
its pitch, rhythm, colour, gain, noise and file format. The recipes overlap, as real classes do. A figure measured on
them says that the pipeline works, and nothing about real sounds; the file ``SYNTHETIC`` in the folder says so too.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

from pipeline.config import InputError
from pipeline.corpus import MARKER, URBANSOUND8K
from pipeline.corpus.made_up.recipes import (
    RECIPES,
    SIZE,
    SR,
    Rng,
    coloured,
    rush,
    scaled,
)

#: Raised whenever the same seed gives other clips.
VERSION = 1

FOLDS = range(1, 11)
RECORDINGS = 2
SLICES = 2

#: (rate, channels, container, coding) of the recordings, in turn; classes get them in a random order.
FORMATS = (
    (44100, 2, "WAV", "PCM_16"),
    (44100, 1, "WAV", "PCM_16"),
    (22050, 1, "WAV", "PCM_16"),
    (48000, 1, "WAV", "PCM_16"),
    (8000, 1, "WAV", "PCM_16"),
    (11025, 1, "WAV", "PCM_U8"),
    (16000, 2, "WAV", "PCM_16"),
    (24000, 1, "WAV", "PCM_U8"),
    (48000, 1, "WAV", "PCM_24"),
    (22050, 2, "WAV", "PCM_24"),
    (32000, 1, "WAV", "PCM_32"),
    (12000, 2, "WAV", "PCM_16"),
    (44100, 1, "WAV", "FLOAT"),
    (16000, 1, "WAV", "FLOAT"),
    (44100, 2, "WAV", "MS_ADPCM"),
    (22050, 1, "WAV", "MS_ADPCM"),
    (48000, 1, "WAVEX", "PCM_24"),
    (44100, 2, "WAVEX", "PCM_16"),
    (96000, 1, "WAVEX", "PCM_24"),
    (32000, 1, "WAVEX", "FLOAT"),
)

#: The clip without any sound, and the shortest one: (fold, class, recording, slice).
SILENT = (1, 9, 0, 1)
SHORTEST = (1, 3, 1, 1)

COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")


def write_synthetic(root: Path, *, seed: int = 0) -> None:
    """Write the corpus into the folder ``root``, in full or not at all; nothing to do where it is there already.

    The same seed gives the same bytes. An older version, or another seed, is replaced; ``InputError`` for a folder
    that holds something else.
    """
    root = Path(root)
    stamp = f"version {VERSION}, seed {seed}"
    if finished(root, stamp):
        return
    if root.exists() and not (root / MARKER).is_file() and not (root.is_dir() and not any(root.iterdir())):
        raise InputError(
            f"{root} holds something else, without a file {MARKER}; expected no folder, or one that the "
            "synthetic corpus was written to: name another folder, or move it away"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(root)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".tmp", dir=root.parent))
    old = unfinished.with_suffix(".old.tmp")
    try:
        unfinished.chmod(0o755)
        write_clips(unfinished, seed)
        (unfinished / MARKER).write_text(
            f"{stamp}\nMade-up sounds written by pipeline/corpus/made_up, not recordings: "
            "figures of them say nothing about real sounds.\n"
        )
        if (root / MARKER).is_file():
            root.rename(old)
        unfinished.rename(root)
    except OSError:
        if not finished(root, stamp):  # Else another process was as quick.
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def finished(root: Path, stamp: str) -> bool:
    """Whether this very corpus is in the folder; it is renamed into place as a whole, so its marker is enough."""
    marker = root / MARKER
    return marker.is_file() and marker.read_text(encoding="utf-8", errors="replace").partition("\n")[0] == stamp


def remove_leftovers(root: Path) -> None:
    """Delete what a killed process left beside ``root``; a living one is done within minutes."""
    for folder in root.parent.glob(f".{root.name}.*.tmp"):
        if time.time() - folder.stat().st_mtime > 3600:
            shutil.rmtree(folder, ignore_errors=True)


def write_clips(root: Path, seed: int) -> None:
    """All clips, and the table of them."""
    (root / "metadata").mkdir()
    recordings = [
        (fold, label, take) for fold in FOLDS for label in range(len(URBANSOUND8K)) for take in range(RECORDINGS)
    ]
    order = np.random.default_rng([seed, 0]).permutation(len(recordings))
    rows: list[tuple[object, ...]] = []
    for number, (fold, label, take) in enumerate(recordings):
        rng = np.random.default_rng([seed, 1, number])
        rate, channels, container, coding = FORMATS[order[number] % len(FORMATS)]
        sound, background = recording(label, rng)
        source = 900001 + number
        for part in range(SLICES):
            place = (fold, label, take, part)
            samples = piece(sound, background, rate, channels, rng, place)
            name = f"{source}-{label}-0-{part}.wav"
            path = root / "audio" / f"fold{fold}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(samples, rate, container, coding))
            start = round(float(rng.uniform(0, 30)), 3)
            end, salience = round(start + len(samples) / rate, 6), int(rng.integers(1, 3))
            rows.append((name, source, start, end, salience, fold, label, URBANSOUND8K[label]))
    with (root / "metadata" / "UrbanSound8K.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


def encoded(samples: np.ndarray, rate: int, container: str, coding: str) -> bytes:
    """The bytes of a sound file; libsndfile's time of writing (in the chunk PEAK of float files) is left out."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, coding, format=container)
    data = bytearray(buffer.getvalue())
    peak = data.find(b"PEAK", 0, 128)
    if peak >= 0:
        data[peak + 12 : peak + 16] = bytes(4)
    return bytes(data)


def recording(label: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """A recording of a class, coloured as by distance and microphone, of peak 1, and the noise heard behind it."""
    sound = coloured(RECIPES[label](rng), rng.uniform(-4, 1))
    background = rush(rng, rng.uniform(-6, 0))
    return sound / max(np.abs(sound).max(), 1e-9), background


def piece(
    sound: np.ndarray,
    background: np.ndarray,
    rate: int,
    channels: int,
    rng: Rng,
    place: tuple[int, int, int, int],
) -> np.ndarray:
    """A slice of a recording, with what is behind it at 0 to 20 dB: (frames, channels) at ``rate``, within -1 to 1."""
    seconds = 4.0 if rng.random() < 0.6 else rng.uniform(0.4, 4.0)
    if place[1:] == (place[0] * 7 % 10, 0, 1):  # One a fold is very short.
        seconds = rng.uniform(0.06, 0.2)
    if place == SHORTEST:
        seconds = 0.05
    length = round(seconds * SR)
    onset, elsewhere = rng.integers(0, SIZE - length + 1, 2)
    part = sound[onset : onset + length]
    level = max(float(np.sqrt(np.mean(part**2))), 1e-3) * 10 ** (-rng.uniform(0, 20) / 20)
    part = part + level * scaled(background[elsewhere : elsewhere + length])
    part = part * (0.0 if place == SILENT else 10 ** (rng.uniform(-30, 3) / 20))
    if rate != SR:
        part = soxr.resample(part, SR, rate)
    frames = np.zeros((round(seconds * rate), channels), dtype=np.float32)
    for channel in range(channels):
        frames[: len(part), channel] = part[: len(frames)] * (1 - channel * rng.uniform(0, 0.8))
    return np.clip(frames, -1, 1)
