"""MPEG audio (ISO 11172-3, 13818-3): the frames of a file, counted by their headers of four bytes.

libsndfile stops at the length that a Xing or Info frame states, or without one at a guess from the first frame's bit
rate. Here the frames are counted, and libsndfile is given what makes it read all of them. A file that was joined of
several of other rates or channels is read in parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from pipeline.audio.containers.layout import Layout, Part

#: kbit/s by index, of (MPEG-1, layer), and of MPEG-2 and 2.5.
BITRATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}

#: Sound may begin so far behind the file's first byte (recordings of radio begin in a frame), and no farther.
JUNK = 8192

#: Frames in a row, each where the one before ends, that are no accident.
ENOUGH = 4

SEARCH = 1 << 16
#: Where Fraunhofer's frame with the length has its letters.
VBRI_AT = 36

LAME = (b"LAME", b"Lavf", b"Lavc", b"GOGO")


@dataclass(frozen=True)
class Frame:
    """A frame by its header."""

    kind: tuple[int, int, int, bool]
    """Version, layer, Hz, and whether it is mono: what a decoder cannot change in its course."""
    length: int
    """Bytes."""


@dataclass
class Run:
    """Frames of one kind: where they lie, and how many they are."""

    kind: tuple[int, int, int, bool]
    ranges: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0

    def add(self, place: int, length: int) -> None:
        if self.ranges and self.ranges[-1][1] == place:
            self.ranges[-1] = (self.ranges[-1][0], place + length)
        else:
            self.ranges.append((place, place + length))
        self.frames += 1


def frame_of(head: bytes) -> Frame | None:
    """The frame that begins with ``head`` (4 bytes); None where none does, and for free formats."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, rate_index = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3:
        return None
    rate, kbps = RATES[version][rate_index], BITRATES[version == 3, layer][index]
    padding = head[2] >> 1 & 1
    if layer == 1:
        length = (12_000 * kbps // rate + padding) * 4
    else:
        length = (72_000 if layer == 3 and version != 3 else 144_000) * kbps // rate + padding
    return Frame((version, layer, rate, head[3] >> 6 == 3), length)


def layout(file: BinaryIO, start: int, size: int) -> Layout | None:
    """Of a file whose sound begins at ``start`` or up to ``JUNK`` bytes behind; None where there are no frames."""
    place = synchronised(file, start, size, start + JUNK)
    if place is None:
        return None
    runs, whole = scanned(file, place, size)
    first = runs[0]
    file.seek(first.ranges[0][0])
    frame = frame_of(file.read(4))
    assert frame is not None
    file.seek(first.ranges[0][0])
    tag = Tag.read(file.read(frame.length), frame)
    counted = first.frames - (tag is not None)
    if len(runs) == 1 and tag and tag.frames == counted and place == start and len(first.ranges) == 1:
        return Layout()
    if tag and tag.frames > (total := sum(run.frames for run in runs) - 1):
        there = size - first.ranges[0][0]
        if tag.size > there or (not whole and not tag.size):
            return Layout(present=max(total, 1) / tag.frames)
    return Layout(tuple(part(file, run, tag if run is first else None) for run in runs if run.frames))


def part(file: BinaryIO, run: Run, tag: Tag | None) -> Part:
    """A run of which libsndfile reads all frames: by the count in its first frame, or because it guesses too many.

    It guesses by the size of the first frame, so a silent one of the least size is put in front, and left out of the
    sound again. (A Xing frame that states the count would cost 529 samples, which mpg123 takes for a decoder's delay.)
    """
    start, stop = run.ranges[0]
    ranges: list[tuple[int, int]] = list(run.ranges)
    frames = run.frames
    if tag:
        ranges[0], frames = (start + len(tag.data), stop), frames - 1
        ranges = [one for one in ranges if one[1] > one[0]]
        if tag.mendable:
            return Part((tag.stating(frames, sum(b - a for a, b in ranges)), *ranges))
    file.seek(start)
    samples = samples_of(run.kind)
    return Part((silent_frame(file.read(4)), *ranges), samples, frames * samples)


def silent_frame(head: bytes) -> bytes:
    """The shortest frame of the kind of ``head``, without checksum or padding; its zeros are silence in every layer."""
    head_of_frame = bytes([head[0], head[1] | 1, 1 << 4 | head[2] & 0x0C, head[3]])
    frame = frame_of(head_of_frame)
    assert frame is not None
    return head_of_frame.ljust(frame.length, b"\0")


def samples_of(kind: tuple[int, int, int, bool]) -> int:
    """Samples of a frame, a channel."""
    version, layer, _, _ = kind
    return 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152


def side_information(frame: Frame) -> int:
    version, _, _, mono = frame.kind
    return (17 if mono else 32) if version == 3 else (9 if mono else 17)


@dataclass(frozen=True)
class Tag:
    """The frame of no sound that states the length of what follows."""

    data: bytes
    at: int
    """Of the letters in ``data``."""
    frames: int
    """As stated; 0 where it is not."""
    size: int
    """Bytes of the stream, as stated; 0 where it is not."""
    mendable: bool
    """Whether the count has a place where another can be written."""

    @classmethod
    def read(cls, data: bytes, frame: Frame) -> Tag | None:
        at = 4 + side_information(frame)
        if data[at : at + 4] in (b"Xing", b"Info"):
            flags = int.from_bytes(data[at + 4 : at + 8])
            place = at + 8
            frames = int.from_bytes(data[place : place + 4]) if flags & 1 else 0
            place += 4 * (flags & 1)
            length = int.from_bytes(data[place : place + 4]) if flags & 2 else 0
            return cls(data, at, frames, length, flags & 3 == 3)
        if data[VBRI_AT : VBRI_AT + 4] == b"VBRI":
            length, frames = (int.from_bytes(data[at : at + 4]) for at in (VBRI_AT + 10, VBRI_AT + 14))
            return cls(data, VBRI_AT, frames, length, False)
        return None

    def stating(self, frames: int, length: int) -> bytes:
        """The same frame with the true length, and without the padding that the encoder said to cut at the end."""
        frame = bytearray(self.data)
        at = self.at + 8
        frame[at : at + 8] = frames.to_bytes(4) + ((length + len(frame)) & 0xFFFFFFFF).to_bytes(4)
        flags = int.from_bytes(frame[self.at + 4 : at])
        lame = at + 8 + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
        if frame[lame : lame + 4] in LAME:
            frame[lame + 22] &= 0xF0
            frame[lame + 23] = 0
        return bytes(frame)


def scanned(file: BinaryIO, place: int, size: int) -> tuple[list[Run], bool]:
    """The runs of frames from ``place`` on, and whether the file ends with a whole frame (or what is no sound)."""
    runs: list[Run] = []
    while place + 4 <= size:
        file.seek(place)
        frame = frame_of(file.read(4))
        known = bool(runs) and frame is not None and frame.kind == runs[-1].kind
        if frame and (known or sure(file, place, size)):
            if place + frame.length > size:
                return runs, False
            if not known:
                runs.append(Run(frame.kind))
            runs[-1].add(place, frame.length)
            place += frame.length
            continue
        behind = behind_tag(file, place, size)
        if behind is None and (behind := synchronised(file, place + 1, size, size)) is None:
            break
        place = behind
    return runs, True


def sure(file: BinaryIO, place: int, size: int) -> bool:
    """Whether ``ENOUGH`` frames of one kind follow each other from ``place`` on, or up to the file's end or a tag."""
    kind = None
    for count in range(ENOUGH):
        file.seek(place)
        frame = frame_of(file.read(4))
        if frame is None or (kind and frame.kind != kind):
            return count > 0 and (place == size or behind_tag(file, place, size) is not None)
        kind = frame.kind
        place += frame.length
    return place <= size or count > 0


def synchronised(file: BinaryIO, place: int, size: int, last: int) -> int | None:
    """Where frames begin, from ``place`` on and before ``last``; None where they do not."""
    last = min(last, size)
    while place < last:
        file.seek(place)
        data = file.read(min(SEARCH, size - place))
        at = -1
        while (at := data.find(b"\xff", at + 1)) >= 0 and place + at < last:
            if frame_of(data[at : at + 4].ljust(4, b"\0")) and sure(file, place + at, size):
                return place + at
        place += max(1, len(data) - 3)
    return None


def behind_tag(file: BinaryIO, place: int, size: int) -> int | None:
    """Where a tag of words that begins at ``place`` ends; None where none begins there."""
    file.seek(place)
    head = file.read(16)
    if head[:3] == b"ID3":
        return behind_id3(file, place)
    if head[:3] == b"TAG":
        return min(place + 128, size)
    if head[:8] == b"APETAGEX":
        return min(place + 32 + int.from_bytes(head[12:16], "little"), size)
    return None


def behind_id3(file: BinaryIO, place: int) -> int:
    """The end of the ID3v2 tags at ``place``, one behind the other."""
    file.seek(place)
    while (head := file.read(10))[:3] == b"ID3" and len(head) == 10:
        length = sum((byte & 0x7F) << 7 * (3 - index) for index, byte in enumerate(head[6:]))
        place += 10 + length + (10 if head[5] & 0x10 else 0)
        file.seek(place)
    return place
