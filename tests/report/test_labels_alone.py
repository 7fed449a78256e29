"""An experiment's rows are compared to the baseline, and to their network on labels alone."""

from __future__ import annotations

import dataclasses
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


def test_a_row_called_soft_of_another_mix_is_a_row_like_any_other(tmp_path: Path) -> None:
    """It is no baseline, and what is one is not compared to itself."""
    named = recorded.write_run(tmp_path, 8, mix="hinton:1", lr=0.02)
    plain = recorded.write_run(tmp_path, 5, mix="soft:1", lr=0.02)
    entries = [NotedRow("mine/soft", named.parent), NotedRow("mine/plain", plain.parent)]
    by_name = {row.label: row for row in experiments.rows(runs.find(tmp_path / "runs"), entries)}
    compared = by_name["mine/soft"].comparison
    assert compared is not None and compared.difference == pytest.approx(30.0)
    assert by_name["mine/plain"].comparison is None


def test_soft_targets_of_other_features_are_not_compared_to_themselves(tmp_path: Path) -> None:
    soft, other = (recorded.write_run(tmp_path, 5, mix="soft:1", lr=rate) for rate in (0.01, 0.02))
    path = other / "config.json"
    about = json.loads(path.read_text())
    about["settings"]["features"]["use"] = "pcen"
    path.write_text(json.dumps(about))
    entries = [NotedRow("mine/soft", soft.parent), NotedRow("mine/on pcen", other.parent)]
    for row in experiments.rows(runs.find(tmp_path / "runs"), entries):
        assert row.comparison is None


def test_an_experiment_of_two_calls_compares_each_row_to_the_baseline_of_its_call(tmp_path: Path) -> None:
    """A short try and the whole, each with a row of settings of its own: names alone do not tell them apart."""
    hits = {0.01: (5, 9), 0.02: (3, 4)}
    entries = []
    for rate, (of_soft, of_slow) in hits.items():
        for name, mix, right in (("soft", "soft:1", of_soft), ("slow", "angle:9,soft:1", of_slow)):
            folder = recorded.write_run(tmp_path, right, mix=mix, lr=rate)
            path = folder / "config.json"
            about = json.loads(path.read_text())
            if name == "slow":
                about["settings"]["student"]["momentum"] = 0.5
                path.write_text(json.dumps(about))
            entries.append(NotedRow(f"mine/{name}", folder.parent))
    note(tmp_path / "runs", "tiny", "mine", entries)
    found = experiments.rows(runs.find(tmp_path / "runs"), entries)
    differences = {(row.label, row.spread.mean): row.comparison for row in found if row.spread}
    assert differences["mine/soft", 50.0] is None and differences["mine/soft", 30.0] is None
    for mean, expected in ((90.0, 40.0), (40.0, 10.0)):
        test = differences["mine/slow", mean]
        assert test is not None and test.difference == pytest.approx(expected)
    text = experiments.report(tmp_path / "runs", tmp_path / "reports", "tiny", "mine")
    of_comparison = text.partition("Paired difference")[2]
    assert all(row.key.digest in of_comparison for row in found if row.label == "mine/slow")
    by_name = experiments.runs_by_name(runs.find(tmp_path / "runs"), entries)
    assert len(by_name) == 4 and all(len(members) == 1 for members in by_name.values())


def as_role(folder: Path, role: str) -> None:
    """As if the run had been a step of that role: one on labels alone is kept as a teacher, with a teacher's settings."""
    path = folder / "config.json"
    about = json.loads(path.read_text())
    settings = about["settings"]
    trained = {"teacher": settings["student"], "student": {**settings["student"], "epochs": 1000}}
    path.write_text(json.dumps({**about, "role": role, "settings": settings | (trained if role == "teacher" else {})}))


