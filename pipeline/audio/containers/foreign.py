"""Formats that libsndfile does not read: which one it is, by its first bytes, and whether a file of it is whole.

MP4 and QuickTime (also M4A, 3GP), Matroska and WebM, ASF (WMA), AVI, bare AAC and AMR. The first four state sizes of what they hold,
and a file that ends before is cut off; bare AAC and AMR announce nothing.
"""

from __future__ import annotations

from typing import BinaryIO

from pipeline.audio.containers import chunked
from pipeline.audio.containers.layout import Layout

#: First boxes of MP4 and QuickTime files.
BOXES = frozenset((b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip", b"pnot"))
INDEX, FRAGMENT, CONTENT = b"moov", b"moof", b"mdat"

EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")

#: Elements of Matroska that are made of others, and are looked into: the segment, clusters of blocks, and groups of those.
LOOKED_INTO = (SEGMENT, bytes.fromhex("1f43b675"), bytes.fromhex("a0"))
ASF, ASF_CONTENT = (bytes.fromhex(f"{start}11a6d900aa0062ce6c") for start in ("3026b2758e66cf", "3626b2758e66cf"))
AMR = b"#!AMR"

#: Behind sync and version of a frame of bare AAC: bytes of the head; frames in a row that are no accident.
ADTS_HEAD, ENOUGH = 7, 3


def layout(file: BinaryIO, head: bytes, size: int) -> Layout | None:
    """Of a file of ``size`` bytes that begins with ``head`` (16 bytes); None for what libsndfile reads, or nobody."""
    if head[4:8] in BOXES:
        return Layout(demuxer="mov", lacking=boxes_lack(file, size))
    if head[:4] == EBML:
        return matroska(file, size)
    if head[:16] == ASF:
        return Layout(demuxer="asf", lacking=objects_lack(file, size))
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return Layout(demuxer="avi", lacking=riff_lacks(file, size))
    if head[:5] == AMR:
        return Layout(demuxer="amr", unannounced=True)
    return None


def bare_aac(file: BinaryIO, place: int, size: int) -> Layout | None:
    """Where frames of ADTS begin at ``place``."""
    for count in range(ENOUGH):
        file.seek(place)
        head = file.read(ADTS_HEAD)
        if count and not head:
            break
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 if len(head) == ADTS_HEAD else 0
        if length < ADTS_HEAD or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
            return None
        place += length
        if place > size:
            break
    return Layout(demuxer="aac", unannounced=True)


def boxes_lack(file: BinaryIO, size: int) -> str:
    """What a file of boxes lacks: the end of one that matters, or the index, which recorders write last."""
    place, indexed = 0, False
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4]), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16])
        length = length or size - place  # up to the file's end
        if length < 8:
            break
        if kind in (INDEX, FRAGMENT, CONTENT) and place + length > size:
            return f"a last box ({kind.decode()}) that is whole"
        indexed |= kind == INDEX
        place += length
    return "" if indexed else "an index (the box moov, which is written when a recording ends)"


def matroska(file: BinaryIO, size: int) -> Layout:
    """Elements state their sizes and lead from one to the next, those in another one up to its end: sound is lost where they do not,
    for FFmpeg goes on where it finds a cluster again. What is sent while it is recorded has no size, and ends anywhere.
    """
    place, ends, announced = 0, list[int](), False
    while place < size:
        while ends and place == ends[-1]:
            ends.pop()
        name, start, length = element(file, place)
        if announced and not ends:
            break  # behind the segment
        if not start or (ends and start + (length or 0) > ends[-1]):
            return Layout(demuxer="matroska", broken=place if announced else 0, unannounced=True)
        if name == SEGMENT and length is not None and start + length > size:
            return Layout(demuxer="matroska", lacking="a segment that is whole", unannounced=True)
        announced |= name == SEGMENT and length is not None
        if name in LOOKED_INTO:
            ends += [start + length] if length is not None else []
            place = start
        else:
            place = start + (length or 0)
    return Layout(demuxer="matroska", unannounced=True)


def element(file: BinaryIO, place: int) -> tuple[bytes, int, int | None]:
    """Name, start of the content and its length of an element of Matroska; None for a length that is not known, start 0 for none."""
    file.seek(place)
    head = file.read(12)
    of_name = leading(head[0])
    of_length = leading(head[of_name]) if of_name <= 4 and len(head) > of_name else 9
    if of_length > 8 or len(head) < of_name + of_length:
        return b"", 0, 0
    most = (1 << 7 * of_length) - 1
    length = int.from_bytes(head[of_name : of_name + of_length]) & most
    return head[:of_name], place + of_name + of_length, None if length == most else length


def leading(byte: int) -> int:
    """Bytes of a number of Matroska's that begins with ``byte``; 9 where none does."""
    return 9 - byte.bit_length()


def objects_lack(file: BinaryIO, size: int) -> str:
    place = 0
    while place + 24 <= size:
        file.seek(place)
        head = file.read(24)
        length = int.from_bytes(head[16:], "little")
        if length < 24 or length >= chunked.UNKNOWN[8]:
            break
        if head[:16] in (ASF, ASF_CONTENT) and place + length > size:
            return "a last object that is whole"
        place += length
    return ""


def riff_lacks(file: BinaryIO, size: int) -> str:
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or not 0 < length < chunked.UNKNOWN[4]:
            break
        if place + 8 + length > size:
            return "a last chunk that is whole"
        place += 8 + length + length % 2
    return ""
