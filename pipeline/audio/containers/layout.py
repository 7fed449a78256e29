"""How a file is handed to libsndfile: as it stands, or as pieces of it behind a header that is right."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

#: Bytes to put in, or a range (start, stop) of the file.
Piece = bytes | tuple[int, int]


@dataclass(frozen=True)
class Part:
    """A stream of a sound file, as libsndfile gets it."""

    pieces: tuple[Piece, ...]
    skipped: int = 0
    """Frames at its beginning that are not the file's."""
    frames: int = 0
    """Frames behind these, where libsndfile does not know their number; 0 where it does."""


@dataclass(frozen=True)
class Layout:
    """The streams of a sound file, and whether they are whole."""

    parts: tuple[Part, ...] = ()
    """Streams to be read one after the other; () where libsndfile reads the file as it stands."""
    present: float = 1.0
    """Part of the announced sound that is there, above 0; 1 also where nothing is announced."""
    lacking: str = ""
    """What the structure lacks at its end, where the part that is there is not known."""
    broken: int = 0
    """Where the structure breaks, in bytes; 0 where it does not."""
    demuxer: str = ""
    """FFmpeg's name of the format; "" where libsndfile reads it."""
    unannounced: bool = False
    """Whether such a file may end in the middle of a packet: it announces no length."""


class Spliced(io.RawIOBase):
    """A file to be read that is made of pieces; the bytes stay on the disk."""

    def __init__(self, file: BinaryIO, pieces: tuple[Piece, ...]) -> None:
        self.file, self.pieces, self.place = file, pieces, 0
        lengths = (len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
        self.bounds = [0, *accumulate(lengths)]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.bounds[-1]}[whence]
        self.place = max(0, origin + offset)
        return self.place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer, over the seams too: libsndfile takes a short read for the end."""
        done = 0
        while done < len(buffer) and self.place < self.bounds[-1]:
            index = bisect_right(self.bounds, self.place) - 1
            within, most = (
                self.place - self.bounds[index],
                min(len(buffer) - done, self.bounds[index + 1] - self.place),
            )
            piece = self.pieces[index]
            if isinstance(piece, bytes):
                data = piece[within : within + most]
            else:
                self.file.seek(piece[0] + within)
                data = self.file.read(most)
            if not data:  # somebody made the file shorter
                break
            buffer[done : done + len(data)] = data
            done += len(data)
            self.place += len(data)
        return done
