"""Sounds that FFmpeg decodes: the samples that were encoded, one answer for all who read them, and a line for what is damaged."""

from __future__ import annotations

import importlib.metadata
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import cli
from pipeline import extras
from pipeline.audio import ClipError, decoding, hearing, media, read_clip
from pipeline.audio import reading as audio
from pipeline.config import InputError
from pipeline.corpus import files, leaks, open_corpus, verification
from pipeline.deploy import sounds
from pipeline.extraction import state
from tests.media import av, chirps, encoded, lag

#: Codec, container, kind of samples, rate, latest sample that is wrong at the beginning, samples that the end may have more.
LOSSY = [
    ("aac", "ipod", "", 44100, 0, 1024),
    ("aac", "mp4", "", 48000, 0, 1024),
    ("aac", "mov", "", 22050, 0, 1024),
    ("aac", "3gp", "", 16000, 0, 1024),
    ("aac", "matroska", "", 44100, 0, 1024),
    ("aac", "adts", "", 44100, 1024, 2048),
    ("libopus", "webm", "s16", 48000, 0, 0),
    ("libopus", "matroska", "flt", 48000, 0, 0),
    ("libmp3lame", "mp4", "", 44100, 0, 2304),
    ("libmp3lame", "matroska", "", 44100, 0, 2304),
    ("libmp3lame", "avi", "", 44100, 1105, 2304),
    ("wmav2", "asf", "", 44100, -2048, 0),
    ("libopencore_amrnb", "amr", "", 8000, 40, 160),
    ("libopencore_amrnb", "3gp", "", 8000, -10, 160),
]


def needed(codec: str) -> None:
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this build of FFmpeg does not encode {codec}")


def written(path: Path, *args, **options) -> Path:
    path.write_bytes(encoded(*args, **options))
    return path


def frames(path: Path) -> np.ndarray:
    with decoding.opening(path) as sound:
        return np.concatenate(list(sound.blocks()))


def one_answer(path: Path) -> None:
    """Stage one, verify and predict hear the same."""
    whole = np.concatenate(list(sounds.sound_blocks(path, 22050)))
    np.testing.assert_array_equal(read_clip(path, sr=22050, samples=3000), whole[:3000])
    with decoding.opening(path) as sound:
        count = sum(map(len, sound.blocks(1000)))
    about = hearing.heard(path, 4.0)
    assert about.frames == count == len(frames(path)) and abs(len(whole) - count * 22050 / about.rate) < 2


@pytest.mark.parametrize(("codec", "container", "kind", "rate", "late", "more"), LOSSY)
def test_what_was_encoded_is_heard(tmp_path, codec, container, kind, rate, late, more) -> None:
    """In place to the sample, as far as the container tells, to the end, and like it within the codec's loss."""
    needed(codec)
    channels = 1 if "amr" in codec else 2
    sound = chirps(rate, int(0.6 * rate) + 77, channels)
    path = written(tmp_path / "a", sound, rate, codec, container, kind=kind)
    heard = frames(path)
    assert heard.dtype == np.float32 and heard.shape[1] == channels
    with decoding.opening(path) as opened:
        assert (opened.rate, opened.channels) == (rate, channels)
    assert abs(lag(heard[:, 0], sound[:, 0]) - late) <= (2 if "amr" in codec else 0)
    assert -2048 * (codec == "wmav2") <= len(heard) - len(sound) <= more
    for channel in range(channels):
        there, true = heard[max(late, 0) :, channel], sound[max(-late, 0) :, channel]
        size = min(len(there), len(true))
        likeness = np.corrcoef(there[:size], true[:size])[0, 1]
        assert likeness > (0.8 if "amr" in codec else 0.998)
        assert there[:size].std() == pytest.approx(true[:size].std(), rel=0.2 if "amr" in codec else 0.1)
    one_answer(path)


