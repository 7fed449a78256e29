"""Sounds in the formats that FFmpeg reads, encoded by PyAV."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av")

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}

#: Samples that an encoder takes at a time; of others any number.
FRAMES = {"aac": 1024, "libmp3lame": 1152, "libopus": 960, "libopencore_amrnb": 160}


def chirps(rate: int, samples: int, channels: int = 1) -> np.ndarray:
    """(samples, channels) float32 that is like itself at no other time; channels differ by a factor."""
    t = np.arange(samples) / rate
    sound = sum(0.2 * np.sin(2 * np.pi * k * (200 * t + 150 * t**2)) for k in (1, 2, 3))
    sound = sound * np.clip(np.sin(2 * np.pi * 1.5 * t) + 0.3, 0, 1)
    return np.stack([sound * (1 - 0.15 * channel) for channel in range(channels)], axis=1).astype(np.float32)


def encoded(
    sound: np.ndarray | Sequence[np.ndarray],
    rate: int,
    codec: str,
    container: str,
    *,
    kind: str = "",
    default: int | None = None,
    frames: int = 0,
    options: Mapping[str, str] | None = None,
    bit_rate: int = 64_000,
) -> bytes:
    """A file with a stream for each ``sound`` (samples, channels), and ``frames`` black pictures.

    ``kind``: of the samples that the codec gets, "s16"; else its first. ``default``: the stream that is marked so, alone.
    """
    sounds = [sound] if isinstance(sound, np.ndarray) else list(sound)
    with tempfile.TemporaryDirectory() as folder:  # to put the index first, FFmpeg opens the file again
        place = Path(folder, "sound")
        with av.open(str(place), "w", format=container, options=dict(options or {})) as file:
            film = file.add_stream("mpeg4", rate=10) if frames else None
            if film:
                film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
            streams = [file.add_stream(codec, rate=rate) for _ in sounds]
            for number, (stream, samples) in enumerate(zip(streams, sounds, strict=True)):
                stream.layout = LAYOUTS[samples.shape[1]]
                stream.format = kind or stream.codec_context.codec.audio_formats[0].name
                if not codec.startswith("pcm") and codec not in ("flac", "alac"):
                    stream.bit_rate = bit_rate * samples.shape[1]
                if default is not None:
                    stream.disposition = av.stream.Disposition(number == default)
            if film:
                add_pictures(file, film, frames)
            for stream, samples in zip(streams, sounds, strict=True):
                size = FRAMES.get(codec, 2048)
                for start in range(0, len(samples), size):
                    file.mux(stream.encode(frame_of(samples[start : start + size], rate, stream.format.name, start)))
                file.mux(stream.encode(None))
        return place.read_bytes()


def add_pictures(file: Any, film: Any, count: int) -> None:
    picture = av.VideoFrame.from_ndarray(np.zeros((72, 64), np.uint8), format="yuv420p")
    for number in range(count):
        picture.pts = number
        file.mux(film.encode(picture))
    file.mux(film.encode(None))


def frame_of(samples: np.ndarray, rate: int, kind: str, start: int) -> Any:
    """(n, channels) float32 as a frame of samples of a ``kind``, exactly rounded."""
    name = kind.removesuffix("p")
    dtype = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}[name]
    if name in ("flt", "dbl"):
        values = samples.astype(dtype)
    else:
        bits = 8 * np.dtype(dtype).itemsize
        values = np.clip(np.round(samples.astype("f8") * 2 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        values = (values + (128 if name == "u8" else 0)).astype(dtype)
    values = np.ascontiguousarray(values.T) if kind.endswith("p") else np.ascontiguousarray(values).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(values, format=kind, layout=LAYOUTS[samples.shape[1]])
    frame.sample_rate, frame.pts = rate, start
    return frame


def lag(heard: np.ndarray, sound: np.ndarray) -> int:
    """Samples by which ``heard`` (n,) is late, where it is most like ``sound`` (m,)."""
    size = 1 << (len(heard) + len(sound)).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sound, size)), size)
    place = int(np.argmax(likeness))
    return place if place < size // 2 else place - size
