"""Long recordings as several clips: where windows lie, what they are called, and every step that they go through."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from pipeline import cache, runs
from pipeline.audio.reading import read_sound
from pipeline.config import InputError
from pipeline.corpus import open_corpus, windows
from pipeline.corpus.corpus_toml import ASKED, Asked
from tests.corpora import line
from tests.tiny import invoke

RATE = 16000
QUICK = ("--set", "features.bins=8", "--set", "features.bins_per_octave=24", "--set", "features.sr=16000")


def write_sounds(root: Path, lengths: tuple[float, ...] = (2.6, 0.4, 1.0, 1.3)) -> Path:
    """Two classes of as many recordings as ``lengths`` in seconds: tones that rise, so that no two windows are alike."""
    for label, kind in enumerate(("hum", "whistle")):
        for number, seconds in enumerate(lengths):
            times = np.arange(round(seconds * RATE)) / RATE
            noise = np.random.default_rng(10 * label + number).normal(0, 0.02, len(times))
            path = root / kind / f"{'abcdefgh'[number]}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.3 * np.sin(2 * np.pi * (300 + 900 * label + 40 * times) * times) + noise, RATE)
    return root


def rows_of(length: float, seconds: float, hop: float, shortest: float) -> list[float]:
    """Where windows begin, by looking at every place: as long as something is not heard yet, and enough of it."""
    heard, places, place = 0.0, [], 0.0
    while not places or (heard < length - 1e-9 and length - place >= shortest - 1e-9):
        places.append(place)
        heard = place + seconds
        place = round(place + hop, 3)
    return places


@pytest.mark.parametrize("seconds", [0.5, 1.0, 4.0])
def test_windows_lie_as_a_loop_says(seconds: float) -> None:
    for length in np.arange(0.05, 14, 0.15).round(3).tolist():
        for hop in (seconds, seconds / 2, 0.3):
            for shortest in (0.1, seconds / 2, seconds):
                assert windows.starts(length, seconds, hop, shortest) == pytest.approx(
                    rows_of(length, seconds, hop, shortest)
                ), (length, hop, shortest)


def test_a_folder_in_windows(tmp_path: Path) -> None:
    root = write_sounds(tmp_path / "Long")
    (root / "corpus.toml").write_text("seconds = 0.5\n")
    plain = open_corpus("folder", root)
    (root / "corpus.toml").write_text("seconds = 0.5\nwindows = true\nhop = 0.25\nshortest = 0.2\n")
    corpus = open_corpus("folder", root)
    assert (plain.name, corpus.name, corpus.windows) == ("long", "long-windows", True)
    assert windows.whole(corpus).clips == plain.clips
    names = [clip.name for clip in corpus.clips if clip.name.startswith("hum/d")]
    assert names == [f"hum/d.wav@0000{start:.3f}s" for start in (0, 0.25, 0.5, 0.75, 1)]
    assert "hum/b.wav" in {clip.name for clip in corpus.clips}  # as long as a clip, or shorter: under its own name
    whole = {clip.name: clip for clip in plain.clips}
    for clip in corpus.clips:
        of = whole[windows.clip_of(clip.name)]
        assert (clip.fold, clip.source, clip.label, clip.path) == (of.fold, of.source, of.label, of.path)
        assert windows.start_of(clip.name) == (clip.start or 0)
    (root / "corpus.toml").write_text("seconds = 0.5\n")
    token = ASKED.set(Asked(windows=True))
    try:
        assert len(open_corpus("folder", root).clips) == 2 * (5 + 1 + 2 + 3)
    finally:
        ASKED.reset(token)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('windows = "yes"', "windows = 'yes': expected true or false"),
        ("windows = true\nhop = 0", "hop = 0: expected a number above 0, 0.5"),
        ("windows = true\nhop = 0.6", "hop = 0.6: expected a number above 0, 0.5"),
        ("windows = true\nshortest = -1", "shortest = -1: expected"),
        ("windows = true\nhop = nan", "hop = nan: expected"),
        ("windows = true\nshortest = true", "shortest = True: expected"),
        ("hop = 0.25", "hop is of windows, which are not asked for"),
        ("window = true", "unknown key 'window'; expected only seconds, windows, hop, shortest"),
    ],
)
def test_what_is_wrong_with_windows_is_told(tmp_path: Path, text: str, message: str) -> None:
    root = write_sounds(tmp_path, (0.6, 0.7))
    (root / "corpus.toml").write_text(f"seconds = 0.5\n{text}\n")
    with pytest.raises(InputError, match=message) as caught:
        open_corpus("folder", root)
    line(caught)


@pytest.mark.parametrize(
    ("name", "subtype"), [("a.wav", "PCM_16"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS"), ("a.wav", "IMA_ADPCM")]
)
def test_a_window_is_that_part_of_the_sound(tmp_path: Path, name: str, subtype: str) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (5 * RATE + 123, 2))
    soundfile.write(tmp_path / name, sound, RATE, subtype=subtype)
    whole = read_sound(tmp_path / name, sr=RATE, samples=len(sound))
    for start in (0.0, 0.125, 3.001, 4.5):
        first = round(start * RATE)
        part = read_sound(tmp_path / name, sr=RATE, samples=RATE, start=start)[:RATE]
        assert np.array_equal(part, whole[first : first + RATE])


@pytest.mark.slow
def test_from_long_files_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = write_sounds(tmp_path / "long")
    (root / "corpus.toml").write_text("seconds = 0.5\n")
    rows = [(f"{kind}/{name}.wav", 1 + place % 2) for kind in ("hum", "whistle") for place, name in enumerate("abcd")]
    (root / "folds.csv").write_text("file,fold\n" + "".join(f"{name},{fold}\n" for name, fold in rows))
    here = ("--dataset", "folder", "--data", "long", "--windows")
    done = invoke("verify", *here)
    assert (
        done.exit_code == 0 and "8 clips, 2 classes" in done.stdout and "22 windows of 0.5 s in 8 files" in done.stdout
    )
    done = invoke("features", *here, *QUICK, "--backend", "sequential")
    assert done.exit_code == 0 and "left unused" not in done.stderr, done.output
    for path in Path("cache").glob("long-windows/*/fold1.h5"):
        with h5py.File(path) as file:
            names, starts, seconds = file["clip"].asstr()[()], file["window/start"][()], file["window/seconds"][()]
        assert starts.tolist() == [windows.start_of(name) for name in names]
        assert dict(zip(names, seconds))["hum/a.wav@00002.000s"] == pytest.approx(0.5)
        assert cache.read_header(path).windows[0] == (0.0, 0.5) and cache.check(path).damaged == ()
    quick = (*here, *QUICK, "--jobs", "1", "--pack", "8", "--layout", "loop")
    quick += (
        "--set",
        "teacher.epochs=1",
        "--set",
        "student.epochs=2",
        "--set",
        "student.batch=4",
        "--set",
        "teacher.batch=4",
    )
    assert invoke("teacher", *quick).exit_code == 0
    assert invoke("distill", *quick, "--losses", "soft").exit_code == 0
    for record in runs.find(Path("runs"), "long-windows"):
        rows_told, told = runs.read_rows(record.folder), runs.read_predictions(record.folder)
        assert (
            record.result.test_clips == len(told.clips) == 4 and record.result.test_windows == len(rows_told.clips) > 4
        )
        right = []
        for clip, label, logits in zip(told.clips, told.labels, told.logits):
            of_file = [place for place, name in enumerate(rows_told.clips) if windows.clip_of(str(name)) == clip]
            each = [
                np.exp(one - one.max()) / np.exp(one - one.max()).sum()
                for one in rows_told.logits[of_file].astype(float)
            ]
            mean = sum(each) / len(each)
            shares = np.exp(logits - logits.max())
            assert shares / shares.sum() == pytest.approx(mean, abs=1e-6)
            right.append(int(np.argmax(mean)) == label)
        assert record.result.accuracy == np.mean(right)
        assert record.result.window_accuracy == np.mean(rows_told.logits.argmax(1) == rows_told.labels)
    assert invoke("report", *here, "--no-page").exit_code == 0
    with Path("reports/long-windows/table.csv").open() as file:
        assert all(row["windows_percent"] for row in csv.DictReader(file))
    assert "Per window" in Path("reports/long-windows/table.md").read_text().replace("<br>", " ").replace("\n", " ")
    student = next(Path("runs/long-windows").glob("student-*/soft1/fold1-seed0"))
    heard = json.loads(invoke("predict", str(student), "long/hum/a.wav", "--json").stdout)
    kept = dict(zip(runs.read_rows(student).clips.tolist(), runs.read_rows(student).logits))
    answers = {windows.name_of("hum/a.wav", one["start_s"]): one["logits"][0] for one in heard["windows"]}
    assert len(answers.keys() & kept.keys()) >= 5
    for name in answers.keys() & kept.keys():
        assert answers[name] == pytest.approx(kept[name], abs=1e-4)
    assert (
        invoke("noise", str(student), "--dataset", "folder", "--data", "long", "--windows", "--snr", "20").exit_code
        == 0
    )
    with Path("reports/long-windows/noise.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["clean_percent"]) == pytest.approx(100 * (runs.read(student).result.accuracy or 0))
    retrieval = invoke("retrieval", *here)
    assert retrieval.exit_code == 0 and "these figures are per window, not per file" in retrieval.stdout
    files_of_page(student, next(Path("cache").glob("long-windows/*/fold1.h5")))


def files_of_page(student: Path, features: Path) -> None:
    """The examples of a web page are the windows that they are called after, with what predict says of these."""
    making = pytest.importorskip("pipeline.deploy.web.making")
    from pipeline.deploy import prediction
    from pipeline.runs.own_clips import of_fold

    header = cache.read_header(features)
    paths = [Path("long") / file.path for file in header.files]
    shown = making.answered(prediction.checkpoint(student), header, paths, 50, of_fold(runs.read(student), header))
    assert {one.name for one in shown} == set(header.clips) and any(windows.start_of(one.name) for one in shown)
    for one in shown:
        sound = read_sound(
            Path("long") / windows.clip_of(one.name), sr=RATE, samples=RATE // 2, start=windows.start_of(one.name)
        )
        samples, _ = soundfile.read(io.BytesIO(one.wav), dtype="float32")
        np.testing.assert_allclose(samples, sound[: len(samples)], atol=2**-15)
