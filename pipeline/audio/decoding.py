"""The one reader of sounds: blocks of frames to the end of what is in a file, whatever its header states.

Stage one, ``verify`` and ``predict`` read by it, so that they agree on what a file holds. ``containers`` says which
bytes libsndfile gets, and whether a file was cut off.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from pipeline.audio import containers
from pipeline.audio.containers.layout import Layout, Part, Spliced

#: Samples of a block, all channels together: 4 MiB of float32.
BLOCK_SAMPLES = 1 << 20

#: libsndfile states lengths beyond this where it does not know.
UNKNOWN_FRAMES = 1 << 60

PIPE = "a named pipe"

#: What a path may lead to beside files, and what people call it.
SPECIAL = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, PIPE),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularError(Exception):
    """What is no regular file: it might never end, or never begin. The message says what it is."""


@dataclass
class Sound:
    """A sound file that is open: its first stream's properties, and what was read of it so far."""

    path: Path
    rate: int
    """Hz."""
    channels: int
    coding: str
    """libsndfile's subtype, "PCM_16"."""
    container: str
    """libsndfile's format, "WAV"."""
    layout: Layout
    streams: list[tuple[Spliced | None, Part]] = field(repr=False)
    frames: int = 0
    """Read so far, at ``rate``."""
    announced: float = 0.0
    """Of the streams that were begun, at ``rate``, as far as it is known."""
    ended: bool = False
    """Whether all has been read."""

    def blocks(self, most: int = BLOCK_SAMPLES) -> Iterator[np.ndarray]:
        """(n, channels) float32, full scale 1.0, to the end: all streams, one behind the other, at ``rate``.

        A block has at most ``most`` frames of its stream. Raises ``soundfile.SoundFileError`` and ``OSError`` where the
        file is damaged.
        """
        for stream, part in self.streams:
            with opened(self.path, stream) as file:
                stated = part.frames or (file.frames if file.frames < UNKNOWN_FRAMES else 0)
                self.announced += stated * self.rate / file.samplerate
                for block in resampled(file, self.rate, part.skipped, most):
                    self.frames += len(block)
                    yield block
        self.ended = True

    @property
    def whole(self) -> int:
        """Frames that the file holds, as far as that is known: read to its end, or by its structure."""
        return self.frames if self.ended else max(self.frames, int(self.announced))


@contextmanager
def opening(path: Path | str) -> Iterator[Sound]:
    """A sound file, to be read in blocks.

    Raises ``NotRegularError`` for pipes, devices, sockets and folders, ``soundfile.SoundFileError`` for what is no
    sound, and ``OSError`` for what the system refuses.
    """
    path = Path(path)
    with open_regular(path) as raw:
        layout = containers.layout_of(raw)
        streams: list[tuple[Spliced | None, Part]] = [(Spliced(raw, part.pieces), part) for part in layout.parts]
        streams = streams or [(None, Part(()))]
        with opened(path, streams[0][0]) as file:
            sound = Sound(path, file.samplerate, file.channels, file.subtype, file.format, layout, streams)
        yield sound


def open_regular(path: Path) -> Any:
    """A file to read bytes from; never waits for the other end of a pipe."""
    mode = path.stat().st_mode
    for is_kind, name in SPECIAL:
        if is_kind(mode):
            raise NotRegularError(name)
    # Somebody may put a pipe there meanwhile.
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb", buffering=1 << 16)


def opened(path: Path, stream: Spliced | None) -> soundfile.SoundFile:
    # Names are bytes; soundfile takes text in UTF-8 only.
    if stream is None:
        return soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else path)
    stream.seek(0)
    return soundfile.SoundFile(stream)


def resampled(file: soundfile.SoundFile, rate: int, skipped: int, most: int) -> Iterator[np.ndarray]:
    """The blocks of an open file at ``rate``, without the ``skipped`` first frames."""
    size = max(1, min(most, BLOCK_SAMPLES // file.channels))
    stream = None
    if file.samplerate != rate:
        stream = soxr.ResampleStream(file.samplerate, rate, file.channels, dtype="float32", quality="HQ")
    while len(block := read(file, size)):
        block, skipped = block[skipped:], max(0, skipped - len(block))
        yield block if stream is None else chunk(stream, block)
    if stream is not None:
        yield chunk(stream, np.zeros((0, file.channels), np.float32), last=True)


def read(file: soundfile.SoundFile, frames: int) -> np.ndarray:
    """Up to so many (frames, channels) float32."""
    if file.subtype != "PCM_16":
        return file.read(frames, dtype="float32", always_2d=True)
    # The same bit for bit, and three times as fast as libsndfile's own way to floats.
    return np.multiply(file.read(frames, dtype="int16", always_2d=True), np.float32(2**-15), dtype=np.float32)


def chunk(stream: soxr.ResampleStream, block: np.ndarray, last: bool = False) -> np.ndarray:
    return stream.resample_chunk(block, last=last).reshape(-1, block.shape[1])
