"""From the recipe to its tables: teachers of other classes, overlaps, harmonic means and λ by plain loops, kept for the page."""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import cache, class_subsets, runs
from pipeline.engine.missing import train
from pipeline.experiments import files, planning, reading
from pipeline.figures import other_classes as figures
from pipeline.models import saved
from pipeline.report import class_means, experiments, kept, page, plots
from pipeline.report import other_classes as report
from pipeline.report.page import pictures
from pipeline.runs import Record
from pipeline.runs.damage import told
from pipeline.runs.experiments import note_rows
from tests import recipes


def test_centres_and_answers_are_the_worked_ones() -> None:
    values, labels = np.array([[1.0, 0], [3, 0], [0, 2], [1, 1]]), np.array([0, 0, 2, 2])
    centres = figures.centres(values, labels, 3)
    np.testing.assert_allclose(centres[[0, 2]], [[1, 0], [0.3162277660, 0.9486832981]], atol=6e-11)
    assert np.isnan(centres[1]).all()  # no clip: nothing is given this class
    np.testing.assert_allclose(np.array([[2.0, 1]]) @ centres[[0, 2]].T, [[2, 1.5811388301]], atol=6e-11)
    assert figures.nearest(np.array([[2.0, 1], [-1, -1], [0, 0]]), centres).tolist() == [0, 0, 0]  # ties: the first
    assert figures.nearest(np.array([[0.0, 1]]), centres).tolist() == [2]


@pytest.mark.parametrize(
    ("old", "new", "expected"), [(0.7, 0.3, 0.42), (0, 0, 0), (0, 1, 0), (0.5, 0.5, 0.5), (math.nan, 1, math.nan)]
)
def test_the_harmonic_mean(old: float, new: float, expected: float) -> None:
    assert figures.harmonic_mean(old, new) == pytest.approx(expected, nan_ok=True)


def test_accuracy_is_of_the_classes_that_are_asked_for() -> None:
    answers, labels = np.array([0, 1, 2, 2]), np.array([0, 0, 2, 1])
    assert figures.accuracy_of(answers, labels, [0]) == 0.5 and figures.accuracy_of(answers, labels, [0, 2]) == 2 / 3
    assert math.isnan(figures.accuracy_of(answers, labels, [7])) and figures.overlap("abcd", "dcx") == 0.5


@pytest.mark.parametrize(
    ("recipe", "classes", "count", "overlaps"),
    [("refilled", 10, 4, [100, 75, 50, 25, 0]), ("refilled-esc50", 50, 25, [100, 80, 60, 40, 20, 0])],
)
def test_what_a_teacher_and_its_students_have_in_common(
    recipe: str, classes: int, count: int, overlaps: list[int]
) -> None:
    every = [f"class {place}" for place in range(classes)]
    steps = reading.read(recipe).steps.values()
    for seed in range(3):
        known = {step.name: class_subsets.names(dict(step.settings)["classes"], every, seed) for step in steps}
        assert {len(names) for names in known.values()} == {count}
        for label in ("alone", "rkd", "comparison", "refilled"):
            shares = [100 * figures.overlap(known[step.name], known["other"]) for step in steps if step.label == label]
            assert list(dict.fromkeys(shares)) == overlaps and len(shares) == len(overlaps) * (
                3 if label == "refilled" else 1
            )
        for step in steps:
            assert step.start is None or known[step.start] == known[step.name]
            assert step.teachers == (() if step.label in ("alone", "other") else ("other",))


def small() -> Any:
    """The recipe with three of six classes, of which a teacher knows three, one and none; a single epoch."""
    tables = files.contents(files.located("refilled"))
    for table in tables["step"]:
        table |= {"epochs": 1, "batch": 8}
        if "each" in table:
            table["each"]["classes"] = ["0:3@1", "2:5@1", "3:6@1"]
        if "classes" in table:
            table["classes"] = "0:3@1"
    return reading.parsed(Path("refilled.toml"), tables)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("refilled")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        levels, rows = planning.plan(small(), recipes.SETTINGS, "tiny", folds=(1,), seeds=(0,))
        train(levels, recipes.source(root), **recipes.HOW)
        note_rows(Path("runs"), "tiny", "refilled", rows)
        return root, experiments.report(Path("runs"), Path("reports"), "tiny", "refilled")


def lines_of(text: str, caption: str) -> list[list[str]]:
    """The cells of a printed table, below its caption and rule."""
    below = text[text.index(caption) :].splitlines()
    rule = next(place for place, line in enumerate(below) if line.startswith("---"))
    return [line.split("  ") for line in itertools.takewhile(bool, below[rule + 1 :])]


