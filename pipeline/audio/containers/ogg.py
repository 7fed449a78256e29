"""OGG (RFC 3533): pages, and the streams that are chained one behind the other in a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from pipeline.audio.containers.checksums import checksum, remainders
from pipeline.audio.containers.layout import Layout, Part, Spliced

CAPTURE = b"OggS"
HEAD = 27
FIRST_PAGE, LAST_PAGE = 2, 4
CRC32 = remainders(0x04C11DB7, 32)

#: The shortest block of Opus, in samples of 48 kHz. (Of Vorbis half of the two shortest together: its header says.)
OPUS_STEP = 120

#: A page is closed before it is full only where the sound ends: libogg fills them to so many bytes of sound, and Opus'
#: encoders to a second (so half of one is full for sure).
FULL_BYTES, FULL_SAMPLES = 4096, 24_000

SEARCH = 1 << 16


def layout(file: BinaryIO, size: int) -> Layout:
    """Each chained stream is a part. A file without an end mark is whole if its encoder came to the sound's end."""
    links: list[list[int]] = []  # where the first page starts, the last but one, the last one, and where that one stops
    heads = False
    for start, stop, first in pages(file, size):
        if not links or (first and not heads):
            links.append([start, start, start, stop])
        links[-1][1:] = links[-1][2], start, stop
        heads = first
    if not links:
        return Layout()
    stop = links[-1][-1]
    file.seek(min(stop, size))
    rest = file.read(HEAD)
    if stop > size or (rest and len(rest) < HEAD and rest[:4] == CAPTURE[: len(rest)]):
        return Layout(lacking="a last page that is whole")
    lacking, parts, mended = "", [], False
    for begin, before, last, stop in links:
        file.seek(last)
        page = file.read(stop - last)
        file.seek(before)
        lacking = unfinished(file, begin, last, page, ends_at(file.read(HEAD)))
        if lacking or page[5] & LAST_PAGE:
            parts.append(Part(((begin, stop),)))
        else:  # libsndfile refuses Opus that ends within a block without the mark
            parts.append(Part(((begin, last), marked(page))))
            mended = True
    return Layout(tuple(parts) if mended or len(parts) > 1 else (), lacking=lacking)


def ends_at(page: bytes) -> int:
    """The place that a page says that the sound in it ends at, in samples."""
    return int.from_bytes(page[6:14], "little", signed=True)


def unfinished(file: BinaryIO, link: int, last: int, page: bytes, before: int) -> str:
    """What a last ``page`` lacks; "" for that of a whole stream, whose first page is at ``link`` and this one at ``last``.

    A stream without an end mark ends before its last block of sound does, or with a page that is not full, if its encoder
    was told the end; one that was cut off between pages does neither. ``before``: where the page before ends, in samples.
    """
    if page_checksum(page) != int.from_bytes(page[22:26], "little"):
        return "a last page with its own checksum"
    if page[5] & LAST_PAGE:
        return ""
    file.seek(link)
    head = file.read(HEAD + 255)
    body = head[HEAD + head[26] :]
    if body[:7] == b"\1vorbis":
        step = (1 << (body[28] & 15)) // 4
    elif body[:8] == b"OpusHead":
        step = OPUS_STEP
    else:
        return ""
    place = ends_at(page)
    if place > 0 and not (full(page) or (step == OPUS_STEP and place - before >= FULL_SAMPLES)):
        return ""
    told = place > 0 and (place % step or (step != OPUS_STEP and place < decoded(file, link, last, page)))
    return "" if told else "a last page marked as the end"


def full(page: bytes) -> bool:
    """Whether no more goes into a page, as far as its size tells."""
    return page[26] == 255 or len(page) - HEAD - page[26] >= FULL_BYTES


def decoded(file: BinaryIO, link: int, last: int, page: bytes) -> int:
    """Samples in all blocks of a stream, behind the place where its last page says that it ends too. Decodes all of it."""
    import soundfile  # seldom needed

    count = 0
    far = page[:6] + (1 << 40).to_bytes(8, "little") + page[14:]
    with (
        suppress(soundfile.SoundFileError),
        soundfile.SoundFile(Spliced(file, ((link, last), marked(far)))) as sound,
    ):
        while frames := len(sound.read(1 << 16)):
            count += frames
    return count


def page_checksum(page: bytes) -> int:
    return checksum(page[:22] + bytes(4) + page[26:], CRC32, 32)


def marked(page: bytes) -> bytes:
    """The page, with the mark of a stream's last one."""
    page_marked = page[:5] + bytes([page[5] | LAST_PAGE]) + page[6:]
    return page_marked[:22] + page_checksum(page_marked).to_bytes(4, "little") + page_marked[26:]


def pages(file: BinaryIO, size: int) -> Iterator[tuple[int, int, bool]]:
    """(start, stop, whether a stream begins with it) of each page; the last one's stop is beyond ``size`` if it is cut off."""
    place = 0
    while place + HEAD <= size:
        file.seek(place)
        head = file.read(HEAD)
        if head[:4] != CAPTURE:
            place = next_page(file, place + 1, size)
            continue
        table = file.read(head[26])
        stop = place + HEAD + head[26] + sum(table)
        yield place, stop if len(table) == head[26] else size + 1, bool(head[5] & FIRST_PAGE)
        place = stop


def next_page(file: BinaryIO, place: int, size: int) -> int:
    """Where the next page begins behind what is none; ``size`` where there is no more."""
    file.seek(place, os.SEEK_SET)
    while data := file.read(SEARCH):
        if (offset := data.find(CAPTURE)) >= 0:
            return place + offset
        if len(data) < SEARCH:
            break
        place += len(data) - 3
        file.seek(place)
    return size