@pytest.mark.parametrize(
    ("codec", "container", "kind", "step"),
    [
        ("pcm_s16le", "mov", "s16", 2**-15),
        ("pcm_s16be", "mov", "s16", 2**-15),
        ("pcm_s24le", "mov", "s32", 2**-23),
        ("pcm_s32le", "matroska", "s32", 2**-24),
        ("pcm_f32le", "mov", "flt", 0.0),
        ("pcm_f64le", "mov", "dbl", 0.0),
        ("pcm_u8", "avi", "u8", 2**-7),
        ("pcm_s16le", "avi", "s16", 2**-15),
        ("flac", "matroska", "s16", 2**-15),
        ("flac", "mp4", "s16", 2**-15),
        ("alac", "ipod", "s16p", 2**-15),
        ("alac", "ipod", "s32p", 2**-23),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_lossless_samples_of_every_kind_are_what_they_were(tmp_path, codec, container, kind, step, channels) -> None:
    sound = chirps(44100, 9999, channels)
    path = written(tmp_path / "a", sound, 44100, codec, container, kind=kind)
    heard = frames(path)
    assert (
        heard.shape == sound.shape
        and np.abs(heard - sound).max() <= (step if kind.startswith("s32") else step / 2) + 2**-26
    )
    np.testing.assert_allclose(
        read_clip(path, sr=44100, samples=9999), sound.mean(axis=1, dtype="f8"), atol=step + 1e-7
    )
    one_answer(path)


def test_the_default_stream_is_heard_or_the_first(tmp_path) -> None:
    one, two = chirps(48000, 4000), chirps(48000, 4000)[::-1].copy()
    for default, expected in ((None, one), (0, one), (1, two)):
        path = written(tmp_path / "a.mka", [one, two], 48000, "flac", "matroska", kind="s16", default=default)
        np.testing.assert_allclose(frames(path), expected, atol=2**-15)


def test_the_sound_of_a_film_and_a_film_without(tmp_path) -> None:
    sound = chirps(44100, 15000)
    for container in ("mp4", "mov", "matroska", "avi"):
        film = written(
            tmp_path / "film", sound, 44100, "aac" if container != "avi" else "pcm_s16le", container, frames=9
        )
        heard = frames(film)
        late = lag(heard[:, 0], sound[:, 0])
        assert late == 0 and 0 <= len(heard) - len(sound) < 1024
        silent = written(tmp_path / "silent", [], 44100, "aac", container, frames=9)
        with pytest.raises(ClipError, match=r"no sound in it; expected a stream of sound, found video only$"):
            read_clip(silent, sr=22050, samples=22050)


def test_the_content_says_what_it_is_and_not_the_name(tmp_path) -> None:
    sound = chirps(44100, 44100)
    for name in ("a.wav", "a.mp3", "a"):
        assert len(frames(written(tmp_path / name, sound, 44100, "aac", "mp4"))) >= 44100
    adts = encoded(sound, 44100, "aac", "adts")
    (tmp_path / "t.aac").write_bytes(b"ID3\x04\0\0\0\0\x02\x00" + bytes(256) + adts)  # as in what is streamed
    assert len(frames(tmp_path / "t.aac")) >= 44100


def test_an_edit_list_is_followed(tmp_path) -> None:
    """A phone that trims a recording leaves the sound as it is and says what part of it counts."""
    sound = chirps(44100, 44100)
    data = bytearray(encoded(sound, 44100, "aac", "mp4"))
    place = data.index(b"elst") + 4 + 4 + 4
    assert int.from_bytes(data[place + 4 : place + 8]) == 1024  # the encoder's delay
    data[place : place + 4] = (500).to_bytes(4)  # ms
    data[place + 4 : place + 8] = (1024 + 11025).to_bytes(4)
    (path := tmp_path / "a.m4a").write_bytes(data)
    heard = frames(path)[:, 0]
    assert lag(heard, sound[11025 : 11025 + 22050, 0]) == 0 and 0 <= len(heard) - 22050 <= 1024


def patched(data: bytes, name: bytes, behind: int, width: int, value: int) -> bytes:
    place = data.index(name) + len(name) + behind
    return data[:place] + value.to_bytes(width) + data[place + width :]


def test_stated_lengths_are_not_believed(tmp_path) -> None:
    """Durations of nothing, of a minute and of days; a segment and clusters of no known size, as a browser records."""
    sound = chirps(48000, 24000)
    path = tmp_path / "a"
    mp4 = encoded(sound, 48000, "aac", "mp4", options={"use_editlist": "0"})
    for value in (0, 1, 48000 * 60, 2**31 - 1, 2**32 - 1):
        for name in (b"mdhd", b"mvhd"):
            path.write_bytes(patched(mp4, name, 16, 4, value))
            assert 0 <= len(frames(path)) - len(sound) <= 2048
            one_answer(path)
    webm = encoded(sound, 48000, "libopus", "webm")
    segment = webm.index(media_segment := bytes.fromhex("18538067")) + len(media_segment)
    unknown = webm[:segment] + b"\x01" + b"\xff" * 7 + webm[segment + 8 :]
    for value in (b"\x00" * 8, b"\x7f\xf0" + bytes(6), b"\x40\xf0" + bytes(6)):  # durations of 0, infinity, 65,536 ms
        place = webm.index(b"\x44\x89\x88") + 3
        path.write_bytes(webm[:place] + value + webm[place + 8 :])
        assert len(frames(path)) == len(sound)
    live = encoded(sound, 48000, "libopus", "webm", options={"live": "1"})
    for data in (unknown, live):
        path.write_bytes(data)
        assert 0 <= len(frames(path)) - len(sound) <= 960
        one_answer(path)
        path.write_bytes(data[: len(data) // 2])  # what was sent when the line broke
        assert 6000 < len(frames(path)) < 16000


WHOLE = [
    ("aac", "mp4", {}),
    ("aac", "mp4", {"movflags": "faststart"}),
    ("aac", "mp4", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "300000"}),
    ("alac", "ipod", {}),
    ("libopus", "webm", {}),
    ("aac", "matroska", {}),
    ("wmav2", "asf", {}),
    ("pcm_s16le", "avi", {}),
]


@pytest.mark.parametrize(("codec", "container", "options"), WHOLE)
def test_a_file_that_is_cut_off_is_refused_in_a_line(tmp_path, capfd, codec, container, options) -> None:
    """Wherever it ends; what it says is of the file, and FFmpeg says nothing on the terminal."""
    needed(codec)
    data = encoded(
        chirps(48000, 36000), 48000, codec, container, kind="s16" if codec == "libopus" else "", options=options
    )
    path = tmp_path / "a.bin"
    for part in (0.01, 0.1, 0.3, 0.5, 0.8, 0.97):
        path.write_bytes(data[: int(part * len(data))])
        if "movflags" in options and "frag" in options["movflags"] and part == 0.97:
            continue  # in the index of fragments, behind all sound
        for read in (lambda: hearing.heard(path, 4.0), lambda: read_clip(path, sr=22050, samples=2000)):
            with pytest.raises(ClipError) as caught:
                read()
            assert "\n" not in str(caught.value) and str(path) in str(caught.value)
            if part > 0.5:
                assert caught.value.reason == "cut off"
    assert capfd.readouterr() == ("", "")


def test_bare_streams_are_heard_to_their_last_whole_frame(tmp_path) -> None:
    for codec, container, rate in (("aac", "adts", 44100), ("libopencore_amrnb", "amr", 8000)):
        needed(codec)
        data = encoded(chirps(rate, rate), rate, codec, container)
        (path := tmp_path / "a").write_bytes(data)
        whole = frames(path)
        path.write_bytes(data[: 2 * len(data) // 3 - 5])
        part = frames(path)
        assert 0.6 * len(whole) < len(part) < 0.75 * len(whole)
        np.testing.assert_array_equal(part[:1000], whole[:1000])
        one_answer(path)


@pytest.mark.parametrize(("codec", "container", "options"), [*WHOLE, ("aac", "adts", {})])
def test_damaged_files_end_in_a_line(tmp_path, capfd, codec, container, options) -> None:
    """Bytes changed, taken out and put in: sound no longer than it was, or a line, and nothing on the terminal."""
    needed(codec)
    data = encoded(
        chirps(48000, 24000), 48000, codec, container, kind="s16" if codec == "libopus" else "", options=options
    )
    rng = np.random.default_rng(0)
    path = tmp_path / "a.bin"
    for trial in range(24):
        changed = bytearray(data)
        place = int(rng.integers(len(data) - 8))
        if trial % 3 == 0:
            for _ in range(5):
                changed[rng.integers(len(data))] = rng.integers(256)
        elif trial % 3 == 1:
            changed[place : place + 4] = b"\xff\xff\xff\xff"
        else:
            changed[place:place] = rng.bytes(100)
        path.write_bytes(changed)
        try:
            assert hearing.heard(path, 4.0).frames <= 48000
        except ClipError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


def test_a_block_that_was_put_into_matroska_loses_nothing_silently(tmp_path) -> None:
    data = encoded(chirps(48000, 48000), 48000, "libopus", "webm")
    half = len(data) // 2
    (path := tmp_path / "a.webm").write_bytes(data[:half] + bytes(range(200)) + data[half:])
    with pytest.raises(ClipError, match=r"damaged, FFmpeg cannot decode it; .*breaks at byte \d+"):
        hearing.heard(path, 4.0)


def test_an_error_of_the_disk_is_not_the_files_end(tmp_path, monkeypatch) -> None:
    path = written(tmp_path / "a.m4a", chirps(44100, 120_000), 44100, "aac", "mp4")

    class Failing(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 10_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    monkeypatch.setattr(decoding, "open_regular", lambda path: Failing(io.FileIO(path)))
    with pytest.raises(ClipError, match="cannot be read"):
        hearing.heard(path, 4.0)
    reader = media.Reader(io.BytesIO(b"abc"))
    monkeypatch.setattr(reader, "file", type("Stopped", (), {"read": lambda self, size: interrupt()})())
    assert reader.read(5) == b"" and isinstance(reader.error, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        reader.check()


def interrupt() -> bytes:
    raise KeyboardInterrupt


# --- where the extra is not installed ---


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(extras, "is_installed", lambda name: name != "av")
    for module in (files, audio):
        monkeypatch.setattr(module, "is_installed", lambda name: name != "av")


REMEDY = r"pip install .*media.*; or convert it: ffmpeg -i {name} -vn"


def test_without_the_extra_a_line_says_how_to_get_it(tmp_path, without) -> None:
    path = written_elsewhere(tmp_path / "my film.m4a")
    for read in (
        lambda: hearing.heard(path, 4.0),
        lambda: read_clip(path, sr=22050, samples=2000),
        lambda: list(sounds.sound_blocks(path, 22050)),
    ):
        with pytest.raises(ClipError, match=REMEDY.format(name="'my film.m4a'")) as caught:
            read()
        assert caught.value.reason == audio.NEEDED and "\n" not in str(caught.value)
        assert str(caught.value).endswith("; or convert it: ffmpeg -i 'my film.m4a' -vn 'my film.wav'"), "to be copied"
    assert decoding.seconds_stated(path) == 0 and not audio.given_now(path, audio.NEEDED)
    with pytest.raises(InputError, match=r"a folder without sound files.*media.*ffmpeg"):
        sounds.sound_files(tmp_path)


def written_elsewhere(path: Path) -> Path:
    """A file that begins as those of phones do, and is not decoded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((24).to_bytes(4) + b"ftypM4A " + bytes(12) + bytes(100))
    return path


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    """Two classes, a clip in each of four formats."""
    for label in ("cow", "hen"):
        (tmp_path / label).mkdir()
        tone = chirps(22050, 11025) * (1.0 if label == "cow" else 0.5)
        written(tmp_path / label / f"{label}-m.m4a", tone, 22050, "aac", "ipod")
        written(tmp_path / label / f"{label}-a.webm", tone, 48000, "libopus", "webm", kind="s16")
        written(tmp_path / label / f"{label}-v.mp4", tone, 22050, "aac", "mp4", frames=3)
        written(tmp_path / label / f"{label}-w.avi", tone, 22050, "pcm_s16le", "avi")
    (tmp_path / "cow" / "cow-x.ape").write_bytes(b"MAC ")
    (tmp_path / "corpus.toml").write_text("seconds = 0.5\n")
    return tmp_path


def test_a_corpus_takes_them_and_says_what_it_leaves_out(farm, monkeypatch) -> None:
    corpus = open_corpus("folder", farm)
    assert len(corpus.clips) == 8 and {clip.path.suffix for clip in corpus.clips} == {".m4a", ".webm", ".mp4", ".avi"}
    assert [path.name for path in files.left_out(farm, {clip.path for clip in corpus.clips})] == ["cow-x.ape"]
    assert len(sounds.sound_files(farm)) == 8
    report = verification.verify(farm, "folder")
    assert report.clips == 8 and len(report.problems) == 1 and "cow-x.ape: no clip of the corpus" in report.problems[0]
    assert "convert it" in report.problems[0] and "m4a" in report.problems[0]
    (line,) = [line for line in leaks.told(corpus) if "left out" in line]
    assert "1 file that looks like a sound is left out, such as cow/cow-x.ape" in line and "media" not in line


def test_a_corpus_without_the_extra(farm, without, monkeypatch) -> None:
    """Files that no table lists are left out and counted, with the remedy; listed ones stay clips, which cannot be read."""
    for label, gain in (("cow", 1.0), ("hen", 0.5)):
        (farm / label / "a.wav").write_bytes(wav(gain))
    corpus = open_corpus("folder", farm)
    assert sorted(clip.name for clip in corpus.clips) == ["cow/a.wav", "hen/a.wav"]
    (line,) = [line for line in leaks.told(corpus) if "left out" in line]
    assert "9 files that look like sounds are left out" in line
    assert (
        "8 of them, such as cow-a.webm, need the extra media: " in line and "ffmpeg -i cow-a.webm -vn cow-a.wav" in line
    )
    problems = verification.verify(farm, "folder").problems
    assert sum("it needs the extra media" in problem for problem in problems) == 8
    with (farm / "folds.csv").open("a") as table:
        table.write("hen/hen-m.m4a,2,hen\n")
    listed = open_corpus("folder", farm)
    assert sorted(clip.name for clip in listed.clips) == ["cow/a.wav", "hen/a.wav", "hen/hen-m.m4a"]
    (problem,) = [line for line in verification.verify(farm, "folder").problems if line.startswith("hen/hen-m.m4a")]
    assert "needs the extra media" in problem and "pip install" in problem
    clip = next(clip for clip in listed.clips if clip.name.endswith("m4a"))
    skip = state.Failure(clip.name, state.File("", 1, 1, "", None), audio.NEEDED, "", "")
    assert state.given_now(listed.clips, (skip,)) == frozenset()
    monkeypatch.setattr(audio, "is_installed", lambda name: True)
    assert state.given_now(listed.clips, (skip,)) == {clip.name}
    (farm / "hen" / "a.wav").unlink()
    (farm / "folds.csv").unlink()
    with pytest.raises(InputError, match=r"hen holds no sound file.*media.*ffmpeg"):
        open_corpus("folder", farm)


def wav(gain: float) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, gain * chirps(22050, 11025), 22050, "PCM_16", format="WAV")
    return buffer.getvalue()


@pytest.mark.slow
def test_several_processes_extract_what_one_does(farm, tmp_path_factory, monkeypatch, capfd) -> None:
    import h5py

    monkeypatch.chdir(tmp_path_factory.mktemp("place"))
    arguments = ["features", "--dataset", "folder", "--data", str(farm), "--set", "features.bins=8"]
    arguments += ["--set", "features.bins_per_octave=24"]
    values = []
    for how in (["--backend", "sequential"], ["--jobs", "2"]):
        done = CliRunner().invoke(cli.main, [*arguments, *how])
        assert done.exit_code == 0 and "8 clips in" in done.output, done.output
        arrays = {}
        for path in sorted(Path("cache").rglob("fold*.h5")):
            with h5py.File(path) as file:
                arrays |= dict(zip(file["clip"].asstr()[()], file["features"][()]))
            path.unlink()
        values.append(arrays)
    assert values[0].keys() == values[1].keys() and len(values[0]) == 8
    for name, value in values[0].items():
        np.testing.assert_array_equal(value, values[1][name])


def test_the_extra_is_what_is_tested() -> None:
    assert int(importlib.metadata.version("av").partition(".")[0]) >= 17
