"""An experiment's rows are compared to the baseline, and to their network on labels alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import report, runs
from pipeline.report import experiments
from pipeline.runs.experiments import NotedRow, note
from tests import recorded


def test_a_row_is_paired_with_the_same_network_on_labels_alone(tmp_path: Path) -> None:
    hits = {"soft:1": (5, 6, 7), "ce:1": (4, 4, 4), "angle:9,soft:1": (7, 8, 9)}
    folders = {
        mix: [recorded.write_run(tmp_path, right, fold=fold, mix=mix) for fold, right in enumerate(each, 1)]
        for mix, each in hits.items()
    }
    for fold in (1, 2, 3):  # labels alone with other settings do not count where there are the row's own
        recorded.write_run(tmp_path, 9, fold=fold, mix="ce:1", lr=0.5)
    entries = [NotedRow(f"mine/{mix}", folder[0].parent) for mix, folder in folders.items()]
    note(tmp_path / "runs", "tiny", "mine", entries)
    records = runs.find(tmp_path / "runs")
    by_name = {row.label: row for row in experiments.rows(records, entries, experiments.labels_of)}
    assert by_name["mine/ce:1"].comparison is None
    for mix, expected in (("soft:1", 20.0), ("angle:9,soft:1", 40.0)):
        row = by_name[f"mine/{mix}"]
        assert row.comparison is not None and row.comparison.difference == pytest.approx(expected)
        assert row.comparison.n == 3 and row.baseline_settings == "" and row.compared_mixes == 2
    against_soft = {row.label: row.comparison for row in experiments.rows(records, entries)}
    assert against_soft["mine/angle:9,soft:1"].difference == pytest.approx(20.0)  # type: ignore[union-attr]
    text = experiments.report(tmp_path / "runs", tmp_path / "reports", "tiny", "mine")
    assert "beside the same network on labels alone" in text and "Paired difference to labels alone" in text
    assert "Paired difference to the baseline soft:1" in text


def test_labels_alone_of_a_stage_two_run_and_of_other_settings(tmp_path: Path) -> None:
    """A step on labels alone is kept as a teacher: the same network, whatever its role; other settings are said."""
    ours = recorded.write_run(tmp_path, 8, mix="hinton:1,soft:1")
    alone = recorded.write_run(tmp_path, 5, mix="ce:1", lr=0.5)
    (only,) = [run for run in runs.find(tmp_path / "runs") if run.folder == ours]
    entries = [NotedRow("mine", ours.parent)]
    (row,) = experiments.rows(runs.find(tmp_path / "runs"), entries, experiments.labels_of)
    assert row.comparison is not None and row.baseline_settings != ""
    path = alone / "config.json"
    about = json.loads(path.read_text())
    about["settings"]["teacher"] = json.loads((ours / "config.json").read_text())["settings"]["student"]
    path.write_text(json.dumps({**about, "role": "teacher"}))
    records = runs.find(tmp_path / "runs")
    assert [run.folder for run in experiments.labels_of(only, records)] == [alone]
    (row,) = experiments.rows(records, entries, experiments.labels_of)
    assert row.comparison is not None and row.baseline_settings == ""
    assert report.experiments is experiments


def test_an_experiments_rows_stand_in_one_table_beside_its_own_soft_targets(tmp_path: Path) -> None:
    """Another row of soft targets, of another teacher and other settings, is a row like any other."""
    hits = {"soft": (5, 6, 7), "smooth/student": (4, 4, 4), "slow/student": (7, 8, 9), "labels": (6, 6, 6)}
    mixes = {
        "soft": ("soft:1", 0.01),
        "smooth/student": ("soft:1", 0.02),
        "slow/student": ("hinton:1,soft:1", 0.03),
        "labels": ("ce:1", 0.01),
    }
    folders = {
        name: [
            recorded.write_run(tmp_path, right, fold=fold, mix=mixes[name][0], lr=mixes[name][1])
            for fold, right in enumerate(each, 1)
        ]
        for name, each in hits.items()
    }
    for fold in (1, 2, 3):  # labels alone and soft targets of nobody's row
        recorded.write_run(tmp_path, 1, fold=fold, mix="ce:1", lr=0.5)
        recorded.write_run(tmp_path, 1, fold=fold, mix="soft:1", lr=0.5)
    entries = [NotedRow(f"mine/{name}", folder[0].parent) for name, folder in folders.items()]
    note(tmp_path / "runs", "tiny", "mine", entries)
    records = runs.find(tmp_path / "runs")
    by_name = {row.label: row for row in experiments.rows(records, entries)}
    against_labels = {
        row.label: row.comparison for row in experiments.rows(records, entries, experiments.labels_of, "labels")
    }
    assert by_name["mine/soft"].comparison is None and against_labels["mine/labels"] is None
    for name, to_soft, to_labels in (("smooth/student", -20.0, -20.0), ("slow/student", 20.0, 20.0)):
        row = by_name[f"mine/{name}"]
        assert row.comparison is not None and row.comparison.difference == pytest.approx(to_soft)
        assert row.compared_mixes == 3 and row.baseline_settings == by_name["mine/soft"].key.digest
        compared = against_labels[f"mine/{name}"]
        assert compared is not None and compared.difference == pytest.approx(to_labels)
    text = experiments.report(tmp_path / "runs", tmp_path / "reports", "tiny", "mine")
    assert text.count("Accuracy on the held-out fold's clean clips") == 1
    assert text.count("Paired difference to the baseline soft:1, percentage points; 3 mixes compared") == 1
    assert text.count("Paired difference to labels alone, percentage points; 3 mixes compared") == 1
    assert all(row.key.digest in text for row in by_name.values())


def test_without_a_row_of_its_own_soft_targets_of_several_settings_are_no_baseline(tmp_path: Path) -> None:
    ours = recorded.write_run(tmp_path, 8, mix="hinton:1,soft:1", lr=0.03)
    for rate in (0.01, 0.02):
        recorded.write_run(tmp_path, 5, mix="soft:1", lr=rate)
    (row,) = experiments.rows(runs.find(tmp_path / "runs"), [NotedRow("mine", ours.parent)])
    assert row.comparison is None
