"""Formats whose sound lies in one run of bytes behind a stated size: WAV, RIFX, RF64, Wave64, AIFF, CAF and AU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from pipeline.audio.containers.layout import Layout, Part

Order = Literal["big", "little"]

#: Data sizes from here on mean "not known when the header was written", in 32 and in 64 bits: sound from a pipe.
UNKNOWN = {4: 0x7FFF0000, 8: 1 << 48}

#: First four bytes of a chunked file → name of the chunk with the sound, and the order of bytes.
CHUNKED: dict[bytes, tuple[bytes, Order]] = {
    b"RIFF": (b"data", "little"),
    b"RF64": (b"data", "little"),
    b"BW64": (b"data", "little"),
    b"RIFX": (b"data", "big"),
    b"FORM": (b"SSND", "big"),
}

#: Of Sony's Wave64, whose chunks go by 16 bytes, the first four of them in letters.
WAVE64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
WAVE64_HEAD, CAF_HEAD = 24, 12

#: Bytes at the head of the chunk with the sound: of AIFF an offset and a block size, of CAF a count of edits.
SSND_HEAD, CAF_EDITS = 8, 4


@dataclass(frozen=True)
class Size:
    """Where a header states the size of the sound: ``bias`` is what it counts beside the sound's own bytes."""

    at: int
    width: int
    order: Order
    bias: int = 0


@dataclass(frozen=True)
class Announced:
    """The sound of a file by its header: where it starts, how long it is to be, and where that is written."""

    start: int
    stated: int
    """Bytes of sound, as stated."""
    sizes: tuple[Size, ...]


def layout(file: BinaryIO, head: bytes, size: int) -> Layout | None:
    """Of a file of ``size`` bytes that begins with ``head`` (16 bytes); None for other formats."""
    sound = announced(file, head, size)
    if sound is None:
        return None
    there = size - sound.start
    width = max((one.width for one in sound.sizes), default=4)
    if there <= 0:
        return Layout()
    # More behind the stated end than before it, and no chunks: a size that was written before the sound was, or whose
    # 32 bits ran over.
    lying = there > 2 * max(sound.stated, 0) and not followed_by_chunks(file, sound, head, size)
    if lying or sound.stated >= UNKNOWN[width]:
        return Layout((Part((rewritten(file, sound, there), (sound.start, size))),))
    return Layout(present=there / sound.stated if there < sound.stated else 1.0)


def rewritten(file: BinaryIO, sound: Announced, there: int) -> bytes:
    """The bytes before the sound, with the true size in place of the stated one."""
    file.seek(0)
    head = bytearray(file.read(sound.start))
    for one in sound.sizes:
        # All ones in 32 bits: libsndfile goes by the file's size then.
        value = min(there + one.bias, (1 << 8 * one.width) - 1)
        head[one.at : one.at + one.width] = value.to_bytes(one.width, one.order)
    return bytes(head)


def announced(file: BinaryIO, head: bytes, size: int) -> Announced | None:
    """Where the sound lies by a file's header; None for other formats and where the chunk with it is not there."""
    kind = head[:4]
    if kind in CHUNKED and head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        return riff(file, kind, size)
    if head == WAVE64:
        for start, name, length in chunks(file, 40, 8, "little", WAVE64_HEAD, size):
            if name[:4] == b"data":
                field = Size(start - 8, 8, "little", WAVE64_HEAD)
                return Announced(start, length, (Size(16, 8, "little", start), field))
    if kind == b"caff":
        for start, name, length in chunks(file, 8, 1, "big", CAF_HEAD, size):
            if name == b"data":
                return Announced(start + CAF_EDITS, length - CAF_EDITS, (Size(start - 8, 8, "big", CAF_EDITS),))
    if kind in (b".snd", b"dns."):
        order: Order = "big" if kind == b".snd" else "little"
        start, length = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
        return Announced(start, length, (Size(8, 4, order),))
    return None


def riff(file: BinaryIO, kind: bytes, size: int) -> Announced | None:
    """Of the formats in ``CHUNKED``; RF64 keeps its sizes, of 64 bits, in a chunk of their own."""
    wanted, order = CHUNKED[kind]
    sizes: tuple[Size, ...] = ()
    long = -1
    for start, name, length in chunks(file, 12, 2, order, 8, size):
        if name == b"ds64":
            file.seek(start)
            long = int.from_bytes(file.read(16)[8:], "little")
            sizes = (Size(start, 8, "little", -8), Size(start + 8, 8, "little"))
        if name == wanted and long >= 0:
            # A size of its own in the chunk, as some write, is the truth of a short file.
            stated = length if 0 < length < UNKNOWN[4] else long
            riff_size = Size(sizes[0].at, 8, "little", start - 8)
            return Announced(start, stated, (riff_size, sizes[1]))
        if name == wanted:
            skipped = SSND_HEAD if kind == b"FORM" else 0
            fields = (Size(4, 4, order, start + skipped - 8), Size(start - 4, 4, order, skipped))
            return Announced(start + skipped, length - skipped, fields)
    return None


def chunks(
    file: BinaryIO, place: int, multiple: int, order: Order, head: int, size: int
) -> Iterator[tuple[int, bytes, int]]:
    """(start, name, length) of the chunks from ``place`` on; ``head`` bytes name each and state its length.

    Of Wave64 the length counts the head; chunks begin at multiples of ``multiple`` bytes.
    """
    width = 4 if head == 8 else 8
    while place + head <= size:
        file.seek(place)
        data = file.read(head)
        length = int.from_bytes(data[head - width :], order) - (head if head == WAVE64_HEAD else 0)
        yield place + head, data[: head - width], length
        if length < 0:
            return
        place += head + length + -length % multiple


def followed_by_chunks(file: BinaryIO, sound: Announced, head: bytes, size: int) -> bool:
    """Whether chunks follow on the stated end of the sound up to the file's: then it is the end."""
    if head[:4] not in CHUNKED:
        return sound.stated > 0  # of the others only 0 is known to stand for "not known"
    _, order = CHUNKED[head[:4]]
    place = sound.start + sound.stated + sound.stated % 2
    for start, name, length in chunks(file, place, 2, order, 8, size):
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        place = start + length + length % 2
    return 0 <= place - size < 2
