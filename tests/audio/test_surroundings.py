"""Backgrounds and rooms of changed copies: what lies in the folders decides, and no clip of the corpus may lie in them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline import config
from pipeline.audio import changing, surroundings
from pipeline.audio.reading import filled
from pipeline.config import FeatureSpec, InputError, digest
from pipeline.corpus import open_corpus
from pipeline.extraction import own_recordings
from pipeline.folder_contents import with_contents
from tests.extracting import write_corpus

SR, SAMPLES = 16000, 8000
RNG = np.random.default_rng(1)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    noises, rooms = tmp_path / "noises@home", tmp_path / "rooms"
    (noises / "street").mkdir(parents=True)
    rooms.mkdir()
    for name, seconds in (("a.wav", 0.3), ("street/b.wav", 1.0)):
        soundfile.write(noises / name, RNG.uniform(-0.5, 0.5, round(SR * seconds)).astype(np.float32), SR, "FLOAT")
    response = np.zeros(400, np.float32)
    response[[40, 240]] = (0.8, 0.4)  # the direct sound after 2.5 ms, an echo 12.5 ms behind it
    soundfile.write(rooms / "hall.wav", response, SR, "FLOAT")
    return noises, rooms


def spec_of(folders: tuple[Path, Path], **changes: object) -> FeatureSpec:
    spec = FeatureSpec(seconds=0.5, sr=SR, views=8, backgrounds=str(folders[0]), rooms=str(folders[1]), noise_std=0.0)
    return config.for_corpus(config.Settings(features=dataclasses.replace(spec, **changes)), 0.5).features  # type: ignore[arg-type]


def test_the_contents_are_part_of_the_setting(folders: tuple[Path, Path]) -> None:
    spec = spec_of(folders)
    assert spec.backgrounds.startswith(f"{folders[0]}@") and spec_of(folders) == spec
    assert config.for_corpus(config.Settings(features=spec), 0.5).features == spec
    assert digest(FeatureSpec(views=8)) != digest(spec)
    (folders[0] / ".hidden").write_text("of no account")
    assert spec_of(folders) == spec
    (folders[0] / "a.wav").rename(folders[0] / "c.wav")
    renamed = spec_of(folders)
    soundfile.write(folders[0] / "c.wav", np.ones(100, np.float32) / 2, SR, "FLOAT")
    assert len({digest(one) for one in (spec, renamed, spec_of(folders))}) == 3


def test_a_copy_lies_in_the_piece_and_room_that_it_says(folders: tuple[Path, Path]) -> None:
    """Plain: speed by the same resampler, then a convolution and a sum written out."""
    spec = spec_of(folders)
    sound = (0.1 * np.sin(np.arange(6000) / 7)).astype(np.float32)
    without = dataclasses.replace(spec, backgrounds="", rooms="")
    plain = changing.views(sound, "x.wav", without, rate=SR, samples=SAMPLES, short="pad")
    views = changing.views(sound, "x.wav", spec, rate=SR, samples=SAMPLES, short="pad")
    np.testing.assert_array_equal(views[:2], plain[:2])
    hows = [changing.change("x.wav", number, spec) for number in range(1, 9)]
    assert {how.room is None for how in hows} == {how.background is None for how in hows} == {True, False}
    for copy, bare, how in zip(views[2:], plain[2:], hows):
        expected = bare.astype(np.float64)
        length = min(round(6000 / how.speed), SAMPLES)
        if how.room is not None:
            late = np.concatenate([np.zeros(200), expected])[:SAMPLES]
            answered = 0.8 * expected + 0.4 * late
            expected = answered * np.sqrt(np.mean(expected**2) / np.mean(answered**2))
        if how.background is not None:
            recorded = soundfile.read(how.background)[0]
            start = int(how.begins * len(recorded))
            piece = np.array([recorded[(start + i) % len(recorded)] for i in range(SAMPLES)])
            level = np.mean(bare[:length].astype(np.float64) ** 2) / np.mean(piece**2) / 10 ** (how.snr / 10)
            expected = expected + np.sqrt(level) * piece
            assert 0 <= how.snr <= 20
        np.testing.assert_allclose(copy, expected, rtol=1e-3, atol=3e-5)
        if how.room is None and how.background is None:
            np.testing.assert_array_equal(copy, bare)


def test_half_of_the_copies_have_each_and_all_recordings_come(folders: tuple[Path, Path]) -> None:
    hows = [changing.change(f"{i}.wav", 1, spec_of(folders)) for i in range(300)]
    for name in ("room", "background"):
        assert 0.4 < np.mean([getattr(how, name) is not None for how in hows]) < 0.6
    counts = [
        sum(how.background == path for how in hows) for path in surroundings.recordings(spec_of(folders).backgrounds)
    ]
    assert len(counts) == 2 and min(counts) > 45


def test_silence_stays_silence_in_any_surroundings(folders: tuple[Path, Path]) -> None:
    views = changing.views(np.zeros(10, np.float32), "x.wav", spec_of(folders), rate=SR, samples=SAMPLES, short="pad")
    assert not views.any()
    assert not filled(np.zeros(0, np.float32), 5).any()


def test_folders_that_cannot_be_used_are_one_line(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    root = write_corpus(tmp_path / "corpus" / "toy", clips=2)
    corpus = open_corpus("urbansound8k", root)
    own_recordings.check(corpus, spec_of(folders))
    for setting, words in (("nowhere", "no such folder"), (str(tmp_path / "empty"), "the folder is empty")):
        with pytest.raises(InputError, match=rf"features.rooms = '.*{words}; expected"):
            with_contents("rooms", setting)
    with pytest.raises(InputError, match=r"only changed copies lie in it; expected features.views of 1 at least"):
        spec_of(folders, views=0)
    for inside in (root / "audio", tmp_path / "corpus"):
        with pytest.raises(InputError, match=r"lies in .*held out would be heard behind others"):
            own_recordings.check(corpus, spec_of((inside, folders[1])))
    before = spec_of(folders)
    shutil.copy(corpus.clips[3].path, folders[0] / "other-name.wav")
    with pytest.raises(InputError, match="the folder holds other files now"):
        own_recordings.check(corpus, before)
    with pytest.raises(InputError, match=f"clip {corpus.clips[3].name} lies in it"):
        own_recordings.check(corpus, spec_of(folders))
    (folders[0] / "other-name.wav").write_text("no sound")
    with pytest.raises(InputError, match=r"other-name.wav.*expected recordings alone in that folder: take it out"):
        own_recordings.check(corpus, spec_of(folders))
    soundfile.write(folders[0] / "other-name.wav", np.zeros(50, np.float32), SR)
    with pytest.raises(InputError, match="nothing but silence"):
        surroundings.check(spec_of(folders))
