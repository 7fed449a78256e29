"""What fills up a clip that is too short, the same in stage one and in predictions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.audio.reading import filled, read_clip
from pipeline.cache import File
from pipeline.config import FeatureSpec, InputError
from pipeline.deploy import sounds
from pipeline.deploy.one_file import unsuited
from pipeline.extraction.workers import Job, views
from pipeline.features import extract

SPEC = FeatureSpec(seconds=0.25, use="melspectrogram", noise_std=0.0)
LOOPED = dataclasses.replace(SPEC, short="loop")


def test_filled_in_plain_loops() -> None:
    sound = np.arange(1, 6, dtype=np.float32)
    for samples in (1, 4, 5, 6, 10, 13):
        again = [sound[place % 5] for place in range(samples)]
        zeros = [sound[place] if place < 5 else 0 for place in range(samples)]
        np.testing.assert_array_equal(filled(sound, samples, "loop"), again)
        np.testing.assert_array_equal(filled(sound, samples, "pad"), zeros)
        assert filled(sound, samples, "loop").dtype == np.float32
    assert not filled(sound[:0], 4, "loop").any()


@pytest.mark.parametrize("spec", [SPEC, LOOPED], ids=lambda spec: spec.short)
@pytest.mark.parametrize("rate", [22050, 44100])
def test_stage_one_and_predict_hear_the_same(tmp_path: Path, spec: FeatureSpec, rate: int) -> None:
    path = tmp_path / "short.wav"
    written = np.random.default_rng(0).uniform(-0.5, 0.5, rate // 10).astype(np.float32)
    soundfile.write(path, written, rate, subtype="FLOAT")
    clip = read_clip(path, sr=spec.sr, samples=spec.samples, short=spec.short)
    if rate == spec.sr:
        there = len(written)
        np.testing.assert_array_equal(clip[:there], written)
        expected = written[: len(clip[there : 2 * there])] if spec.short == "loop" else 0
        np.testing.assert_array_equal(clip[there : 2 * there], expected)
    ((start, window, _),) = sounds.windows(sounds.sound_blocks(path, spec.sr), spec)
    assert start == 0
    np.testing.assert_allclose(window, clip, atol=1e-6)
    job = Job("short.wav", path, File("short.wav", path.stat().st_size, 0), "key")
    np.testing.assert_array_equal(views(job, spec, plain=False)[0], extract(clip, spec))


def test_a_wrong_word_and_the_one_file_export_are_one_line() -> None:
    with pytest.raises(InputError, match=r"features\.short = 'repeat': expected 'pad' \(zeros\) or 'loop'"):
        FeatureSpec(short="repeat")
    assert "features.short = 'loop': expected 'pad'" in unsuited(LOOPED) and not unsuited(SPEC)