@pytest.mark.parametrize("several", [False, True])
def test_an_own_baseline_may_be_taught_by_a_step_and_labels_be_kept_as_a_teacher(tmp_path: Path, several: bool) -> None:
    """The rows of an experiment whose teacher is a step of its own, called twice."""
    hits = {0.01: (5, 6, 9), 0.02: (3, 2, 4)}
    entries = []
    for rate, each in hits.items():
        for (name, mix), right in zip((("soft", "soft:1"), ("labels", "ce:1"), ("slow", "angle:9")), each, strict=True):
            folder = recorded.write_run(tmp_path, right, mix=mix, lr=rate)
            as_role(folder, "teacher" if name == "labels" else "step")
            entries.append(NotedRow(f"mine/{name}", folder.parent))
    records = [dataclasses.replace(record, several_labels=several) for record in runs.find(tmp_path / "runs")]
    found = {(row.label, row.spread.mean): row for row in experiments.rows(records, entries) if row.spread}
    labels = {
        (row.label, row.spread.mean): row
        for row in experiments.rows(records, entries, experiments.labels_of, "labels")
        if row.spread
    }
    for of_soft, of_labels, of_slow in hits.values():
        row = found["mine/slow", 10.0 * of_slow]
        baseline = of_labels if several else of_soft
        assert row.comparison is not None and row.comparison.difference == pytest.approx(10 * (of_slow - baseline))
        assert row.baseline_settings == ""  # the same, whatever its role
        assert found["mine/labels" if several else "mine/soft", 10.0 * baseline].comparison is None
        compared = labels["mine/slow", 10.0 * of_slow].comparison
        assert compared is not None and compared.difference == pytest.approx(10 * (of_slow - of_labels))


def test_of_two_own_rows_equally_near_none_is_the_baseline(tmp_path: Path) -> None:
    slow = recorded.write_run(tmp_path, 5, mix="angle:9,soft:1", lr=0.03)
    both = [recorded.write_run(tmp_path, 5, mix="soft:1", lr=rate) for rate in (0.01, 0.02)]
    records = runs.find(tmp_path / "runs")
    (only,) = [record for record in records if record.folder == slow]
    assert experiments.baseline_of(only, records, {folder.parent for folder in both}) == []
    one = {both[0].parent}
    assert [record.folder for record in experiments.baseline_of(only, records, one)] == both[:1]


@pytest.mark.parametrize(("mix", "of"), [("soft:1", experiments.baseline_of), ("ce:1", experiments.labels_of)])
def test_of_two_own_rows_equally_near_the_one_of_more_of_the_rows_folds_and_seeds_is_the_baseline(
    tmp_path: Path, mix: str, of: experiments.Other
) -> None:
    """A row that two calls have in common, for its step says all that they differ in, stays beside the whole one."""
    slow = [recorded.write_run(tmp_path, 5, fold=fold, mix="angle:9,soft:1", lr=0.03) for fold in (1, 2)]
    whole = [recorded.write_run(tmp_path, 5, fold=fold, mix=mix, lr=0.01) for fold in (1, 2)]
    part = [recorded.write_run(tmp_path, 5, fold=fold, mix=mix, lr=0.02) for fold in (2, 3, 4)]
    records = runs.find(tmp_path / "runs")
    for record in (record for record in records if record.folder in slow):
        compared = of(record, records, {whole[0].parent, part[0].parent})
        assert sorted(one.folder for one in compared) == whole


def test_of_several_labels_the_own_row_is_that_of_labels(tmp_path: Path) -> None:
    labels, slow = recorded.write_run(tmp_path, 5, mix="ce:1"), recorded.write_run(tmp_path, 8, mix="angle:9", lr=0.02)
    recorded.write_run(tmp_path, 2, mix="ce:1", lr=0.5)  # of nobody's row
    entries = [NotedRow("mine/labels", labels.parent), NotedRow("mine/slow", slow.parent)]
    records = [dataclasses.replace(record, several_labels=True) for record in runs.find(tmp_path / "runs")]
    by_name = {row.label: row.comparison for row in experiments.rows(records, entries)}
    compared = by_name["mine/slow"]
    assert compared is not None and compared.difference == pytest.approx(30.0)
    assert by_name["mine/labels"] is None


def test_a_report_of_one_table_of_several_settings_does_not_say_that_tables_differ(tmp_path: Path) -> None:
    entries = []
    for name, rate in (("a", 0.01), ("b", 0.02)):
        folder = recorded.write_run(tmp_path, 5, mix="angle:9", lr=rate)
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "role": "step"}))
        entries.append(NotedRow(f"mine/{name}", folder.parent))
    note(tmp_path / "runs", "tiny", "mine", entries)
    paper = report.contents(tmp_path / "runs", "tiny").document
    assert len(paper.sections) == 1 and not any("The tables differ" in text for text in paper.notes)