@pytest.mark.slow
def test_the_tables_have_every_method_at_every_overlap(trained: tuple[Path, str]) -> None:
    root, text = trained
    methods = [cells[0] for cells in lines_of(text, report.CAPTIONS["accuracy"])]
    start = "after comparison:1000,soft:0"
    assert sorted(methods) == sorted(
        [
            *("ce:1", "angle:50,ce:1,distance:25", f"ce:1 {start}"),
            *(f"ce:1,local:1@adaptive={adaptive} {start}" for adaptive in ("off", "set")),
        ]
    )
    assert [cells[0] for cells in lines_of(text, report.CAPTIONS["negatives"])] == ["1", "5", "all"]
    rows = list(csv.DictReader((root / "reports/tiny/experiment-refilled-other-classes-2.csv").open()))
    assert len(rows) == 1 + 3 * 5 + 3 * 3 and all(row["runs"] == "1" for row in rows)
    assert {row["overlap_percent"] for row in rows[1:]} == {"100.0", "33.33333333", "0.0"}
    assert rows[0]["method"] == "ce:1 (teacher)" and rows[0]["overlap_percent"] == ""
    for row in rows:  # λ stands where it is learned, and its AUC where the teacher knows some of the classes, not all
        has_auc = "adaptive=set" in row["method"] and row["overlap_percent"] == "33.33333333"
        assert bool(row["auc_lambda_training_percent"]) == bool(row["auc_lambda_held_out_percent"]) == has_auc


def record_of(root: Path, adaptive: str, classes: str) -> Record:
    records = runs.find(root / "runs")
    return next(r for r in records if adaptive in r.mix_text and r.trained_by.classes == classes and r.fold == 1)


@pytest.mark.slow
def test_what_is_measured_is_that_of_plain_loops(trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a student that shares one class with its teacher: centres of fold 2's clips, all views; answers for fold 1's clean clips."""
    root, _ = trained
    monkeypatch.chdir(root)
    record = record_of(root, "adaptive=set", "2:5@1")
    teacher = runs.read(record.teachers[0])
    assert len(set(record.classes) & set(teacher.classes)) == 1 and len(record.classes) == len(teacher.classes) == 3
    both = sorted({*record.classes, *teacher.classes})
    network, other = (saved.network_of(saved.read_payload(one.folder)).eval() for one in (record, teacher))
    held_out, learned = (cache.read_fold(cache.fold_path(root / "cache", "tiny", recipes.SPEC, k)) for k in (1, 2))

    def said(one: Any, features: Any, output: str) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(one(torch.from_numpy(np.ascontiguousarray(features))[None])[output][0].double())

    def clips(fold: Any, views: int) -> list[tuple[str, np.ndarray]]:
        labels = ["abcdef"[label] for label in fold.header.labels]
        return [(label, x[view]) for label, x in zip(labels, fold.features) for view in range(views)]

    centres = {}
    for name in both:
        mean = np.mean([said(network, x, "embedding") for label, x in clips(learned, 2) if label == name], 0)
        centres[name] = mean / np.linalg.norm(mean)

    def accuracy(asked: Any, among: Any) -> float:
        right = [
            max(sorted(among), key=lambda name: said(network, x, "embedding") @ centres[name]) == label
            for label, x in clips(held_out, 1)
            if label in asked
        ]
        return sum(right) / len(right)

    def auc(some: list[tuple[str, np.ndarray]]) -> float:
        each = [(label in teacher.classes, said(other, x, "logits")) for label, x in some if label in record.classes]
        sure = [(known, math.log(np.exp(z - z.max()).sum())) for known, z in each]  # −log max softmax
        pairs = [(a, b) for known, a in sure if known for knows, b in sure if not knows]
        return sum(1.0 if a < b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)

    told_of_run = class_means.measured(record, teacher.classes)
    older = replace(record, classes=())  # of before records had the names, all of the corpus
    assert np.isfinite(class_means.measured(older, ())["ncm"])
    old, new = accuracy(teacher.classes, both), accuracy(record.classes, both)
    expected = {
        "ncm": accuracy(record.classes, record.classes),
        "old": old,
        "new": new,
        "harmonic": 2 * old * new / (old + new) if old + new else 0,
        "auc_training": auc(clips(learned, 2)),
        "auc_held_out": auc(clips(held_out, 1)),
    }
    assert told_of_run == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_the_page_shows_what_was_kept_as_long_as_its_runs_are_there(
    trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = trained
    monkeypatch.chdir(root)
    wanted: list[Any] = []
    monkeypatch.setattr(pictures, "saved", lambda several: wanted.extend(several) or ["<svg></svg>" for _ in several])
    html = page.write(Path("runs"), Path("reports"), "tiny").read_text()
    assert (
        'href="#measured1">experiment refilled: other classes<' in html and escape(report.CAPTIONS["accuracy"]) in html
    )
    picture, folder = next(one for one in wanted if one[0].title == "Accuracy by overlap of classes")
    plots.save(picture, folder)
    drawn = list(csv.DictReader((folder / "overlap.csv").open()))
    table = list(csv.DictReader((root / "reports/tiny/experiment-refilled-other-classes-2.csv").open()))
    assert {(row["method"], float(row["overlap_percent"])): float(row["accuracy_percent"]) for row in drawn} == {
        (row["method"], float(row["overlap_percent"])): float(row["accuracy_percent"])
        for row in table
        if row["overlap_percent"] and row["accuracy_percent"]
    }
    note = root / "reports/tiny/experiment-refilled-other-classes.json"
    text = note.read_text()
    weights = runs.find(root / "runs")[0].result.weights
    try:
        note.write_text(text.replace("other classes", "others"))
        assert [one.title for one in kept.found_in(note.parent)] == ["retrieval"]
        assert any("experiment-refilled-other-classes.json: damaged" in line for line in told())
        monkeypatch.setattr(kept, "current", lambda folder, there: there != weights)
        note.write_text(text)
        assert kept.found_in(note.parent) == []  # a run was trained again since
    finally:
        note.write_text(text)
