"""Files to samples: equal to librosa's own loader, and no damaged file passes for a clip."""

from __future__ import annotations

import errno
import os
import pickle
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr

from pipeline.audio import reading as audio
from pipeline.audio.reading import (
    ClipError,
    mono,
    noise,
    read_clip,
)
from pipeline.config import LOUDEST, InputError
from pipeline.corpus import open_corpus
from tests import zoo

SR = 22050
ROOT = Path(__file__).resolve().parents[2]


def padded(samples: np.ndarray, length: int) -> np.ndarray:
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def by_librosa(path: Path, length: int) -> np.ndarray:
    return padded(librosa.load(path, sr=SR, res_type="soxr_hq")[0], length)


@pytest.fixture(scope="module")
def specimens(tmp_path_factory) -> dict[str, zoo.Specimen]:
    return {s.name: s for s in zoo.written(tmp_path_factory.mktemp("zoo"))}


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> dict[str, Path]:
    return zoo.broken(tmp_path_factory.mktemp("broken"))


NAMES = [f"{kind[1]}-{kind[2]}-{kind[3]}-{kind[4]}" for kind in zoo.KINDS]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_what_was_written(specimens, name: str) -> None:
    specimen = specimens[name]
    clip = read_clip(specimen.path, sr=SR, samples=SR, seconds=specimen.seconds)
    assert clip.dtype == np.float32 and clip.shape == (SR,)
    wanted = padded(soxr.resample(specimen.samples.mean(axis=1), specimen.rate, SR, quality="HQ"), SR)
    error = np.sum((clip - wanted) ** 2) / np.sum(wanted**2)
    assert error < 10 ** (-specimen.snr / 10)
    assert not clip[round(specimen.seconds * SR) + 1 :].any()  # ADPCM's filled-up last block is cut


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_librosas_loader_to_float32_rounding(specimens, name: str) -> None:
    specimen = specimens[name]
    # Without an annotation nothing is cut, as librosa cuts nothing.
    clip = read_clip(specimen.path, sr=SR, samples=2 * SR)
    np.testing.assert_allclose(clip, by_librosa(specimen.path, 2 * SR), rtol=1e-5, atol=1e-6)


def test_real_clips_are_librosas(mini) -> None:
    for clip in open_corpus("urbansound8k", mini).clips[::30]:
        ours = read_clip(clip.path, sr=SR, samples=88200, seconds=clip.seconds)
        np.testing.assert_array_equal(ours, by_librosa(clip.path, 88200), err_msg=clip.name)
        at_16k = read_clip(clip.path, sr=16000, samples=64000, seconds=clip.seconds)
        theirs = librosa.load(clip.path, sr=16000, res_type="soxr_hq")[0]
        np.testing.assert_allclose(at_16k, padded(theirs, 64000), rtol=1e-5, atol=1e-6, err_msg=clip.name)


def test_no_real_clip_is_refused(mini) -> None:
    for clip in open_corpus("urbansound8k", mini).clips:
        assert np.isfinite(read_clip(clip.path, sr=SR, samples=88200, seconds=clip.seconds)).all()


def test_stereo_is_librosas_mono_bit_for_bit() -> None:
    frames = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    np.testing.assert_array_equal(mono(frames), librosa.to_mono(frames.T))
    surround = np.random.default_rng(0).normal(size=(5000, 6)).astype(np.float32)
    np.testing.assert_allclose(mono(surround), librosa.to_mono(surround.T), atol=1e-6)


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 8000])
def test_of_a_long_file_only_the_beginning_is_read_and_it_is_the_same(tmp_path, rate: int) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.random.default_rng(1).normal(size=12 * rate) * 0.1, rate, "PCM_16")
    np.testing.assert_allclose(read_clip(path, sr=SR, samples=88200), by_librosa(path, 88200), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 40, 1102])
def test_very_short_clips(tmp_path, frames: int) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.full(frames, 0.5), 44100, "PCM_16")
    clip = read_clip(path, sr=SR, samples=SR, seconds=frames / 44100)
    np.testing.assert_allclose(clip, by_librosa(path, SR), atol=1e-6)


def test_the_annotation_cuts_a_longer_file_and_leaves_rounded_times_alone(tmp_path) -> None:
    path = tmp_path / "clip.wav"
    samples = np.full(22051, 0.25)
    soundfile.write(path, samples, SR, "PCM_16")
    assert np.count_nonzero(read_clip(path, sr=SR, samples=88200, seconds=1.0)) == 22051  # one frame: rounding
    assert np.count_nonzero(read_clip(path, sr=SR, samples=88200, seconds=0.5)) == 11025
    assert np.count_nonzero(read_clip(path, sr=SR, samples=88200, seconds=22051 / SR)) == 22051
    assert np.count_nonzero(read_clip(path, sr=SR, samples=1000, seconds=1.0)) == 1000


