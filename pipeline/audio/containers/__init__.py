"""What a sound file holds, by its structure, and how all of it is read: stated lengths are not believed.

libsndfile stops where a header says that the sound ends, or at a guess of its own, and reads the first only of files
that were joined. So the structure is looked at first (chunks, pages, frames: cheap, nothing is decoded), and where a
header is silent or wrong libsndfile is given the same bytes behind a header that is right.

A file is **cut off** where its structure says that bytes are lacking: a chunk longer than the file, a page or a frame
of an announced stream that ends in its middle. A header **lies** where the structure is whole and the stated length is
another one, or where it says what stands for "not known" (0, all ones, sizes beyond any disk): such a file is read to
its end. A stream that announces no length (MP3 without a count, FLAC from a pipe) and stops in a frame lacks nothing
that was announced: its whole frames are the sound.

What libsndfile does not read and FFmpeg does (``foreign``) is known by its first bytes, whatever its name says.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from pipeline.audio.containers import (
    chunked,
    flac,
    foreign,
    mpeg,
    ogg,
)
from pipeline.audio.containers.layout import Layout

ID3 = b"ID3"


def layout_of(file: BinaryIO) -> Layout:
    """The layout of an open file; of a format without a reader here it is the file as it stands."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    if layout := foreign.layout(file, head, size):
        return layout
    if layout := chunked.layout(file, head, size):
        return layout
    if head[:4] == ogg.CAPTURE:
        return ogg.layout(file, size)
    start = mpeg.behind_id3(file, 0) if head[:3] == ID3 else 0
    file.seek(start)
    if file.read(4) == flac.MARKER:
        return flac.layout(file, start, size)
    if layout := foreign.bare_aac(file, start, size):
        return layout
    return mpeg.layout(file, start, size) or Layout()
