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
def test_the_python_api_has_the_weights_and_figures_of_the_commands(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import audio_rkd as rkd

    monkeypatch.chdir(place)
    how = rkd.settings("default", *(text for text in SETTINGS if "=" in text))
    fold = rkd.fold(rkd.corpus("csv", "tones/clips.csv"), how, 1)
    names = [set(SETS[int(clip[11:-4]) % len(SETS)]) for clip in fold.test_clips]
    assert [{list(TONES)[i] for i in np.flatnonzero(row)} for row in fold.test_labels] == names
    assert fold.train_labels.shape == (24, 3) and fold.train_labels[0].tolist() == fold.train_labels[1].tolist()
    (of_teacher,) = (place / "runs/clips").glob("teacher-*/fold1-seed0")
    (of_student,) = (place / "runs/clips").glob("student-*/angle20+ce1/fold1-seed0")
    teacher = rkd.fit(fold, "ce", how.teacher)
    assert teacher.weights == runs.read(of_teacher).result.weights
    epochs: list[dict[str, float]] = []
    student = rkd.fit(fold, "angle:20,ce:1", how.student, teacher=teacher, on_epoch=epochs.append)
    assert student.weights == runs.read(of_student).result.weights
    assert epochs[-1]["map"] == runs.read(of_student).result.map and "accuracy" not in epochs[-1]
    for model in (student, of_student, rkd.load(rkd.save(student, "student.pt"))):
        figures = rkd.evaluate(model, fold, teacher=of_teacher)
        told = runs.read(of_student).result
        assert (figures.status, figures.map, figures.nll) == (told.status, told.map, told.nll)
        assert (figures.accuracy, figures.agreement) == (None, None) and figures.chance == told.chance
    heard = rkd.predict([student, teacher], "tones/sounds/clip0.wav")
    assert heard.several and heard.probabilities == pytest.approx(
        (1 / (1 + np.exp(-heard.logits.astype(float)))).mean(0)
    )
    with pytest.raises(
        rkd.InputError, match="soft of mix soft:1: it needs one label a clip, and the clips of clips have several"
    ):
        rkd.fit(fold, "soft", how.student, teacher=teacher)


@pytest.mark.slow
def test_a_term_of_one_label_trains_nothing(place: Path) -> None:
    before = sorted((place / "runs").rglob("*"))
    done = audio_rkd(place, "distill", *CORPUS, "--losses", "hinton,ce", *SETTINGS)
    assert done.returncode == 1 and "hinton of mix" in done.stderr and "needs one label a clip" in done.stderr
    done = audio_rkd(place, "distill", *CORPUS, "--losses", "ce", *SETTINGS, "--set", "student.label_noise=0.1")
    assert done.returncode == 1 and "label_noise = 0.1" in done.stderr
    assert sorted((place / "runs").rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["explain", "few-shot", "retrieval"])
def test_commands_of_one_label_refuse_its_runs(place: Path, command: str) -> None:
    done = audio_rkd(place, command, *(CORPUS if command == "retrieval" else [str(a_run(place))]))
    assert done.returncode == 1 and "clips with several labels each" in done.stderr.splitlines()[-1], done.stderr


@pytest.mark.slow
def test_noise_inspect_and_votes_have_mean_average_precisions(place: Path) -> None:
    both = sorted((place / "runs" / "clips").rglob("student-*/*/fold1-seed0"))
    told = json.loads(ran(place, "ensemble", *map(str, both), "--json").stdout)
    predictions = [runs.read_predictions(folder) for folder in both]
    odds = np.mean([1 / (1 + np.exp(-one.logits.astype(float))) for one in predictions], axis=0)
    assert told["rows"][0]["map_percent"] == pytest.approx(100 * mean_average_precision(predictions[0].labels, odds))
    assert "macro_f1_percent" not in told["rows"][0]
    noisy = json.loads(ran(place, "noise", str(both[0]), *CORPUS, "--snr", "100", "--json").stdout)
    assert "mean average precision" in noisy["title"]
    assert noisy["rows"][0]["clean_percent"] == pytest.approx(100 * runs.read(both[0]).result.map)  # type: ignore[operator]
    assert noisy["rows"][0]["snr_100_percent"] == pytest.approx(noisy["rows"][0]["clean_percent"], abs=1e-6)
    seen = json.loads(ran(place, "inspect", *CORPUS, *SETTINGS[4:8], "--json").stdout)
    assert seen["classes"] == {"bass": 8, "flute": 6, "whistle": 6} and seen["several_labels"]


@pytest.mark.slow
def test_a_temperature_is_fitted_on_other_folds(tmp_path: Path) -> None:
    place = tmp_path
    write_corpus(place / "tones", folds=3)
    ran(place, "features", *CORPUS, *SETTINGS[4:8])
    ran(place, "teacher", *CORPUS, *SETTINGS, "--folds", "1")
    ran(place, "distill", *CORPUS, *SETTINGS, "--folds", "1", "--losses", "ce")
    run = a_run(place)
    ran(place, "calibrate", str(run))
    fitted = json.loads((run / "calibration.json").read_text())
    assert sorted(fitted["folds"]) == [2, 3] and fitted["nll_after"] < fitted["nll_before"]
    inner = [runs.read_predictions(place / folder) for folder in fitted["runs"]]
    logits, targets = np.concatenate([one.logits for one in inner]), np.concatenate([one.labels for one in inner])
    probability = 1 / (1 + np.exp(-logits.astype(float) / fitted["temperature"]))
    loss = -np.mean(targets * np.log(probability) + (1 - targets) * np.log(1 - probability))
    assert fitted["nll_after"] == pytest.approx(loss)


@pytest.mark.slow
def test_a_teacher_file_gives_the_same_student_bit_for_bit(place: Path) -> None:
    ran(place, "teacher-file", *map(str, (place / "runs/clips").glob("teacher-*")), "-o", "told.npz")
    ran(place, "distill", *CORPUS, *SETTINGS, "--losses", "angle:20,ce:1", "--teacher", "told.npz", "--folds", "1")
    (taught,) = (place / "runs/clips/experiment-student").rglob("fold1-seed0")
    (own,) = (place / "runs/clips").glob("student-*/angle20+ce1/fold1-seed0")
    assert runs.read(taught).result.weights == runs.read(own).result.weights


@pytest.mark.slow
def test_generations_and_experiments_learn_from_relations(place: Path) -> None:
    told = ran(place, "ban", *CORPUS, *SETTINGS, "--losses", "angle", "--model", "student", "--generations", "2").stdout
    assert "angle:20,ce:1" in told and "Baseline" not in told and "Mean average precision" in told
    rows = list(csv.DictReader((place / "reports/clips/ban.csv").open()))
    (folder,) = (place / "runs/clips").glob("ban-*/angle20+ce1")
    each = []
    for fold in (1, 2):
        members = [runs.read_predictions(folder / f"gen{number}" / f"fold{fold}-seed0") for number in (1, 2)]
        mean = np.mean([1 / (1 + np.exp(-one.logits.astype(float))) for one in members], axis=0)
        each.append(100 * mean_average_precision(members[0].labels, mean))
    (together,) = (row for row in rows if row["stage"] == "ensemble of 2")
    assert float(together["mean_percent"]) == pytest.approx(np.mean(each))
    told = ran(place, "experiment", "fitnets-joint", *CORPUS, *SETTINGS, "--folds", "1").stdout
    assert "Mean average precision on the held-out" in told


@pytest.mark.slow
def test_a_final_student_is_expected_to_reach_what_held_out_runs_did(place: Path) -> None:
    pytest.importorskip("onnxruntime")
    told = json.loads(ran(place, "final", *CORPUS, "--preset", "default", *SETTINGS, "--losses", "ce", "--json").stdout)
    held_out = [record for record in runs.find(place / "runs", "clips") if record.row_mix == "ce:1"]
    assert told["expected"]["map"] == pytest.approx(np.mean([100 * record.result.map for record in held_out]))  # type: ignore[operator]
    assert "accuracy" not in told["expected"] and "refusal" not in told
    present = told["proof"]["present"]["held_out"]
    predictions = [runs.read_predictions(record.folder) for record in held_out]
    there = np.concatenate([one.logits for one in predictions]) >= 0
    has = np.concatenate([one.labels for one in predictions]) > 0
    assert present["none_of_these"] == pytest.approx((~there.any(1)).mean()) and present["clips"] == len(has)
    for place_of, name in enumerate(TONES):
        found = (has & there)[:, place_of].sum() / has[:, place_of].sum()
        assert present["classes"][name]["found"] == pytest.approx(found)
    export = place / told["export"]
    assert not (export / "refusal.json").exists() and not list(Path(place / told["run"]).glob("refusal.json"))
    assert json.loads((export / "labels.json").read_text())["activation"] == "sigmoid"
    card = (export / "CARD.md").read_text()
    assert "Expected mean average precision" in card and "accuracy:" not in card and "| bass | 16 |" in card
    answer = ran(place, "predict", told["run"], "tones/sounds/clip0.wav")
    assert "was lost" not in answer.stderr


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
    (folder,) = [one for one in (place / "exports" / "clips").iterdir() if not one.name.startswith("final-")]
    proof = json.loads((folder / "proof.json").read_text())
    assert proof["map_float"] == pytest.approx(runs.read(a_run(place)).result.map)
    assert not [key for key in proof if key.startswith("accuracy")] and 0 <= proof["agreement_int8"] <= 1
    told = json.loads((folder / "labels.json").read_text())
    assert (told["activation"], told["threshold"]) == ("sigmoid", 0.5)