REASONS = {
    "empty": ("empty file", "a sound file", "0 bytes"),
    "header": ("header without sound", "at least one frame", "0 frames"),
    "half a header": ("damaged", "WAV", "fmt"),
    "no data chunk": ("damaged", "WAV", "data"),
    "text": ("text, not sound", "a sound file", "404 Not Found"),
    "pointer": ("text, not sound", "a sound file", "git-lfs"),
    "rubbish": ("damaged, or a format", "WAV", "Format not recognised"),
    "truncated": ("cut off", "0.777 s by its header", "0.388 s"),
    "truncated aiff": ("cut off", "0.777 s by its header", "0.226 s"),
    "impossible rate": ("an impossible sampling rate", "100 to 1,000,000 Hz", "2,147,483,647 Hz"),
    "huge": ("far beyond full scale", "1e+06 times full scale", "-1e+19 at 0.023 s (frame 1000)"),
    "nan": ("no numbers", "finite", "nan at frame 1000"),
    "infinite": ("no numbers", "finite", "-inf at frame 1000"),
    "too large for float32": ("no numbers", "finite", "inf at frame 1000"),
    "folder": ("not a file", "a sound file", "a folder"),
    "missing": ("missing", "a sound file", "no file"),
}


@pytest.mark.parametrize("kind", REASONS)
def test_a_file_that_is_no_clip_is_refused_in_one_line(broken, kind: str) -> None:
    with pytest.raises(ClipError) as caught:
        read_clip(broken[kind], sr=SR, samples=88200)
    error = caught.value
    assert error.path == broken[kind]
    for part, text in zip((error.reason, error.expected, error.found), REASONS[kind]):
        assert text in part and part in str(error)
    assert str(broken[kind]) in str(error) and "\n" not in str(error)
    assert isinstance(error, InputError)


def test_every_broken_file_has_its_reason(broken) -> None:
    assert set(broken) == set(REASONS)


def test_errors_come_through_pickling_whole(broken) -> None:
    with pytest.raises(ClipError) as caught:
        read_clip(broken["truncated"], sr=SR, samples=88200)
    other = pickle.loads(pickle.dumps(caught.value))
    assert vars(other) == vars(caught.value) and str(other) == str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "WAV-PCM_16-44100-1",
        "WAV-MS_ADPCM-44100-1",
        "WAV-IMA_ADPCM-8000-1",
        "WAVEX-FLOAT-44100-1",
        "FLAC-PCM_16-44100-2",
        "OGG-VORBIS-44100-2",
        "OGG-OPUS-48000-1",
        "MP3-MPEG_LAYER_III-44100-2",
        "AIFF-PCM_16-44100-1",
        "AIFF-FLOAT-44100-2",
        "AU-PCM_16-44100-1",
        "RF64-PCM_16-44100-1",
        "RIFX-PCM_16-44100-1",
        "W64-PCM_16-44100-2",
    ],
)
@pytest.mark.parametrize("annotated", [True, False])
def test_a_file_that_lost_its_second_half(specimens, tmp_path, name: str, annotated: bool) -> None:
    specimen = specimens[name]
    data = specimen.path.read_bytes()
    path = tmp_path / specimen.path.name
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ClipError, match=r"cut off|damaged|without sound"):
        read_clip(path, sr=SR, samples=88200, seconds=specimen.seconds if annotated else None)


@pytest.mark.parametrize("name", ["OGG-VORBIS-44100-2", "OGG-OPUS-48000-1"])
def test_an_ogg_file_cut_off_anywhere_is_refused(specimens, tmp_path, name: str) -> None:
    # It does not say how long it is: its last page says that it is the last, and how many bytes that has.
    data = specimens[name].path.read_bytes()
    path = tmp_path / "clip.ogg"
    for size in (len(data) // 4, data.rfind(b"OggS"), len(data) - 1000, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ClipError, match=r"cut off|damaged|without sound"):
            read_clip(path, sr=SR, samples=88200)
    path.write_bytes(data)
    read_clip(path, sr=SR, samples=88200)


@pytest.mark.parametrize(
    ("lacking", "refused"), [(0.0, False), (0.0055, False), (0.04, False), (0.06, True), (3.0, True)]
)
def test_how_much_shorter_than_its_annotation_a_clip_may_be(tmp_path, lacking: float, refused: bool) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.full(round((4 - lacking) * SR), 0.1), SR, "PCM_16")
    if refused:
        with pytest.raises(ClipError, match=r"4\.000 s by its annotation"):
            read_clip(path, sr=SR, samples=88200, seconds=4.0)
    else:
        read_clip(path, sr=SR, samples=88200, seconds=4.0)


