"""Sounds that FFmpeg decodes and libsndfile does not, through PyAV, the extra ``media``: AAC, WMA, AMR, the sound of videos.

Of a file with several streams of sound the one that is marked as the default is heard, or the first. What the container says to
leave out at the beginning, the encoder's delay (edit lists, Opus' pre-skip, LAME's and iTunes' notes), is left out by FFmpeg, and of
WMA two blocks; bare AAC, AMR and AVI say nothing of theirs, which stays (1024 samples of AAC, as a rule). An edit list is followed, as
players do; otherwise samples come one behind the other, to the end: no silence is put in where times jump, no length is believed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.audio.containers.layout import Layout
from pipeline.extras import media_remedy

#: Reasons why a file is refused.
NEEDED = "a format that needs the extra media"
NO_SOUND = "no sound in it"
UNDECODED = "sound in a coding that FFmpeg does not decode"
DAMAGED = "damaged, FFmpeg cannot decode it"
CUT_OFF = "cut off"

#: Full scale of whole numbers, by dtype.
FULL_SCALE = {"uint8": 2**7, "int16": 2**15, "int32": 2**31}

#: Nothing but the file itself is opened, whatever it refers to.
OPTIONS = {"protocol_whitelist": "none", "enable_drefs": "0"}

#: Rate in Hz, channels.
Kind = tuple[int, int]


class MediaError(Exception):
    """A file that is refused: why, what was expected and what is there, each a few words."""

    def __init__(self, reason: str, expected: str, found: str) -> None:
        super().__init__(reason, expected, found)
        self.reason, self.expected, self.found = reason, expected, found


class Reader:
    """A file for FFmpeg, which takes an error for the end: it is kept, and raised where FFmpeg gives back."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        try:
            return b"" if self.error else self.file.read(size)
        except BaseException as error:  # also Ctrl-C, which a callback from C would lose
            self.error = error
            return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self.file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):  # a damaged file leads to places before its beginning
            return -1
        except BaseException as error:
            self.error = error
            return -1

    def tell(self) -> int:
        return self.file.tell()

    def check(self) -> None:
        if self.error:
            raise self.error


@dataclass
class Stream:
    """A stream of sound, as its first frame is."""

    kind: Kind
    coding: str
    """FFmpeg's name, "aac"."""
    frames: Iterator[tuple[Kind, np.ndarray]] = field(repr=False)
    """Kind, and (n, channels) float32, full scale 1.0, of each frame to the end."""


@contextmanager
def opening(path: Path, file: BinaryIO, layout: Layout) -> Iterator[Stream]:
    """A file's stream of sound, to be decoded frame by frame. Raises ``MediaError``, and ``OSError`` where reading fails."""
    av, reader = package(path), Reader(file)
    if layout.broken:
        raise MediaError(DAMAGED, "a whole file", f"a structure that breaks at byte {layout.broken}")
    with failing(av, reader, layout):
        container = av.open(reader, format=layout.demuxer, metadata_errors="replace", container_options=OPTIONS)
    with container:
        reader.check()
        stream = sound_of(av, container, layout)
        frames = decoded(av, container, stream, reader, layout)
        first = next(frames, None)
        rate, channels = first[0] if first else (stream.codec_context.sample_rate, stream.codec_context.channels or 1)
        if not rate:
            raise MediaError(DAMAGED, "sound with a sampling rate", "none")
        yield Stream((rate, channels), stream.codec_context.name, itertools.chain([first] if first else [], frames))


def package(path: Path) -> Any:
    """PyAV; ``MediaError`` with the remedies where it is not installed."""
    try:
        import av
    except ImportError:
        # The commands stand last, so that they can be copied.
        raise MediaError(NEEDED, "PyAV", f"none; install it: {media_remedy(path.name)}") from None
    return av


@contextmanager
def failing(av: Any, reader: Reader, layout: Layout) -> Iterator[None]:
    """FFmpeg's errors as ``MediaError``, and those of reading as they are."""
    try:
        yield
    except av.FFmpegError as error:
        reader.check()
        require_whole(layout)
        raise MediaError(DAMAGED, "a whole file", str(error.strerror)) from None


def require_whole(layout: Layout) -> None:
    """``MediaError`` for what is cut off before any of its sound."""
    if layout.lacking:
        raise MediaError(CUT_OFF, layout.lacking, "none")


def sound_of(av: Any, container: Any, layout: Layout) -> Any:
    """The stream that is heard. ``MediaError`` where there is none, or none that FFmpeg decodes."""
    streams = container.streams.audio
    if not streams:
        require_whole(layout)
        kinds = ", ".join(dict.fromkeys(stream.type for stream in container.streams))
        raise MediaError(NO_SOUND, "a stream of sound", f"{kinds} only" if kinds else "no stream at all")
    stream = next((one for one in streams if one.disposition & av.stream.Disposition.default), streams[0])
    if stream.codec_context is None:
        raise MediaError(UNDECODED, "AAC, ALAC, AC-3, AMR, FLAC, MP3, Opus, PCM, Vorbis or WMA", "another coding")
    stream.codec_context.thread_count = 1
    for other in container.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all  # of videos gigabytes are not read at all
    return stream


def decoded(av: Any, container: Any, stream: Any, reader: Reader, layout: Layout) -> Iterator[tuple[Kind, np.ndarray]]:
    """The stream's frames. Behind a packet that cannot be decoded the file is damaged, unless it is the last one of a file
    that announces no length, or that is known to be cut off."""
    packets = container.demux(stream)
    failed: MediaError | None = None
    while True:
        try:
            with failing(av, reader, layout):
                packet = next(packets, None)
        except MediaError as error:
            packet, failed = None, error
        reader.check()
        if packet is None:
            break
        if failed and packet.size:
            raise failed
        try:
            with failing(av, reader, layout):
                frames = packet.decode()
        except MediaError as error:
            failed = error
            continue
        for frame in frames:
            if frame.samples:
                yield (frame.sample_rate, frame.layout.nb_channels), samples_of(frame)
    if failed and not (layout.lacking or layout.unannounced):
        raise failed


def samples_of(frame: Any) -> np.ndarray:
    """(n, channels) float32 of a frame, whatever its samples are, full scale 1.0."""
    try:
        values = frame.to_ndarray()
    except ValueError:
        raise MediaError(UNDECODED, "samples of at most 32 bits", frame.format.name) from None
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # found where samples are looked at
            return np.ascontiguousarray(values, np.float32)
    scale = FULL_SCALE[values.dtype.name]
    floats = values.astype(np.float32, order="C")
    if values.dtype.kind == "u":
        floats -= scale
    floats *= np.float32(1 / scale)
    return floats


def seconds_stated(path: Path, file: BinaryIO, layout: Layout) -> float:
    """By the container; 0 where it says nothing, or cannot be read."""
    try:
        av, reader = package(path), Reader(file)
        with (
            failing(av, reader, layout),
            av.open(reader, format=layout.demuxer, metadata_errors="replace", container_options=OPTIONS) as container,
        ):
            return max(0.0, (container.duration or 0) / av.time_base)
    except MediaError:
        return 0.0
