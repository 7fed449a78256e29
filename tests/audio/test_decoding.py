"""Sounds whose headers are silent or lie: read to the end of what is there, with one answer for all who read them."""

from __future__ import annotations

import io
import os
import socket
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.audio import ClipError, decoding, hearing
from pipeline.audio import reading as audio
from pipeline.audio.containers import mpeg, ogg
from pipeline.config import FeatureSpec
from pipeline.deploy import sounds
from pipeline.spelling import on_disk

SR = 44100
TONE = (0.3 * np.sin(np.arange(6 * SR) * 0.1)).astype(np.float32)


def whole_sound(path: Path, sr: int = 22050) -> np.ndarray:
    """All of a file, as ``predict`` hears it."""
    return np.concatenate(list(sounds.sound_blocks(path, sr)))


def encoded(samples: np.ndarray, rate: int, kind: str, coding: str | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=coding, **options)
    return file.getvalue()


def decoded(path: Path) -> np.ndarray:
    with decoding.opening(path) as sound:
        return np.concatenate([audio.mono(block) for block in sound.blocks()])


def replaced(data: bytes, at: int, value: int, width: int, order: str) -> bytes:
    return data[:at] + value.to_bytes(width, order) + data[at + width :]  # type: ignore[arg-type]


def piped(kind: str, data: bytes) -> list[bytes]:
    """The file as programs leave its size that write to a pipe, or that lie."""
    start = data.find({"AIFF": b"SSND", "AU": b".snd"}.get(kind, b"data"))
    if kind in ("WAV", "RIFX"):
        order = "little" if kind == "WAV" else "big"
        return [replaced(data, start + 4, size, 4, order) for size in (0, 0xFFFFFFFF, 0x7FFFFFFF, 100)]
    if kind == "RF64":
        place = data.find(b"ds64") + 16
        return [replaced(data, place, size, 8, "little") for size in (0, 2**64 - 1, 2**63 - 1)]
    if kind == "W64":
        return [replaced(data, start + 16, size, 8, "little") for size in (0, 24, 2**64 - 1, 2**63 - 1)]
    if kind == "CAF":
        return [replaced(data, start + 4, size, 8, "big") for size in (0, 4, 2**64 - 1)]
    if kind == "AU":
        return [replaced(data, 8, size, 4, "big") for size in (0, 0xFFFFFFFF)]
    frames = data.find(b"COMM") + 10
    return [
        replaced(replaced(data, start + 4, size, 4, "big"), frames, count, 4, "big")
        for size in (0, 8, 0xFFFFFFFF)
        for count in (0, 100, 10**7)
    ]


def flac(data: bytes, stated: int) -> bytes:
    value = int.from_bytes(data[18:26], "big")
    return replaced(data, 18, value & ~((1 << 36) - 1) | stated, 8, "big")


@pytest.mark.parametrize("kind", ["WAV", "RIFX", "RF64", "W64", "CAF", "AU", "AIFF"])
def test_sizes_that_are_not_known_or_lie(tmp_path: Path, kind: str) -> None:
    options = {"endian": "BIG"} if kind == "RIFX" else {}
    data = encoded(TONE, SR, "WAV" if kind == "RIFX" else kind, "PCM_16", **options)
    path = tmp_path / "sound"
    for content in [data, *piped(kind, data)]:
        path.write_bytes(content)
        np.testing.assert_allclose(decoded(path), TONE, atol=1e-4)
        spec = FeatureSpec()
        clip = audio.read_clip(path, sr=spec.sr, samples=spec.samples)
        np.testing.assert_array_equal(clip, whole_sound(path, spec.sr)[: spec.samples])
        assert hearing.heard(path, 4.0).frames == len(TONE)


def test_chunks_behind_an_empty_sound_are_not_heard(tmp_path: Path) -> None:
    data = encoded(np.zeros(0, np.float32), SR, "WAV", "PCM_16")
    (tmp_path / "a.wav").write_bytes(data + b"LIST" + (4).to_bytes(4, "little") + b"INFO")
    with pytest.raises(ClipError, match="without sound"):
        audio.read_clip(tmp_path / "a.wav", sr=SR, samples=SR)


