"""``noise``: clips in noise as strong as the ratio says, asked of the networks as predictions are."""

from __future__ import annotations

import csv
import dataclasses
import types
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import cli
from pipeline import features, runs
from pipeline.audio.reading import noise, read_clip
from pipeline.commands.noise import Decibels
from pipeline.config import InputError
from pipeline.corpus import Clip, Corpus
from pipeline.deploy import in_noise, prediction
from pipeline.report import votes
from tests.shipped import CLASSES, CLIPS, SPEC, world
from tests.tiny import audio_rkd

#: A fixture.
__all__ = ["world"]

LEVELS = (30.0, 0.0, -20.0)


@pytest.fixture
def corpus(world: types.SimpleNamespace) -> Corpus:
    names = [(fold, index, f"{fold}{index:02d}.wav") for fold in (1, 2) for index in range(CLIPS)]
    clips = tuple(
        Clip(name, world.root / "data" / f"fold{fold}" / name, fold, index % 3, name, None)
        for fold, index, name in names
    )
    return Corpus("tiny", "folder", world.root / "data", CLASSES, (1, 2), (1, 2), SPEC.seconds, clips, False)


def test_the_noise_is_as_strong_as_the_ratio_says() -> None:
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, SPEC.samples // 3).astype(np.float32)
    for level, clip in zip(LEVELS, in_noise.noisy(sound, "a.wav", SPEC, LEVELS)):
        added = clip.astype(np.float64)
        added[: len(sound)] -= sound
        assert 10 * np.log10(np.mean(np.square(sound, dtype=np.float64)) / np.mean(added**2)) == pytest.approx(
            level, abs=0.1
        )
        hiss = noise("a.wav", SPEC.samples, std=1.0, seed=0)
        np.testing.assert_allclose(added / np.sqrt(np.mean(added**2)), hiss / np.sqrt(np.mean(hiss**2)), atol=1e-3)
    assert not in_noise.noisy(np.zeros(50, np.float32), "a.wav", SPEC, LEVELS).any()


