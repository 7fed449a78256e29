"""The built-in corpus: complete, the same every time, never half there, and neither trivial nor hopeless."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from pipeline.audio.reading import read_clip
from pipeline.config import InputError
from pipeline.corpus import (
    MARKER,
    URBANSOUND8K,
    Corpus,
    open_corpus,
)
from pipeline.corpus import made_up as synthetic
from pipeline.corpus.made_up import recipes, write_synthetic

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    root = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic(root)
    return open_corpus("synthetic", root)


def small(monkeypatch) -> None:
    monkeypatch.setattr(synthetic, "FOLDS", range(1, 2))


def hashes(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()
    }


def test_it_is_urbansound8ks_layout_with_ten_classes_and_ten_folds(corpus) -> None:
    assert corpus.synthetic and corpus.classes == URBANSOUND8K and corpus.folds == tuple(range(1, 11))
    assert Counter((c.fold, c.label) for c in corpus.clips) == {(f, k): 4 for f in range(1, 11) for k in range(10)}
    sources = {(c.fold, c.label, c.source) for c in corpus.clips}
    assert len(sources) == 200 == len({source for _, _, source in sources})  # a recording is of one fold and class
    with (corpus.root / "metadata" / "UrbanSound8K.csv").open() as file:
        header = next(csv.reader(file))
    assert header == ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]
    assert "not recordings" in (corpus.root / MARKER).read_text()


def test_formats_rates_and_lengths_are_mixed_and_no_class_has_its_own(corpus) -> None:
    infos = {clip.name: soundfile.info(clip.path) for clip in corpus.clips}
    codings = {(info.format, info.subtype) for info in infos.values()}
    assert {s for _, s in codings} == {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "MS_ADPCM"}
    assert {f for f, _ in codings} == {"WAV", "WAVEX"}
    assert {info.channels for info in infos.values()} == {1, 2}
    rates = [info.samplerate for info in infos.values()]
    assert min(rates) == 8000 and max(rates) == 96000
    for label in range(10):
        of_class = {(infos[c.name].samplerate, infos[c.name].subtype) for c in corpus.clips if c.label == label}
        assert len(of_class) >= 8, label
    lengths = sorted(c.seconds for c in corpus.clips)
    assert lengths[0] == pytest.approx(0.05, abs=1e-4) and lengths[10] < 0.21 < lengths[11] and lengths[-1] == 4.0
    assert 0.4 < np.mean(np.array(lengths) > 3.999) < 0.8


def test_every_clip_is_read_and_one_is_silent(corpus) -> None:
    peaks = np.array(
        [np.abs(read_clip(c.path, sr=22050, samples=88200, seconds=c.seconds)).max() for c in corpus.clips]
    )
    assert np.isfinite(peaks).all()
    silent = [c for c, peak in zip(corpus.clips, peaks) if peak == 0]
    assert [(c.fold, c.label) for c in silent] == [(1, 9)]
    assert (peaks > 0.99).sum() >= 2  # some are driven into clipping
    assert np.percentile(peaks, 90) / np.percentile(peaks, 10) > 5


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, monkeypatch) -> None:
    small(monkeypatch)
    write_synthetic(tmp_path / "a")
    code = (
        "from pathlib import Path; from pipeline.corpus import made_up as synthetic; synthetic.FOLDS = range(1, 2); "
        f"synthetic.write_synthetic(Path({str(tmp_path / 'b')!r}))"
    )
    time.sleep(max(0, 1.1 - time.time() % 1))  # float files hold their time of writing, in whole seconds
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    one = hashes(tmp_path / "a")
    assert one == hashes(tmp_path / "b") and len(one) == 42
    write_synthetic(tmp_path / "c", seed=1)
    other = hashes(tmp_path / "c")
    assert not any(one[name] == other.get(name) for name in one)


def test_what_is_there_is_left_alone_and_an_older_version_replaced(tmp_path, monkeypatch) -> None:
    small(monkeypatch)
    root = tmp_path / "deep" / "synthetic"
    write_synthetic(root)
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    write_synthetic(root)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    first = hashes(root)
    (root / MARKER).write_text("version 0, seed 0\n")
    (root / "stale.txt").touch()
    write_synthetic(root)
    assert hashes(root) == first
    assert [p.name for p in root.parent.iterdir()] == ["synthetic"]  # no leftovers


def test_other_folders_are_not_touched(tmp_path, monkeypatch) -> None:
    small(monkeypatch)
    root = tmp_path / "UrbanSound8K"
    root.mkdir()
    (root / "mine.wav").touch()
    with pytest.raises(InputError, match=r"holds something else.*name another folder") as caught:
        write_synthetic(root)
    assert "\n" not in str(caught.value) and [p.name for p in root.iterdir()] == ["mine.wav"]
    (root / "mine.wav").unlink()
    write_synthetic(root)  # an empty folder is fine
    assert (root / MARKER).is_file()


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch) -> None:
    small(monkeypatch)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthetic, "encoded", full)
    with pytest.raises(OSError, match="No space"):
        write_synthetic(tmp_path / "synthetic")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_write_never_looks_finished(tmp_path) -> None:
    root = tmp_path / "synthetic"
    code = f"from pathlib import Path; from pipeline.corpus.made_up import write_synthetic; write_synthetic(Path({str(root)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        deadline = time.time() + 60
        while not list(tmp_path.glob(".synthetic.*.tmp/audio/fold1/*.wav")):
            assert time.time() < deadline and process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not root.exists()
    (leftover,) = tmp_path.iterdir()
    os.utime(leftover, (0, 0))  # as if hours had passed
    synthetic.remove_leftovers(root)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", recipes.RECIPES, ids=URBANSOUND8K)
def test_a_recipe_gives_a_finite_sound_that_depends_on_the_draw(recipe) -> None:
    assert recipe.__name__ == URBANSOUND8K[recipes.RECIPES.index(recipe)]
    one, other = (recipe(np.random.default_rng(seed)) for seed in (0, 1))
    for sound in (one, other):
        assert sound.shape == (round(recipes.SR * recipes.LENGTH),) and np.isfinite(sound).all() and sound.std() > 0.01
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.9


def test_partials_are_a_sum_of_sines() -> None:
    phase = np.linspace(0, 60, 500)
    strengths = np.array([1, 0.5, 0.25, 0.1])
    expected = sum(s * np.sin((k + 1) * phase) for k, s in enumerate(strengths))
    np.testing.assert_allclose(recipes.partials(phase, strengths), expected, atol=1e-9)


def test_classes_can_be_learnt_but_not_by_a_glance(corpus) -> None:
    """A linear rule on mean and spread of 20 band levels, tested on folds 1 to 3: above chance, far from perfect."""
    edges = np.unique(np.geomspace(1, 512, 21).round().astype(int))
    rows = []
    for clip in corpus.clips:
        sound = read_clip(clip.path, sr=22050, samples=88200, seconds=clip.seconds)
        power = np.abs(np.fft.rfft(sound[: 86 * 1024].reshape(-1, 1024) * np.hanning(1024))) ** 2
        levels = np.log10(np.add.reduceat(power, edges[:-1], axis=1) + 1e-8)
        rows.append(np.concatenate([levels.mean(axis=0) - levels.mean(), levels.std(axis=0)]))
    values, labels = np.array(rows), np.array([c.label for c in corpus.clips])
    held_out = np.array([c.fold for c in corpus.clips]) <= 3
    rule = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(values[~held_out], labels[~held_out])
    accuracy = rule.score(values[held_out], labels[held_out])
    assert 0.3 < accuracy < 0.9
