"""Clips with several labels from the table to the report, answers and export, by the commands themselves."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import runs
from pipeline.label_sets import mean_average_precision
from tests.several import SETS, TONES, tones, write_corpus
from tests.tiny import QUICK, Done, audio_rkd

CORPUS = ("--dataset", "csv", "--data", "tones/clips.csv")

SETTINGS = (*QUICK, "--set", "student.epochs=8", "--set", "student.lr=0.02", "--set", "teacher.lr=0.02")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained teacher and students of three mixes, and their report."""
    where = tmp_path_factory.mktemp("several")
    write_corpus(where / "tones", folds=2, repeats=2)
    spec = SETTINGS[4:8]
    for command, *more in (
        ("features", *spec),
        ("teacher", *SETTINGS),
        ("distill", "--losses", "ce", "--losses", "angle:20,ce:1", *SETTINGS),
    ):
        done = ran(where, command, *CORPUS, *more)
        if command != "features":
            assert "mAP 0." in done.stdout + done.stderr and "accuracy" not in done.stdout + done.stderr
    return where


def ran(where: Path, *arguments: str) -> Done:
    done = audio_rkd(where, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def a_run(where: Path) -> Path:
    return min((where / "runs" / "clips").rglob("student-*/ce1/fold1-seed0"))


@pytest.mark.slow
def test_records_have_the_mean_average_precision_of_their_predictions(place: Path) -> None:
    for record in runs.find(place / "runs", "clips"):
        told = runs.read_predictions(record.folder)
        assert record.several_labels and told.labels.shape == told.logits.shape == (12, 3)
        assert record.result.map == mean_average_precision(told.labels, told.logits)
        assert (record.result.accuracy, record.result.best_accuracy) == (None, None)
        assert record.result.best_map == max(epoch["map"] for epoch in runs.read_metrics(record.folder))
        names = {clip: set(SETS[int(clip[11:-4]) % len(SETS)]) for clip in told.clips}
        assert all({list(TONES)[i] for i in np.flatnonzero(row)} == names[c] for c, row in zip(told.clips, told.labels))


@pytest.mark.slow
def test_tables_page_and_lists_name_it(place: Path) -> None:
    done = ran(place, "report", *CORPUS)
    assert "Mean average precision on the held-out fold's clean clips" in done.stdout and "ccuracy" not in done.stdout
    folder = place / "reports" / "clips"
    rows = list(csv.DictReader((folder / "table.csv").open()))
    by_mix = {row["mix"]: row for row in rows}
    figures = [100 * r.result.map for r in runs.find(place / "runs", "clips") if r.row_mix == "ce:1"]  # type: ignore[operator]
    assert float(by_mix["ce:1"]["mean_percent"]) == pytest.approx(np.mean(figures))
    assert by_mix["ce:1"]["baseline"] == "baseline" and by_mix["angle:20,ce:1"]["folds_compared"] == "2"
    assert {row["measure"] for row in rows} == {"mean average precision"}
    by_class = list(csv.DictReader((folder / "classes.csv").open()))
    assert {row["class"] for row in by_class} == set(TONES) and all(
        row["average_precision_percent"] for row in by_class
    )
    page = (folder / "index.html").read_text()
    assert "Average precision by class" in page and "Confusion matrix" not in page and "mAP" in page
    assert "ean average precision" in (folder / "table.tex").read_text()
    assert "mAP" in ran(place, "runs", "--dataset", "clips").stdout
    listed = json.loads(ran(place, "runs", "--dataset", "clips", "--json").stdout)
    assert all(row["accuracy"] is None and 0 <= row["map"] <= 1 for row in listed)
    compared = ran(place, "compare", "ce", "angle:20,ce:1", "--dataset", "clips").stdout
    assert "A: mean average precision" in compared and "McNemar" not in compared
    both = [str(folder) for folder in sorted((place / "runs" / "clips").rglob("student-*/*/fold1-seed0"))]
    assert "it is no mean over clips" in ran(place, "compare", *both).stdout
    assert "angle:20,ce:1 × 2, ce:1 × 2, teacher × 2" in ran(place, "status", *CORPUS).stdout


@pytest.mark.slow
def test_a_run_is_repeated_to_the_bit(place: Path) -> None:
    told = ran(place, "rerun", str(a_run(place)))
    assert f"mean average precision: {runs.read(a_run(place)).result.map}: the same bit for bit" in told.stdout


@pytest.mark.slow
def test_the_python_api_refuses_its_arrays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import audio_rkd as rkd
    from pipeline.config import InputError

    monkeypatch.chdir(place)
    changes = [text for text in SETTINGS if "=" in text]
    with pytest.raises(InputError, match="Python API takes clips of one label"):
        rkd.fold(rkd.corpus("csv", "tones/clips.csv"), rkd.settings("default", *changes), 1)


@pytest.mark.slow
def test_a_term_of_one_label_trains_nothing(place: Path) -> None:
    before = sorted((place / "runs").rglob("*"))
    done = audio_rkd(place, "distill", *CORPUS, "--losses", "hinton,ce", *SETTINGS)
    assert done.returncode == 1 and "hinton of mix" in done.stderr and "needs one label a clip" in done.stderr
    done = audio_rkd(place, "distill", *CORPUS, "--losses", "ce", *SETTINGS, "--set", "student.label_noise=0.1")
    assert done.returncode == 1 and "label_noise = 0.1" in done.stderr
    assert sorted((place / "runs").rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["calibrate", "explain", "ensemble", "cost", "noise", "web"])
def test_commands_of_one_label_refuse_its_runs(place: Path, command: str) -> None:
    more = CORPUS if command == "noise" else ()
    done = audio_rkd(place, command, str(a_run(place)), *more)
    assert done.returncode == 1 and "clips with several labels each" in done.stderr.splitlines()[-1], done.stderr


@pytest.mark.slow
def test_predict_answers_with_every_class(place: Path) -> None:
    import soundfile

    soundfile.write(place / "both.wav", tones(("bass", "whistle"), 99, seconds=2.0), 22050)
    run = str(a_run(place))
    answer = json.loads(ran(place, "predict", run, "both.wav", "--json").stdout)
    probabilities = {one["class"]: one["probability"] for one in answer["top"]}
    logits = np.array([window["logits"][0] for window in answer["windows"]])
    expected = (1 / (1 + np.exp(-logits))).mean(0)
    assert [probabilities[name] for name in TONES] == pytest.approx(expected.tolist(), rel=1e-6)
    assert answer["present"] == [name for name in TONES if probabilities[name] >= 0.5]
    events = json.loads(ran(place, "predict", run, "both.wav", "--json", "--segments", "--threshold", "0").stdout)
    assert {event["class"] for event in events["events"]} == set(TONES)
    assert all((event["start_s"], event["end_s"]) == (0, 2) for event in events["events"])


@pytest.mark.slow
def test_export_proves_sets_of_classes(place: Path) -> None:
    pytest.importorskip("onnxruntime")
    ran(place, "export", str(a_run(place)), *CORPUS)
    (folder,) = (place / "exports" / "clips").iterdir()
    proof = json.loads((folder / "proof.json").read_text())
    assert proof["map_float"] == pytest.approx(runs.read(a_run(place)).result.map)
    assert not [key for key in proof if key.startswith("accuracy")] and 0 <= proof["agreement_int8"] <= 1
    told = json.loads((folder / "labels.json").read_text())
    assert (told["activation"], told["threshold"]) == ("sigmoid", 0.5)
