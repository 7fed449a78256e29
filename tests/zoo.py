"""Sound files of every kind that stage one must read, and of every kind that it must refuse.

``written(folder)`` and ``broken(folder)`` write them; tests of other modules use them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

#: Not a whole number of ADPCM blocks at any rate.
SECONDS = 0.777


@dataclass(frozen=True)
class Specimen:
    """A sound file: what was written to it, before coding."""

    name: str
    path: Path
    rate: int
    samples: np.ndarray
    """(frames, channels)"""
    snr: float
    """The coding's noise is at least so many dB below the sound."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


#: (ending, container, coding, rate, channels, dB): one coding a line, then channels and rates.
KINDS = (
    ("wav", "WAV", "PCM_U8", 44100, 1, 30),
    ("wav", "WAV", "PCM_16", 44100, 1, 70),
    ("wav", "WAV", "PCM_24", 44100, 1, 100),
    ("wav", "WAV", "PCM_32", 44100, 1, 100),
    ("wav", "WAV", "FLOAT", 44100, 1, 100),
    ("wav", "WAV", "DOUBLE", 44100, 1, 100),
    ("wav", "WAV", "ULAW", 8000, 1, 30),
    ("wav", "WAV", "ALAW", 8000, 1, 30),
    ("wav", "WAV", "MS_ADPCM", 44100, 1, 15),
    ("wav", "WAV", "MS_ADPCM", 8000, 2, 10),
    ("wav", "WAV", "IMA_ADPCM", 44100, 2, 15),
    ("wav", "WAV", "IMA_ADPCM", 8000, 1, 15),
    ("wav", "WAVEX", "PCM_16", 48000, 2, 70),
    ("wav", "WAVEX", "PCM_24", 96000, 2, 100),
    ("wav", "WAVEX", "FLOAT", 44100, 1, 100),
    ("wav", "WAVEX", "PCM_16", 48000, 6, 70),
    ("wav", "WAV", "PCM_24", 44100, 6, 100),
    ("wav", "WAV", "PCM_16", 44100, 2, 70),
    ("wav", "WAV", "FLOAT", 22050, 2, 100),
    ("wav", "WAV", "PCM_16", 22050, 1, 70),
    *(
        ("wav", "WAV", "PCM_16", rate, 1, 70)
        for rate in (8000, 11025, 16000, 24000, 32000, 48000, 88200, 96000, 176400, 192000)
    ),
    ("flac", "FLAC", "PCM_16", 44100, 2, 70),
    ("flac", "FLAC", "PCM_24", 96000, 1, 100),
    ("ogg", "OGG", "VORBIS", 44100, 2, 8),
    ("ogg", "OGG", "OPUS", 48000, 1, 8),
    ("mp3", "MP3", "MPEG_LAYER_III", 44100, 2, 8),
    ("aiff", "AIFF", "PCM_16", 44100, 1, 70),
    ("aifc", "AIFF", "FLOAT", 44100, 2, 100),
    ("au", "AU", "PCM_16", 44100, 1, 70),
    ("wav", "RF64", "PCM_16", 44100, 1, 70),
    ("w64", "W64", "PCM_16", 44100, 2, 70),
    ("wav", "RIFX", "PCM_16", 44100, 1, 70),
)


def sound(rate: int, channels: int, seconds: float = SECONDS) -> np.ndarray:
    """(frames, channels): a few tones below 3 kHz, other ones in each channel."""
    rng = np.random.default_rng(channels)
    t = np.arange(round(seconds * rate)) / rate
    parts = [sum(np.sin(2 * np.pi * f * t + k) for f in rng.uniform(100, 3000, 4)) * 0.12 for k in range(channels)]
    return np.stack(parts, axis=1)


def written(folder: Path) -> list[Specimen]:
    """One file of every kind in ``KINDS``."""
    collected = []
    for ending, container, coding, rate, channels, snr in KINDS:
        name = f"{container}-{coding}-{rate}-{channels}"
        path = folder / f"{name}.{ending}"
        samples = sound(rate, channels)
        if container == "RIFX":  # WAV with the bytes the other way round
            soundfile.write(path, samples, rate, coding, endian="BIG", format="WAV")
        else:
            soundfile.write(path, samples, rate, coding, format=container)
        collected.append(Specimen(name, path, rate, samples, snr))
    return collected


def broken(folder: Path) -> dict[str, Path]:
    """Files that are no clip, by what is wrong with them."""
    whole = folder / "whole.wav"
    soundfile.write(whole, sound(44100, 1), 44100, "PCM_16")
    data = whole.read_bytes()
    contents = {
        "empty": b"",
        "header": data[:44],
        "half a header": data[:20],
        "no data chunk": data[:36],
        "text": b"<html><body>404 Not Found</body></html>\n",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1234\n",
        "rubbish": bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)),
        "truncated": data[: len(data) // 2],
        "impossible rate": data[:24] + (2**31 - 1).to_bytes(4, "little") + data[28:],
    }
    files = {}
    for name, content in contents.items():
        files[name] = folder / f"{name.replace(' ', '-')}.wav"
        files[name].write_bytes(content)
    for name, value in (
        ("nan", np.nan),
        ("infinite", -np.inf),
        ("too large for float32", 1e300),
        ("huge", -1e19),
    ):
        samples = sound(44100, 1)[:, 0]
        samples[1000] = value
        files[name] = folder / f"{name.replace(' ', '-')}.wav"
        soundfile.write(files[name], samples, 44100, "DOUBLE")
    aiff = folder / "truncated.aiff"
    soundfile.write(aiff, sound(44100, 1), 44100, "PCM_16")
    aiff.write_bytes(aiff.read_bytes()[:20000])
    files["truncated aiff"] = aiff
    files["folder"] = folder / "folder.wav"
    files["folder"].mkdir()
    files["missing"] = folder / "missing.wav"
    whole.unlink()
    return files
