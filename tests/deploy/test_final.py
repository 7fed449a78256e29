"""A student trained on all folds: what it is trained on, what is expected of it, what it refuses, and what is shipped."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from pipeline import audio, cache, features, runs
from pipeline.config import FeatureSpec, Settings
from pipeline.corpus.clips import UNLABELLED, Clip, Corpus
from pipeline.corpus.windows import clip_of
from pipeline.deploy.final import shipping, telling, unknown
from pipeline.deploy.final.card import at_half, at_threshold
from pipeline.deploy.final.expected import Expected
from pipeline.deploy.final.present import Present
from pipeline.deploy.final.telling import none_of_these
from pipeline.figures import refusing
from pipeline.figures.evaluation import log_softmax
from pipeline.losses import LossMix
from pipeline.models import saved
from pipeline.report import check as checking
from pipeline.report.page.shipping import threshold_text
from pipeline.runs import refusal as refusals
from pipeline.runs.refusal import Refusal
from tests import recipes, shipped
from tests.tiny import QUICK, invoke, write_corpus

MIX = ("--losses", "ce:0.3,hinton:0.7@T=2")
HOW = ("--jobs", "1")


def test_a_threshold_refuses_at_most_the_share_and_is_honest_across_folds() -> None:
    scores = np.random.default_rng(0).random(137)
    for share in (0.0, 0.05, 0.5):
        limit = refusing.threshold(scores, share)
        below = sum(score < limit for score in scores)
        assert below <= share * 137 < below + 1  # and no larger threshold would do
    logits = np.array([[0.0, 1, 2], [3, 3, 3]])
    expected = [np.exp(2) / (1 + np.e + np.exp(2)), 1 / 3]
    assert refusing.surest(logits) == pytest.approx(expected)
    by_fold = {1: np.array([0.1, 0.9]), 2: np.array([0.5, 0.6]), 3: np.array([0.55, 0.7])}
    # thresholds of the others at 0: their least score, 0.5, 0.1, 0.1
    assert refusing.refused_elsewhere(by_fold, 0.0) == pytest.approx((0.5 + 0 + 0) / 3)
    assert refusing.refused_elsewhere({1: scores}) is None
    with pytest.raises(ValueError, match="no clip"):
        refusing.threshold(np.zeros(0))


def test_the_one_file_is_proven_on_clips_that_have_features(tmp_path: Path) -> None:
    """A clip that was left out (``features --on-error skip``) cannot be heard here either, and keeps no file from being shipped."""
    source = recipes.source(tmp_path)
    names = [name for path in source.files for name in cache.read_header(path).clips]  # type: ignore[union-attr]
    clips = [Clip(name, tmp_path / name, 1, 0, name, None) for name in ("0-left-out.wav", *names, "3-left-out.wav")]
    corpus = Corpus("tiny", "folder", tmp_path, source.classes, (1, 2), (1, 2), 0.2, tuple(clips), False)
    assert shipping.spread_clips(corpus, source) == [(tmp_path / name, 0.0) for name in names]


@pytest.mark.slow
def test_a_final_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(Path("data/UrbanSound8K"))
    assert invoke("features", *QUICK, "--backend", "sequential").exit_code == 0
    asked = ("final", "--preset", "default", *QUICK, *MIX, *HOW)
    done = invoke(*asked)  # what to expect is known of held-out runs alone
    assert done.exit_code == 1 and "no finished student of ce:0.3,hinton:0.7@T=2" in done.stderr
    assert "make distill PRESET=default" in done.stderr and not Path("finals").exists()
    assert invoke("teacher", *QUICK, *HOW).exit_code == 0
    assert invoke("distill", *QUICK, *MIX, *HOW).exit_code == 0
    reported = invoke("report", "--no-page").stdout
    done = invoke(*asked, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    held_out = [record for record in runs.find(Path("runs")) if record.is_student]
    accuracies = [100 * record.result.accuracy for record in held_out if record.result.accuracy is not None]
    assert told["expected"]["accuracy"] == pytest.approx(np.mean(accuracies)) and told["expected"]["folds"] == 3
    run, export = Path(told["run"]), Path(told["export"])
    record = runs.read(run)
    assert record.result.status == "all folds" and record.result.accuracy is None and not record.result.counts
    # it was standardised, and so trained, on all clips and views
    payload = saved.read_payload(run)
    paths = [cache.fold_path(Path("cache"), record.corpus, record.settings.features, fold) for fold in (1, 2, 3)]
    whole = np.concatenate([cache.read_fold(path).features for path in paths])
    assert payload["state"]["mean"][0, ..., 0].numpy() == pytest.approx(whole.mean((0, 1, 4)), rel=1e-4, abs=1e-4)
    assert record.teacher is not None and runs.read(Path(str(record.teacher))).fold == 0
    assert invoke("report", "--no-page").stdout == reported  # no table counts it
    scores = np.concatenate([refusing.surest(runs.read_predictions(one.folder).logits) for one in held_out])
    assert told["refusal"]["threshold"] == refusing.threshold(scores)
    assert set(told["refusal"]["detects"]) == {
        "white noise",
        "pink noise",
        "brown noise",
        "made-up sounds",
    }  # two classes
    # shipped: golden vectors are what they say, by another way; no accuracy anywhere in the proof
    with np.load(export / "golden.npz") as golden:
        values, logits = golden["features"], golden["logits"]
    samples, rate = soundfile.read(io.BytesIO((export / "golden.wav").read_bytes()), dtype="float32")
    spec = record.settings.features
    assert rate == spec.sr
    clip = audio.read_clip(export / "golden.wav", sr=spec.sr, samples=spec.samples)
    assert np.array_equal(features.extract(clip, spec), values[0]) and len(samples) == spec.samples
    with torch.no_grad():
        assert saved.network_of(payload)(torch.from_numpy(values)).logits.numpy() == pytest.approx(logits, abs=1e-5)
    assert not any("accuracy" in key for key in told["proof"])
    assert "features.tuning = 'estimate'" in told["proof"]["one_file"]["refused"]
    card = (export / "CARD.md").read_text()
    for words in (
        "trained on fewer clips",
        "CC BY-NC 3.0",
        "never measured on this",
        "of its training samples and on `golden.wav`, which it never heard",
        "none of these",
        "| air\\_conditioner | 9 |",
    ):
        assert words in card
    assert not checking.check((Path("exports"),)).findings
    again = invoke(*asked, "--json")
    assert json.loads(again.stdout)["proof"]["sha256"] == told["proof"]["sha256"]
    predicted_with_a_threshold(run)
    for command in ("export", "noise", "ensemble", "explain"):
        refused = invoke(command, str(run))
        assert refused.exit_code == 1 and "was trained on all folds, and no clip is held out" in refused.stderr, command


def test_noise_is_as_long_as_a_file_is_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown, "NOISES", 2)
    monkeypatch.setattr(unknown, "RECIPES", unknown.RECIPES[:1])
    spec = FeatureSpec(seconds=0.5)
    alone, whole = unknown.sounds(spec), unknown.sounds(spec, 3)
    for kind, (clips, names) in whole.items():
        count = len(alone[kind][0])
        assert clips.shape == (3 * count, spec.samples) and len(names) == 3 * count
        assert {clip_of(name) for name in names} == {clip_of(name) for name in alone[kind][1]}
        assert np.array_equal(clips[::3], alone[kind][0]) and not np.array_equal(clips[0], clips[1])
    logits = np.array([[3.0, 0.0], [-1.0, 0.0], [0.5, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]], np.float32)
    shares = torch.softmax(torch.from_numpy(logits).double(), 1).reshape(2, 3, 2).mean(1).numpy()
    assert np.exp(log_softmax(unknown.of_files(logits, whole["white noise"][1][:6]))) == pytest.approx(shares, abs=1e-6)
    by_sigmoid = (1 / (1 + np.exp(-logits.astype(float)))).reshape(2, 3, 2).mean(1)
    kept = unknown.of_files(logits, whole["white noise"][1][:6], several=True)
    assert 1 / (1 + np.exp(-kept)) == pytest.approx(by_sigmoid, abs=1e-6)


def test_a_class_never_heard_is_asked_of_all_folds_but_for_recordings_that_were_heard(tmp_path: Path) -> None:
    spec, paths = FeatureSpec(bins=8, bins_per_octave=24, seconds=0.25), []
    # Fold 1 is held out: its recording "both" was heard in no training; that of fold 2 was, with another class. Of clips without a
    # label those of fold 1's recordings are in no training either.
    for fold, own in {
        1: ((0, "both"), (1, "both"), (1, "c")),
        2: ((0, "a"), (0, "mixed"), (1, "mixed")),
        UNLABELLED: ((-1, "a"), (-1, "both")),
    }.items():
        clips = tuple(f"{fold}-{place}" for place in range(len(own)))
        labels, sources = zip(*own)
        files = tuple(cache.File(name, 1, 1) for name in clips)
        about = ("toy", "folder", False, fold, ("bell", "dog"), spec, clips, labels, sources, files)
        header = cache.Header(*about, units=("1",) * 5, calls=("",) * 5)
        paths.append(cache.fold_path(tmp_path, "toy", spec, fold))
        cache.write_fold(paths[-1], header, [np.full(header.shape, fold, np.float32)])
    source: Any = SimpleNamespace(files=tuple(paths))
    values, names = unknown.clips_of(1, source, 0)
    assert names == ["1-0", "2-0"] and values[:, 0, 0, 0].tolist() == [1.0, 2.0]
    assert unknown.clips_of(1, source, 1)[1] == ["1-1", "1-2"]
    assert unknown.clips_of(1, source, 0, pool=True)[1] == ["1-0"]


def test_a_class_all_of_whose_recordings_are_heard_is_told_and_costs_no_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(unknown, "clips_of", lambda *asked: (np.empty((0, 5, 20, 9), np.float32), []))
    monkeypatch.setattr(unknown.training, "trained", lambda *asked: pytest.fail("a student was trained"))
    clips = tuple(SimpleNamespace(fold=1, label=label) for label in range(3))
    corpus: Any = SimpleNamespace(clips=clips, classes=("bell", "dog", "rain"))
    none: Any = None
    assert unknown.without_classes(corpus, Settings(), LossMix.parse("soft"), none, 0, {}) == {}
    told = capsys.readouterr().err
    assert told.count("other clips of all its recordings are heard") == 3 and "note: dog is not tried" in told


def predicted_with_a_threshold(run: Path) -> None:
    sound = str(next(Path("data").rglob("*.wav")))
    path = run / refusals.NAME
    for threshold, refused in ((1.0, True), (0.0, False)):
        kept = refusals.read(run)
        assert kept is not None
        refusals.write(run, refusals.Refusal(**{**vars(kept), "threshold": threshold}))
        answer = json.loads(invoke("predict", str(run), sound, "--json").stdout)
        assert answer["none_of_these"] is refused and answer["windows"][0]["none_of_these"] is refused
        assert ("none of these" in invoke("predict", str(run), sound).stdout) is refused
        assert (",0,none of these," in invoke("predict", str(run), sound, "--csv").stdout) is refused
    path.write_bytes(path.read_bytes()[:-9])
    done = invoke("predict", str(run), sound)
    assert done.exit_code == 1 and "refusal.json: damaged" in done.stderr
    path.unlink()
    assert "none_of_these" not in json.loads(invoke("predict", str(run), sound, "--json").stdout)


@pytest.mark.slow
def test_classes_that_a_student_never_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of three classes in turn: what is refused is counted by another way, from the runs that were trained without it."""
    monkeypatch.chdir(tmp_path)
    shipped.write_folder(Path("sounds"))
    corpus = ("--dataset", "folder", "--data", "sounds", *QUICK)
    assert invoke("features", *corpus, "--backend", "sequential").exit_code == 0
    assert invoke("teacher", *corpus, *HOW).exit_code == 0
    assert invoke("distill", *corpus, *MIX, *HOW).exit_code == 0
    done = invoke("final", "--preset", "default", *corpus, *MIX, *HOW, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    unheard = {kind: value for kind, value in told["refusal"]["detects"].items() if kind.endswith("never heard")}
    classes = runs.read(Path(told["run"])).classes
    assert set(unheard) == {f"{name}, never heard" for name in classes}
    for name in classes:
        students = [r for r in runs.find(Path("finals")) if r.is_student and r.fold and name not in r.classes]
        (record,) = students
        assert len(record.classes) == 2 and record.fold == unheard[f"{name}, never heard"]["fold"]
        known = runs.read_predictions(record.folder)
        first = cache.fold_path(Path("cache"), record.corpus, record.settings.features, 1)
        data = cache.load(sorted(first.parent.glob("fold*.h5")))
        clips = [i for i, label in enumerate(data.labels) if data.classes[label] == name]
        assert len(clips) > 1 and not {data.clips[i] for i in clips} & set(known.clips)
        network = saved.network_of(saved.read_payload(record.folder))
        with torch.no_grad():
            logits = [network(torch.from_numpy(data.features[i : i + 1, 0])).logits for i in clips]
        largest = [float(torch.softmax(one.double(), 1).max()) for one in logits]
        limit = refusing.threshold(refusing.surest(known.logits))
        refused = sum(one < limit for one in largest) / len(clips)
        assert unheard[f"{name}, never heard"]["refused"] == pytest.approx(refused)
        assert unheard[f"{name}, never heard"]["clips"] == len(clips)
    card = (Path(told["export"]) / "CARD.md").read_text()
    assert "hiss, never heard" in card and "the sounds are your own" in card


def test_figures_of_files_are_told_as_such_and_no_share_goes_beyond_all() -> None:
    detects = {"white noise": {"refused": 0.5, "clips": 20}}
    few = Expected(96.0, 85.5, 106.5, 2, 2, None)
    assert few.within == ", 95 % interval 85.50 to 100.00" and few.told()["high"] == 106.5
    assert replace(few, low=-3.0).within == ", 95 % interval 0.00 to 100.00" and replace(few, low=None).within == ""
    of_clips = Refusal(0.4, 0.05, 1234, 0.0625, "", detects)
    of_files = replace(of_clips, windows=0.125)
    for refusal, kind, other in ((of_clips, "clips", "files"), (of_files, "files", "clips")):
        for text in (at_threshold(refusal), threshold_text(refusal), *none_of_these(refusal)[:1]):
            assert f"held-out {kind} of known classes" in text and other not in text, text
        assert f"| sound | {kind} |" in at_threshold(refusal) and f"6.2 % of a fold's {kind}" in at_threshold(refusal)
    assert "of windows by themselves it refuses 12.5 %" in threshold_text(of_files)
    several = Present(0.25, 30, {"bell": {"clips": 30, "found": 0.5, "right": None}}, detects, "files")
    assert "| class | files with it |" in at_half(several) and "clips" not in at_half(several)
    assert "30 answers to held-out files" in none_of_these(several)[0]


def test_what_int8_keeps_in_floating_point_is_told() -> None:
    """Not of a proof that was written before it was known."""
    proof = {"worst_logit_difference": 1e-6, "agreement_int8": 1.0, "compared_samples": 40, "synthetic": False}
    about = {"run": "run", "export": "export", "expected": Expected(96.0, 85.5, 99.0, 2, 2, None)}
    before = proof | {"one_file": {"refused": "no sound"}}
    for shown, end in (
        (before, "40 samples"),
        (before | {"int8_in_float": "all maps"}, "; in floating point: all maps"),
    ):
        done: Any = SimpleNamespace(**about, proof=shown, none=Refusal(0.4, 0.05, 1234, 0.0625, ""))
        (line,) = (one for one in telling.text(done).splitlines() if one.startswith("int8 "))
        assert line.endswith(end)