def test_a_clip_of_50_ms_that_lost_half_is_refused_and_one_that_lost_5_ms_is_not(tmp_path) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.full(round(0.05 * SR), 0.1), SR, "PCM_16")
    read_clip(path, sr=SR, samples=88200, seconds=0.0545)  # as in the real mini set
    soundfile.write(path, np.full(round(0.025 * SR), 0.1), SR, "PCM_16")
    with pytest.raises(ClipError, match="cut off"):
        read_clip(path, sr=SR, samples=88200, seconds=0.05)


@pytest.mark.parametrize("stated", [1.0, LOUDEST])
def test_samples_up_to_the_bound_are_read(tmp_path, stated: float) -> None:
    path = tmp_path / "loud.wav"
    samples = np.zeros(SR)
    samples[-1] = stated
    soundfile.write(path, samples, SR, "FLOAT")
    assert np.abs(read_clip(path, sr=SR, samples=SR)).max() == stated


@pytest.mark.parametrize("stated", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_from_a_pipe_does_not_know_its_length_and_is_read(tmp_path, stated: int) -> None:
    path = tmp_path / "pipe.wav"
    soundfile.write(path, np.full(SR, 0.1), SR, "PCM_16")
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", stated)
    path.write_bytes(data)
    assert np.count_nonzero(read_clip(path, sr=SR, samples=88200)) == SR


@pytest.mark.parametrize("order", ["big", "little"])
def test_an_au_file_from_a_pipe_is_read(tmp_path, order: str) -> None:
    path = tmp_path / "pipe.au"
    soundfile.write(path, np.full(SR, 0.1), SR, "PCM_16", endian=order.upper(), format="AU")
    data = bytearray(path.read_bytes())
    data[8:12] = b"\xff" * 4
    path.write_bytes(data)
    assert np.count_nonzero(read_clip(path, sr=SR, samples=88200)) == SR


def test_what_the_system_refuses_is_told_from_what_is_in_the_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.full(SR, 0.1), SR, "PCM_16")

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(soundfile.SoundFile, "read", refused)
    with pytest.raises(ClipError) as caught:
        read_clip(path, sr=SR, samples=88200)
    assert caught.value.reason == "cannot be read" and "Input/output error" in caught.value.found
    assert {"missing", "no permission to read it", "cannot be read"} == audio.PASSING


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_no_permission() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "clip.wav"
        soundfile.write(path, np.full(SR, 0.1), SR, "PCM_16")
        path.chmod(0)
        me = os.geteuid()
        if me == 0:
            os.seteuid(65534)  # root may read everything
        try:
            with pytest.raises(ClipError) as caught:
                read_clip(path, sr=SR, samples=88200)
        finally:
            os.seteuid(me)
        assert "no permission" in caught.value.reason and caught.value.found == "----------"


def test_noise_is_white_gaussian_noise_of_the_stated_level() -> None:
    values = noise("a.wav", 88200, std=0.005, seed=0)
    assert values.dtype == np.float32 and values.shape == (88200,)
    assert abs(values.std() / 0.005 - 1) < 0.02 and abs(values.mean()) < 1e-4
    inside = [np.mean(np.abs(values) < k * 0.005) for k in (1, 2, 3)]
    np.testing.assert_allclose(inside, [0.6827, 0.9545, 0.9973], atol=0.01)
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.02
    assert not noise("a.wav", 100, std=0, seed=0).any()


def test_noise_depends_on_name_and_seed_alone() -> None:
    first = noise("a.wav", 1000, std=1, seed=0)
    others = [
        noise("b.wav", 1000, std=1, seed=0),
        noise("a.wav", 1000, std=1, seed=1),
        noise("1:a.wav", 1000, std=1, seed=0),
    ]
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.15
    np.testing.assert_array_equal(first, noise("a.wav", 1000, std=1, seed=0))
    np.testing.assert_array_equal(first[:500], noise("a.wav", 500, std=1, seed=0))
    np.testing.assert_array_equal(first * np.float32(0.25), noise("a.wav", 1000, std=0.25, seed=0))


def test_noise_is_the_same_in_another_process_and_on_another_day() -> None:
    code = "from pipeline.audio.reading import noise; print(noise('100032-3-0-0.wav', 4, std=0.005, seed=0).tobytes().hex())"
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    here = noise("100032-3-0-0.wav", 4, std=0.005, seed=0)
    assert done.stdout.strip() == here.tobytes().hex()
    np.testing.assert_allclose(here, GOLDEN, rtol=1e-6)


#: Caches hold features of this very noise: if it changes, FeatureSpec.version has to be raised.
GOLDEN = [0.00413971674, 0.00285348739, -0.0101030823, -0.00388540025]
