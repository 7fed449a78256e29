"""Whether a sound file holds all that its own header announces: libsndfile reads one that was cut off without a word."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

#: Longest page of an OGG file, in bytes.
OGG_PAGE = 65307

#: Data sizes from here on, in 32 bits, mean "not known when the header was written": sound from a pipe.
UNKNOWN_BYTES = 0x7FFF0000

#: First four bytes of a chunked file → name of the chunk with the sound. Sizes are big-endian in the last two.
CHUNKED = {b"RIFF": b"data", b"RF64": b"data", b"BW64": b"data", b"RIFX": b"data", b"FORM": b"SSND"}
BIG_ENDIAN = (b"RIFX", b"FORM")

#: Of Sony's Wave64, whose chunks go by 16 bytes, the first four of them in letters.
WAVE64, WAVE64_DATA = bytes.fromhex("726966662e91cf11a5d628db04c10000"), b"data"

#: Bytes at the head of the chunk with the sound in AIFF: an offset and a block size.
SSND_HEAD = 8


def part_there(path: Path) -> float:
    """Which part of its sound a file holds by its header, above 0 to 1; 1 for other files and unknown lengths.

    WAV (RIFF, RIFX, RF64, Wave64), AIFF and AU. ``OSError`` where it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start, length = announced(file)
    there = size - start
    return there / length if 0 < there < length else 1.0


def announced(file: BinaryIO) -> tuple[int, int]:
    """Where the sound begins and how many bytes it has, by a file's header; (0, 0) where that is not said."""
    head = file.read(16)
    if head[:4] in CHUNKED and head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        return chunk(file, head[:4])
    if head == WAVE64:
        return wave64_chunk(file)
    if head[:4] in (b".snd", b"dns."):
        order = "big" if head[:4] == b".snd" else "little"
        start, length = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))  # type: ignore[arg-type]
        return known(start, length)
    return 0, 0


def known(start: int, length: int) -> tuple[int, int]:
    return (start, length) if length < UNKNOWN_BYTES else (0, 0)


def chunk(file: BinaryIO, kind: bytes) -> tuple[int, int]:
    """Of the formats in ``CHUNKED``; RF64 keeps its sizes, of 64 bits, in a chunk of their own."""
    long = 0
    file.seek(12)
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[4:], "big" if kind in BIG_ENDIAN else "little")
        start = file.tell()
        if head[:4] == CHUNKED[kind]:
            if length == 0xFFFFFFFF and long:
                return start, long
            skipped = SSND_HEAD if kind == b"FORM" else 0
            return known(start + skipped, length - skipped)
        if head[:4] == b"ds64":
            long = int.from_bytes(file.read(16)[8:], "little")
        file.seek(start + length + length % 2)
    return 0, 0


def wave64_chunk(file: BinaryIO) -> tuple[int, int]:
    """Sizes count the 24 bytes of a chunk's head; chunks begin at multiples of 8."""
    file.seek(40)
    while len(head := file.read(24)) == 24:
        start, length = file.tell(), int.from_bytes(head[16:], "little") - 24
        if head[:4] == WAVE64_DATA:
            return start, length
        if length < 0 or start + length > 1 << 62:
            break
        file.seek(start + length + -length % 8)
    return 0, 0


def ended(path: Path) -> bool:
    """Whether an OGG file's last page is whole and marked as the stream's end (RFC 3533); True for other files."""
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return True
        size = file.seek(0, 2)
        file.seek(max(0, size - 2 * OGG_PAGE))
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    segments = page[26] if len(page) > 26 else 0
    length = 27 + segments + sum(page[27 : 27 + segments])
    return len(page) > 26 and bool(page[5] & 4) and length <= len(page)