def test_a_run_is_asked_about_its_held_out_clips_in_noise(
    world: types.SimpleNamespace, corpus: Corpus, tmp_path: Path
) -> None:
    """A plain loop beside it: one clip, one ratio after the other."""
    member = prediction.checkpoint(world.student)
    told = runs.read_predictions(world.student)
    expected = {}
    for level in LEVELS:
        right = 0
        for clip in (clip for clip in corpus.clips if clip.fold == runs.read(world.student).fold):
            clean = read_clip(clip.path, sr=SPEC.sr, samples=SPEC.samples)
            filled = np.flatnonzero(clean).max() + 1
            power = np.mean(np.square(clean[:filled], dtype=np.float64))
            hiss = noise(clip.name, SPEC.samples, std=1.0, seed=0) * np.float32(np.sqrt(power / 10 ** (level / 10)))
            x = torch.from_numpy(features.extract(clean + hiss, SPEC))[None]
            with torch.no_grad():
                right += int(member.network(x).logits.argmax()) == clip.label
        expected[level] = 100 * right / CLIPS
    text = in_noise.report(votes.records([world.student]), corpus, LEVELS, tmp_path)
    with (tmp_path / "tiny" / "noise.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert [float(row[f"snr_{level:g}_percent"]) for level in LEVELS] == pytest.approx(list(expected.values()))
    clean = 100 * float(np.mean(told.logits.argmax(1) == told.labels))
    assert float(row["clean_percent"]) == pytest.approx(clean) and row["runs"] == "1"
    assert "−20 dB" in text and "accuracy on held-out clips in white noise" in text
    assert expected[-20.0] < clean


def test_what_was_not_tested_on_this_corpus_is_one_line(
    world: types.SimpleNamespace, corpus: Corpus, tmp_path: Path
) -> None:
    other = dataclasses.replace(corpus, name="other")
    fewer = dataclasses.replace(corpus, clips=corpus.clips[1:])
    relabelled = dataclasses.replace(corpus.clips[0], label=2)
    changed = dataclasses.replace(corpus, clips=(relabelled, *corpus.clips[1:]))
    gone = dataclasses.replace(corpus.clips[0], path=tmp_path / "gone.wav")
    lost = dataclasses.replace(corpus, clips=(gone, *corpus.clips[1:]))
    for wrong, words in (
        (other, "is of tiny, and .* of other; expected the corpus that it was tested on"),
        (fewer, "was tested on 100.wav, which is not in .* as it was; expected the corpus as it was"),
        (changed, "was tested on 100.wav, which is not in"),
        (lost, "gone.wav.*expected the clips that the runs were tested on"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            in_noise.report([runs.read(world.student)], wrong, LEVELS, tmp_path)
        assert "\n" not in str(caught.value)


def test_runs_without_their_corpus_are_told_of_it_and_not_to_make_another(
    world: types.SimpleNamespace, tmp_path: Path
) -> None:
    done = audio_rkd(tmp_path, "noise", str(world.student))
    assert done.returncode == 1 and "make features" not in done.stderr
    assert "the runs are of tiny, and nothing is in data/synthetic" in done.stderr
    assert done.stderr.endswith("expected the corpus that they were tested on: --dataset and --data\n")


@pytest.mark.parametrize("value", ["", "loud", "nan", "inf", "1,,x", "1e9", "20,20", ",".join(map(str, range(60)))])
def test_ratios_that_are_none(value: str) -> None:
    done = CliRunner().invoke(cli.main, ["noise", "nowhere", "--dataset", "esc50", f"--snr={value}"])
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert "expected decibels from -120 to 120, for example 20,10,0" in done.stderr
    assert Decibels().convert("30, 20 -5.5", None, None) == (30.0, 20.0, -5.5)
    assert isinstance(Decibels(), click.ParamType)


def test_without_a_run_all_of_the_corpus_are_asked(
    world: types.SimpleNamespace, corpus: Corpus, tmp_path: Path
) -> None:
    folders = {record.folder for record in in_noise.of_corpus(world.root / "runs", corpus)}
    assert folders == {world.student, world.teacher}
    with pytest.raises(InputError, match="no finished run there; expected some: make distill"):
        in_noise.of_corpus(tmp_path, corpus)


def test_students_of_other_teachers_and_generations_are_rows_of_their_own(world: types.SimpleNamespace) -> None:
    """With the same network, settings and mix, as those are that ``calibrate`` trains without two folds."""
    student = runs.read(world.student)
    network = prediction.checkpoint(world.student).network
    inner = Path("runs/tiny/experiment-calibration/student-without-1-cnn2-tiny-0a1b2c3d/fold2-seed0")
    second = Path("runs/tiny/ban-cnn2-tiny-0a1b2c3d/soft1/gen1/fold1-seed0")
    records = [
        student,
        dataclasses.replace(student, seed=1),
        dataclasses.replace(student, role=runs.STEP, experiment="calibration", folder=inner, fold=2),
        dataclasses.replace(student, role=runs.GENERATION, generation=1, folder=second),
    ]
    each = [
        in_noise.Heard(record, network, {np.inf: share, 0.0: share}) for record, share in zip(records, (50, 100, 25, 0))
    ]
    rows = in_noise.rows(each, (0.0,))
    assert [(row.runs, row.clean) for row in rows] == [(2, 75.0), (1, 25.0), (1, 0.0)]
    assert [row.settings for row in rows[1:]] == ["/".join(inner.parts[2:4]), "/".join(second.parts[2:5])]


def test_of_long_recordings_files_are_counted_by_the_mean_over_their_windows(world: types.SimpleNamespace) -> None:
    """Two windows of three are wrong, and surely; the file is right where the third is surer than both."""
    names = np.array(["a.wav@00000.000s", "a.wav@00001.000s", "a.wav@00002.000s", "b.wav"])
    one = in_noise.Heard(runs.read(world.student), prediction.checkpoint(world.student).network)
    for first, right in ((0.1, 2), (3.0, 1)):
        logits = np.array([[0.0, first], [0.0, first], [6.0, 0.0], [0.0, 1.0]], np.float32)
        one.measure(runs.Predictions(names, np.array([0, 0, 0, 1]), logits, names), 0.0)
        means = np.exp(logits[:3] - np.log(np.exp(logits[:3]).sum(1, keepdims=True))).mean(0)
        assert bool(means.argmax() == 0) is (right == 2)
        assert one.percents[0.0] == 50.0 * right
