"""The one reader of sounds: blocks of frames to the end of what is in a file, whatever its header states.

Stage one, ``verify`` and ``predict`` read by it, so that they agree on what a file holds. ``containers`` says who decodes a file,
libsndfile or FFmpeg (``media``), which bytes libsndfile gets, and whether a file was cut off.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from pipeline.audio import containers, media
from pipeline.audio.containers.layout import Layout, Part, Spliced

#: Samples of a block, all channels together: 4 MiB of float32.
BLOCK_SAMPLES = 1 << 20

#: libsndfile states lengths beyond this where it does not know.
UNKNOWN_FRAMES = 1 << 60

#: Formats, and their codings, of which any frame is found directly, and is the same as after all that is before.
DIRECT = ("WAV", "WAVEX", "AIFF", "FLAC", "W64", "RF64", "AU", "CAF")
SAMPLES = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")

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
    """libsndfile's subtype, "PCM_16", or FFmpeg's name, "aac"."""
    container: str
    """libsndfile's format, "WAV", or FFmpeg's name, "mov"."""
    layout: Layout
    streams: list[tuple[Spliced | None, Part]] = field(repr=False)
    """For libsndfile."""
    stream: media.Stream | None = field(default=None, repr=False)
    """FFmpeg's."""
    frames: int = 0
    """Read so far, at ``rate``."""
    announced: float = 0.0
    """Of the streams that were begun, at ``rate``, as far as it is known."""
    ended: bool = False
    """Whether all has been read."""

    def blocks(self, most: int = BLOCK_SAMPLES, first: int = 0) -> Iterator[np.ndarray]:
        """(n, channels) float32, full scale 1.0, to the end: all streams, one behind the other, at ``rate``.

        A block has at most ``most`` frames of its stream. Frames before ``first`` may be left out, of formats that find a frame
        without what is before: ``frames`` counts them all the same. Raises ``soundfile.SoundFileError``, ``MediaError`` and
        ``OSError`` where the file is damaged.
        """
        for block in self.media_blocks(self.stream, most) if self.stream else self.sndfile_blocks(most, first):
            self.frames += len(block)
            yield block
        self.ended = True

    def sndfile_blocks(self, most: int, first: int) -> Iterator[np.ndarray]:
        for stream, part in self.streams:
            with opened(self.path, stream) as file:
                stated = part.frames or (file.frames if file.frames < UNKNOWN_FRAMES else 0)
                self.announced += stated * self.rate / file.samplerate
                if len(self.streams) == 1 and not part.skipped and file.format in DIRECT and file.subtype in SAMPLES:
                    self.frames = file.seek(min(first, file.frames))
                size = max(1, min(most, BLOCK_SAMPLES // file.channels))
                yield from resampled(read(file, part.skipped, size), file.samplerate, self.rate, file.channels)

    def media_blocks(self, stream: media.Stream, most: int) -> Iterator[np.ndarray]:
        """A rate, or a number of channels, may change on the way."""
        for (rate, channels), frames in groupby(stream.frames, lambda one: one[0]):
            size = max(1, min(most, BLOCK_SAMPLES // channels))
            yield from resampled(joined((samples for _, samples in frames), size), rate, self.rate, channels)

    @property
    def whole(self) -> int:
        """Frames that the file holds, as far as that is known: read to its end, or by its structure."""
        return self.frames if self.ended else max(self.frames, int(self.announced))


@contextmanager
def opening(path: Path | str) -> Iterator[Sound]:
    """A sound file, to be read in blocks.

    Raises ``NotRegularError`` for pipes, devices, sockets and folders, ``soundfile.SoundFileError`` and ``MediaError`` for what
    is no sound, and ``OSError`` for what the system refuses.
    """
    path = Path(path)
    with open_regular(path) as raw:
        layout = containers.layout_of(raw)
        if layout.demuxer:
            raw.seek(0)
            with media.opening(path, raw, layout) as stream:
                yield Sound(path, *stream.kind, stream.coding, layout.demuxer, layout, [], stream)
            return
        streams: list[tuple[Spliced | None, Part]] = [(Spliced(raw, part.pieces), part) for part in layout.parts]
        streams = streams or [(None, Part(()))]
        with opened(path, streams[0][0]) as file:
            sound = Sound(path, file.samplerate, file.channels, file.subtype, file.format, layout, streams)
        yield sound


def seconds_stated(path: Path) -> float:
    """A file's length by its header, which may lie; 0 where it says nothing, or the file cannot be read."""
    try:
        about = soundfile.info(os.fsencode(path) if os.name == "posix" else path)
        known = about.samplerate and about.frames < UNKNOWN_FRAMES
        return float(about.frames / about.samplerate) if known else 0.0
    except (OSError, RuntimeError):  # of RuntimeError are libsndfile's
        pass
    try:
        with open_regular(path) as raw:
            layout = containers.layout_of(raw)
            raw.seek(0)
            return media.seconds_stated(path, raw, layout) if layout.demuxer else 0.0
    except (OSError, NotRegularError):
        return 0.0


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


def read(file: soundfile.SoundFile, skipped: int, size: int) -> Iterator[np.ndarray]:
    """The blocks of an open file, of ``size`` frames each, without the ``skipped`` first frames."""
    while len(block := frames_of(file, size)):
        yield block[skipped:]
        skipped = max(0, skipped - len(block))


def joined(frames: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in blocks of at most ``size``: a decoder's frames are too short to be worth a step each."""
    held: list[np.ndarray] = []
    count = 0
    for samples in frames:
        held.append(samples)
        count += len(samples)
        if count >= size:
            whole = np.concatenate(held)
            yield from (whole[place : place + size] for place in range(0, count - count % size, size))
            held = [whole[count - count % size :]]
            count %= size
    if count:
        yield np.concatenate(held)


def resampled(blocks: Iterable[np.ndarray], rate: int, wanted: int, channels: int) -> Iterator[np.ndarray]:
    """Blocks (n, channels) of sound at ``rate`` as such at ``wanted`` Hz."""
    if rate == wanted:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, wanted, channels, dtype="float32", quality="HQ")
    for block in blocks:
        yield chunk(stream, block)
    yield chunk(stream, np.zeros((0, channels), np.float32), last=True)


def frames_of(file: soundfile.SoundFile, count: int) -> np.ndarray:
    """Up to so many (frames, channels) float32."""
    if file.subtype != "PCM_16":
        return file.read(count, dtype="float32", always_2d=True)
    # The same bit for bit, and three times as fast as libsndfile's own way to floats.
    return np.multiply(file.read(count, dtype="int16", always_2d=True), np.float32(2**-15), dtype=np.float32)


def chunk(stream: soxr.ResampleStream, block: np.ndarray, last: bool = False) -> np.ndarray:
    return stream.resample_chunk(block, last=last).reshape(-1, block.shape[1])