@pytest.mark.parametrize("stated", [0, 1, 44100, 10**6, 2**36 - 1])
@pytest.mark.parametrize("channels", [1, 2])
def test_flac_holds_what_its_last_frame_says(tmp_path: Path, stated: int, channels: int) -> None:
    path = tmp_path / "a.flac"
    data = encoded(np.repeat(TONE[:, None], channels, 1), SR, "FLAC")
    for content in (flac(data, stated), flac(data, stated) + b"TAG" + bytes(125)):
        path.write_bytes(content)
        np.testing.assert_allclose(decoded(path), TONE, atol=1e-4)
    whole = whole_sound(path)
    assert len(whole) == len(TONE) // 2 and hearing.heard(path, 4.0).frames == len(TONE)
    path.write_bytes(flac(data, stated)[: len(data) // 2])
    if stated == 10**6:
        with pytest.raises(ClipError, match=r"cut off|damaged"):
            whole_sound(path)


@pytest.mark.parametrize("rate", [44100, 48000, 24000, 8000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_is_read_to_its_last_frame(tmp_path: Path, rate: int, channels: int, mode: str) -> None:
    """The oracle counts four-byte headers in a plain loop."""
    rng = np.random.default_rng(0)
    samples = np.r_[0.3 * np.sin(np.arange(rate) * 0.1), 0.1 * rng.standard_normal(2 * rate)].astype("f4")
    data = encoded(np.repeat(samples[:, None], channels, 1), rate, "MP3", bitrate_mode=mode, compression_level=0.3)
    place, frames = 0, 0
    while place < len(data):
        frame = mpeg.frame_of(data[place : place + 4])
        assert frame is not None
        place, frames = place + frame.length, frames + 1
    assert place == len(data)
    size = 576 if rate < 32000 else 1152
    first = mpeg.frame_of(data[:4])
    assert first is not None
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    count = tag + 8
    tags = b"ID3\x04\0\0\0\0\x02\x00" + bytes(256)
    path = tmp_path / "a.mp3"

    def heard(content: bytes) -> int:
        path.write_bytes(content)
        return len(decoded(path))

    plain = data[first.length :]
    assert heard(data) == len(samples)  # by LAME's own count of what it padded
    with soundfile.SoundFile(path) as file:
        np.testing.assert_array_equal(decoded(path), audio.mono(file.read(dtype="float32", always_2d=True)))
    assert heard(plain) == (frames - 1) * size
    assert heard(tags + plain + b"TAG" + bytes(125)) == (frames - 1) * size
    assert heard(plain + plain) == 2 * (frames - 1) * size
    assert heard(plain[100:]) == heard(plain[:-30]) == (frames - 2) * size  # a radio's recorder
    for lie in (0, 1, 10**7):
        # What the encoder says to leave out at the start is left out.
        assert 0 <= (frames - 1) * size - heard(replaced(data, count, lie, 4, "big")) < 1200
    assert 0 <= (2 * frames - 1) * size - heard(data + data) < 1200
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ClipError, match="cut off"):
        audio.read_clip(path, sr=22050, samples=22050)


def test_flac_files_that_were_joined_are_heard_to_the_end(tmp_path: Path) -> None:
    """Of any lengths, with a tag between them, of other rates and channels; one that is cut off is no sound."""
    first, second = TONE[: 2 * SR], TONE[::-1][: 3 * SR]
    one, two = (encoded(samples, SR, "FLAC") for samples in (first, second))
    tag = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
    for data, parts in (
        (one + two, (first, second)),
        (two + one, (second, first)),
        (one + one, (first, first)),
        (one + tag + two, (first, second)),
        (tag + one + two, (first, second)),
    ):
        (path := tmp_path / "t.flac").write_bytes(data)
        np.testing.assert_allclose(decoded(path), np.concatenate(parts), atol=2**-15)
    stereo = encoded(np.stack([first[:22050]] * 2, axis=1), 22050, "FLAC")
    path.write_bytes(one + stereo)
    assert abs(len(decoded(path)) - 3 * SR) < 3
    path.write_bytes(one + two[: len(two) // 2])
    with pytest.raises(ClipError):
        whole_sound(path)


def test_files_that_were_joined_of_several_rates_are_heard_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "joined.mp3"
    parts = [encoded(TONE[: 2 * rate], rate, "MP3") for rate in (44100, 22050, 8000)]
    path.write_bytes(b"".join(parts))
    assert 6 <= len(decoded(path)) / SR < 6.5


def unmarked(data: bytes) -> bytes:
    """An OGG without the mark of its last page."""
    last = data.rfind(b"OggS")
    page = bytearray(data[last:])
    page[5] &= ~ogg.LAST_PAGE
    page[22:26] = ogg.page_checksum(bytes(page)).to_bytes(4, "little")
    return data[:last] + bytes(page)


@pytest.mark.parametrize(("coding", "rate"), [("VORBIS", 44100), ("OPUS", 48000)])
def test_chained_ogg_and_ogg_without_an_end_mark(tmp_path: Path, coding: str, rate: int) -> None:
    data = encoded(TONE, rate, "OGG", coding)
    last = data.rfind(b"OggS")
    path = tmp_path / "a.ogg"
    for content, times in (
        (data, 1),
        (data + data, 2),
        (unmarked(data), 1),
        (unmarked(data) + data, 2),
        (data + b"junk" + data, 2),
    ):
        path.write_bytes(content)
        assert len(whole_sound(path)) == pytest.approx(times * len(TONE) * 22050 / rate, abs=2)
        assert hearing.heard(path, 4.0).frames == times * len(TONE)
    path.write_bytes(data[:last] + data[last : last + 5] + b"\0" + data[last + 6 :])  # its checksum is another's
    with pytest.raises(ClipError, match="cut off"):
        audio.read_clip(path, sr=SR, samples=SR)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.wav"))
        for name, words in (("pipe.wav", "a named pipe"), ("socket.wav", "a socket")):
            with pytest.raises(ClipError, match=f"not a file; expected a sound file.*, found {words}"):
                audio.read_clip(tmp_path / name, sr=SR, samples=SR)
    with pytest.raises(ClipError, match="found a device"):
        audio.read_clip("/dev/zero", sr=SR, samples=SR)
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    with pytest.raises(ClipError, match="cannot be read"):
        audio.read_clip(tmp_path / "loop.wav", sr=SR, samples=SR)


def test_names_that_are_no_text_or_spelled_otherwise(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    path.write_bytes(encoded(TONE[:9000], 22050, "WAV"))
    assert len(whole_sound(path)) == 9000
    composed = tmp_path / "é" / "ü.wav"
    decomposed = Path(unicodedata.normalize("NFD", str(composed)))
    decomposed.parent.mkdir()
    decomposed.touch()
    assert on_disk(composed) == decomposed and on_disk(tmp_path / "à.wav") == tmp_path / "à.wav"


def test_ogg_without_an_end_mark_that_ends_with_a_small_block_by_its_stated_end(tmp_path: Path) -> None:
    """Its blocks hold more than its last page says: the encoder was told the end. Cut between pages they hold as much."""
    samples = (0.2 * np.sin(np.arange(51200) * 0.05)).astype(np.float32)
    data = encoded(samples, SR, "OGG", "VORBIS")
    path = tmp_path / "a.ogg"
    path.write_bytes(unmarked(data))
    assert hearing.heard(path, 4.0).frames == len(samples)
    exact = (0.2 * np.sin(np.arange(88064) * 0.05) + np.random.default_rng(0).normal(0, 0.1, 88064)).astype(np.float32)
    path.write_bytes(unmarked(encoded(exact, SR, "OGG", "VORBIS")))  # its blocks hold just as much
    assert hearing.heard(path, 4.0).frames == len(exact)
    exact = exact[: 48 + 120 * 300]
    path.write_bytes(unmarked(encoded(exact, 48000, "OGG", "OPUS")))
    assert hearing.heard(path, 4.0).frames == len(exact)
    noisy = samples + np.random.default_rng(0).normal(0, 0.1, len(samples)).astype(np.float32)
    data = encoded(noisy, SR, "OGG", "VORBIS")
    path.write_bytes(data[: list(ogg.pages(io.BytesIO(data), len(data)))[-1][0]])
    with pytest.raises(ClipError, match="cut off"):
        hearing.heard(path, 4.0)
    for rate, coding in ((SR, "VORBIS"), (48000, "OPUS")):
        data = encoded(np.tile(noisy, 3), rate, "OGG", coding)
        path.write_bytes(data[: list(ogg.pages(io.BytesIO(data), len(data)))[-1][0]])
        with pytest.raises(ClipError, match="cut off"):
            hearing.heard(path, 4.0)
