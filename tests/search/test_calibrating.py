"""The temperature of a run: by runs that saw neither its held-out fold nor their own, kept, reported and used."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import runs
from pipeline.config import InputError
from pipeline.deploy import prediction
from pipeline.deploy.prediction import Prediction
from pipeline.engine import missing, outputs
from pipeline.engine.source import Source
from pipeline.experiments import planning
from pipeline.experiments.reading import variant
from pipeline.experiments.stages import own_teachers, students_of
from pipeline.figures import calibration as figures
from pipeline.figures import evaluation
from pipeline.losses import LossMix
from pipeline.report import check, report
from pipeline.report.calibration import calibrated
from pipeline.runs import calibration, damage
from pipeline.search import calibrating
from tests import recorded
from tests.chains import SETTINGS, write_source
from tests.poison import poisoned

HOW = {"device": "cpu", "jobs": 1, "checkpoint_minutes": 5.0}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.chdir(tmp_path)
    outputs.loaded.cache_clear()
    outputs.taught.cache_clear()
    return write_source(tmp_path)


def trained(source: Source, fold: int) -> tuple[Path, Path]:
    """Folders of the teacher and of the student of a fold."""
    experiment = variant("student", "student", mix="ce:1,hinton:1@T=2")
    levels, _ = planning.plan(experiment, SETTINGS, "tiny", folds=(fold,), seeds=(0,))
    missing.train(levels, source, device="cpu", jobs=1)
    teacher, student = (run.folder for level in levels for run in level.runs)
    return teacher, student


def test_several_teachers_of_other_features(source: Source, tmp_path: Path) -> None:
    """Those of pairs of folds are as many, and hear the same."""
    heard = dataclasses.replace(SETTINGS.features, bins=36)
    write_source(tmp_path, heard)
    experiment = students_of([LossMix.parse("ce:1,hinton:1@T=2")], own_teachers((0, 1), {"bins": 36}))
    levels, _ = planning.plan(experiment, SETTINGS, "tiny", folds=(1,), seeds=(0,))
    missing.train(levels, source, device="cpu", jobs=1)
    fitted = calibrating.calibrated(levels[-1].runs[0].folder, HOW)
    for one in map(runs.read, map(Path, fitted.runs)):
        taught_by = [runs.read(path) for path in one.teachers]
        assert [(each.seed, each.fold, each.without) for each in taught_by] == [(0, one.fold, 1), (1, one.fold, 1)]
        assert {each.settings.features for each in taught_by} == {heard}


def test_the_held_out_fold_has_no_part_in_it(source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, student = trained(source, 1)
    fitted = calibrating.calibrated(student, HOW)
    assert calibration.read(student) == fitted and fitted.folds == (2, 3) and fitted.clips == 18
    inner = [runs.read(Path(folder)) for folder in fitted.runs]
    assert [(one.fold, one.without, one.mix_text) for one in inner] == [
        (k, 1, runs.read(student).mix_text) for k in (2, 3)
    ]
    for one in inner:
        (teacher,) = map(runs.read, one.teachers)
        assert (teacher.fold, teacher.without) == (one.fold, 1)
    told = [runs.read_predictions(one.folder) for one in inner]
    logits, labels = (np.concatenate([getattr(one, name) for one in told]) for name in ("logits", "labels"))
    assert fitted.temperature == figures.temperature(logits, labels)
    assert fitted.nll_after <= fitted.nll_before == evaluation.negative_log_likelihood(logits, labels)
    kept = (student / calibration.NAME).read_bytes()
    Path("runs/tiny/experiment-calibration").rename("before")
    Path("runs/tiny/experiment-cross-fitted").rename("before-teachers")
    with monkeypatch.context() as patch:
        poisoned(patch, 1)
        calibrating.calibrated(student, HOW)
    assert (student / calibration.NAME).read_bytes() == kept
    text = report(Path("runs"), tmp_path / "reports", "tiny")
    assert "Calibration on the held-out fold" in text and f"{fitted.temperature:.2f}" in text
    told_student = runs.read_predictions(student)
    after = evaluation.expected_calibration_error(told_student.logits / fitted.temperature, told_student.labels)
    table = csv.DictReader((tmp_path / "reports" / "tiny" / "table.csv").read_text().splitlines())
    (row,) = [row for row in table if row["calibrated_runs"] == "1"]
    assert row["role"] == "student" and float(row["ece_calibrated_percent"]) == pytest.approx(100 * after, abs=1e-6)


@pytest.mark.slow
def test_a_teacher_is_calibrated_by_the_teachers_of_pairs(source: Source) -> None:
    teacher, student = trained(source, 2)
    fitted = calibrating.calibrated(teacher, HOW)
    assert {runs.read(Path(folder)).experiment for folder in fitted.runs} == {"cross-fitted"}
    before = sorted(Path("runs").rglob("teacher-without-2*/*/result.json"))
    calibrating.calibrated(student, HOW)  # the same teachers
    assert sorted(Path("runs").rglob("teacher-without-2*/*/result.json")) == before and len(before) == 2


def test_what_cannot_be_calibrated_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    run = recorded.write_run(tmp_path, 5)
    with pytest.raises(InputError, match="no finished run there"):
        calibrating.of_stages(tmp_path)
    config = json.loads((run / "config.json").read_text())
    for change, words in (
        ({"role": "step", "experiment": "x", "step": "y"}, "is a run of step"),
        ({"dataset": "cifar100"}, "is a run of images"),
        ({"data": {"1": "x", "2": "y"}}, "expected 3 folds at least"),
    ):
        (run / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=words):
            calibrating.of_stages(run)


def test_damage_is_told_before_anything_is_trained_and_a_bound_is_called_one(tmp_path: Path) -> None:
    run = recorded.write_run(tmp_path, 5)
    text = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**text, "data": {"1": "x", "2": "y", "3": "z"}}))
    assert calibrating.of_stages(run).fold == 1
    for temperature, words in ((figures.MOST, "20.000, the end of 0.05 to 20, fitted on"), (2.5, "2.500, fitted on")):
        assert words in calibrating.lines(run, dataclasses.replace(FITTED, temperature=temperature))[1]
    (run / "predictions.npz").write_bytes(b"PK cut off")
    with pytest.raises(InputError, match=r"predictions\.npz: damaged"):
        calibrating.of_stages(run)


FITTED = calibration.Calibration(2.5, 10, (2, 3), ("a", "b"), "", 1.0, 0.9, 0.2, 0.1)


def test_a_damaged_calibration_and_one_of_other_weights_are_refused(tmp_path: Path) -> None:
    run = recorded.write_run(tmp_path, 5)
    assert calibration.read(run) is None
    calibration.write(run, FITTED)
    assert calibration.read(run) == FITTED
    calibration.write(run, dataclasses.replace(FITTED, weights="other"))
    with pytest.raises(InputError, match=r"of other weights than the run's; remove it"):
        calibration.read(run)
    calibration.write(run, FITTED)
    changed = (run / calibration.NAME).read_text().replace("2.5", "2.6")
    for content in (changed, "{", "[]", "{}", json.dumps({**dataclasses.asdict(FITTED), "temperature": -1.0})):
        (run / calibration.NAME).write_text(content)
        with pytest.raises(InputError, match=r"calibration.json: damaged .*; remove it, and calibrate"):
            calibration.read(run)
        assert calibrated([runs.read(run)]) is None and "calibration.json: damaged" in damage.told()[0]
    (finding,) = [one for one in check.check([run]).findings if one.path.endswith(calibration.NAME)]
    assert "damaged" in finding.problem
    (run / calibration.NAME).write_text(json.dumps(dataclasses.asdict(FITTED)))
    assert calibration.read(run) == FITTED, "those of before there were digests serve"


def test_damaged_predictions_of_a_calibrated_run_are_told_and_cost_no_other_run(tmp_path: Path) -> None:
    run, other = recorded.write_run(tmp_path, 5), recorded.write_run(tmp_path, 5, fold=2)
    for folder in (run, other):
        calibration.write(folder, FITTED)
    records = [runs.read(folder) for folder in (run, other)]
    (run / "predictions.npz").write_bytes(b"PK cut off")
    fitted = calibrated(records)
    assert fitted is not None and fitted.runs == 1 and "predictions.npz: damaged" in damage.told()[0]


def test_probabilities_are_at_each_runs_temperature() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    plain, hot = Prediction(1.0, (), logits), Prediction(1.0, (), logits, (2.0, 0.5))
    z = logits.astype(np.float64)
    expected = np.mean(
        [np.exp(z[r] / t) / np.exp(z[r] / t).sum(-1, keepdims=True) for r, t in ((0, 2.0), (1, 0.5))], axis=0
    )
    assert np.allclose(hot.probabilities, expected, rtol=1e-12) and not np.allclose(plain.probabilities, expected)


def test_calibrated_predictions_need_a_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = recorded.write_run(tmp_path, 5)
    monkeypatch.setattr(prediction, "read_weights", lambda _: {"model": "cnn2"})
    with pytest.raises(InputError, match=r"no calibration.json there; expected a run that was calibrated"):
        prediction.checkpoint(run, calibrated=True)
