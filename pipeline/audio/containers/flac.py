"""FLAC (RFC 9639): how many samples a file holds, by its last frame, whatever its header says."""

from __future__ import annotations

from itertools import pairwise
from typing import BinaryIO

from pipeline.audio.containers.checksums import checksum, remainders
from pipeline.audio.containers.layout import Layout, Part

MARKER = b"fLaC"

#: Behind the marker: STREAMINFO of 34 bytes, the last block before the frames or not. By chance in no sound.
BEGINNINGS = tuple(MARKER + kind + (34).to_bytes(3, "big") for kind in (b"\x00", b"\x80"))

#: Bytes that are looked through at a time.
BLOCK = 1 << 22
UNKNOWN = (0, (1 << 36) - 1)

#: A frame is shorter than this, where the header does not say: 65,535 samples of 8 channels in 32 bits.
LONGEST_FRAME = 65535 * 8 * 4 + 256

ID3V1 = 128


CRC8, CRC16 = remainders(0x07, 8), remainders(0x8005, 16)


def layout(file: BinaryIO, start: int, size: int) -> Layout:
    """Of a file whose marker is at ``start``, which may be several joined ones: all of them, one behind the other."""
    starts = [start, *beginnings(file, start + 4, size)]
    if len(starts) == 1:
        return stream(file, start, size)
    parts: list[Part] = []
    for first, last in pairwise([*starts, size]):
        one = stream(file, first, last, first)
        parts += one.parts or [Part(((first, last),))]
    return Layout(tuple(parts))


def beginnings(file: BinaryIO, first: int, last: int) -> list[int]:
    """Where further streams begin between two places of a file."""
    places, overlap = set[int](), len(BEGINNINGS[0]) - 1
    for start in range(first, last, BLOCK):
        file.seek(start)
        data = file.read(min(BLOCK + overlap, last - start))
        for beginning in BEGINNINGS:
            place = -1
            while (place := data.find(beginning, place + 1)) >= 0:
                places.add(start + place)
    return sorted(places)


def stream(file: BinaryIO, start: int, size: int, first: int = 0) -> Layout:
    """Of one that ends at ``size``: with the samples that are there, in the header's place for them; from ``first`` on."""
    file.seek(start)
    head = file.read(42)
    if len(head) < 42 or head[4] & 0x7F:
        return Layout()
    place = start + 18
    value = int.from_bytes(head[18:26], "big")
    stated = value & UNKNOWN[1]
    frames = samples(file, head, start + 42, size, stated)
    if frames is None or not frames[0]:
        return Layout()
    there, whole = frames
    if stated not in UNKNOWN and there < stated and not whole:
        return Layout(present=there / stated)
    if there == stated:
        return Layout()
    field = (value & ~UNKNOWN[1] | there).to_bytes(8, "big")
    return Layout((Part(((first, place), field, (place + 8, size))),))


def samples(file: BinaryIO, head: bytes, first: int, size: int, stated: int) -> tuple[int, bool] | None:
    """Samples in the whole frames of a file, and whether it ends with one; None where no frame is found."""
    longest = int.from_bytes(head[15:18], "big") or LONGEST_FRAME
    file.seek(max(first, size - ID3V1))
    if file.read(3) == b"TAG":
        size -= ID3V1
    for reach in (2 * longest + 64, 2 * LONGEST_FRAME):
        start = max(first, size - reach)
        file.seek(start)
        tail = file.read(size - start)
        place = len(tail)
        while (place := tail.rfind(b"\xff", 0, place)) >= 0:
            frame = header(tail, place, head)
            if frame is None:
                continue
            begins, count, length = frame
            whole = whole_frame(tail[place:], length, stated == begins + count)
            return (begins + count, True) if whole else (begins, False)
    return None


def header(data: bytes, place: int, info: bytes) -> tuple[int, int, int] | None:
    """(first sample, samples, bytes of the header) of a frame at ``place``; None where none begins there.

    ``info``: the file's first 42 bytes, with which the frame has to agree.
    """
    if len(data) - place < 6 or data[place + 1] & 0xFE != 0xF8:
        return None
    sizes, rates, assignment, widths = (
        data[place + 2] >> 4,
        data[place + 2] & 15,
        data[place + 3] >> 4,
        data[place + 3],
    )
    channels = (info[20] >> 1 & 7) + 1
    if not sizes or rates == 15 or widths & 1 or assignment > 10:
        return None
    if channels != (assignment + 1 if assignment < 8 else 2):
        return None
    number, end = coded_number(data, place + 4)
    if number < 0:
        return None
    if sizes in (6, 7):
        count = int.from_bytes(data[end : end + sizes - 5], "big") + 1
        end += sizes - 5
    else:
        count = 192 if sizes == 1 else 576 << (sizes - 2) if sizes < 6 else 256 << (sizes - 8)
    end += {12: 1, 13: 2, 14: 2}.get(rates, 0)
    if end >= len(data) or checksum(data[place : end + 1], CRC8, 8):
        return None
    fixed = int.from_bytes(info[10:12], "big")  # frames of the first one's size are numbered, others' samples are
    return number if data[place + 1] & 1 else number * fixed, count, end + 1 - place


def coded_number(data: bytes, place: int) -> tuple[int, int]:
    """A number of up to 36 bits coded as UTF-8 codes letters, and where it ends; -1 where there is none."""
    lead = data[place]
    extra = 0 if lead < 0x80 else next((n for n in range(1, 7) if lead >> (6 - n) == (1 << (n + 2)) - 2), -1)
    rest = data[place + 1 : place + 1 + max(extra, 0)]
    if extra < 0 or len(rest) < extra or any(byte >> 6 != 2 for byte in rest):
        return -1, place
    value = lead if not extra else lead & ((1 << (6 - extra)) - 1)
    for byte in rest:
        value = value << 6 | byte & 63
    return value, place + 1 + extra


def whole_frame(data: bytes, head: int, last: bool) -> bool:
    """Whether a frame that begins ``data`` ends with it; of the ``last`` one announced it may end before (padding)."""
    value = 0
    padded = False
    for index, byte in enumerate(data):
        value = (value << 8 & 0xFFFF) ^ CRC16[value >> 8 ^ byte]
        padded |= not value and index > head
    return not value or (last and padded)
