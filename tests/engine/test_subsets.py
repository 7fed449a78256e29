"""Runs of some of the classes, from a recipe's file to the report: who may teach them, what they see, and what is kept of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import cache, class_subsets, runs
from pipeline.config import InputError, TrainSettings
from pipeline.config import read as read_settings
from pipeline.engine import batches, subsets, tasks
from pipeline.engine.missing import Level, train
from pipeline.engine.source import Source
from pipeline.experiments import planning, reading
from pipeline.figures import embeddings
from pipeline.report import experiments as report
from pipeline.runs.experiments import note_rows
from tests import recipes

NAMES = tuple("abcdef")


def planned(tables: dict[str, Any], seeds: tuple[int, ...] = (0,)) -> tuple[list[Level], dict[str, list[Path]]]:
    experiment = reading.parsed(Path("subsets.toml"), tables)
    return planning.plan(experiment, recipes.SETTINGS, "tiny", folds=(1,), seeds=seeds)


def steps(teacher: Any, student: Any, mix: str, **more: Any) -> dict[str, Any]:
    small: dict[str, Any] = {"epochs": 1, "batch": 4}
    one = {"name": "other", "network": "student", "mix": "ce", "classes": teacher, **small}
    return {"step": [one, {"name": "student", "teacher": "other", "mix": mix, "classes": student, **small, **more}]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Source, list[Level], dict[str, list[Path]]]:
    """Students of c, a, e, taught by the space of a teacher of b, d, f; and of two seeds' own drawn classes."""
    root = tmp_path_factory.mktemp("subsets")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        source = recipes.source(root)
        tables = steps([1, 3, 5], ["c", "a", "e"], "distance:5,ce:1")
        tables["step"] += steps("0:3@1", "3:6@1", "distance:5,ce:1")["step"]
        for step in tables["step"][2:]:
            step["name"] = f"drawn {step['name']}"
        tables["step"][3]["teacher"] = "drawn other"
        levels, rows = planned(tables, (0, 1))
        train(levels, source, **recipes.HOW)
    return root, source, levels, rows


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Source]]:
    root = tmp_path_factory.mktemp("untrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root, recipes.source(root)


@pytest.mark.slow
def test_what_is_kept_is_of_the_run_s_own_classes(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root, source, levels, _ = trained
    monkeypatch.chdir(root)
    data = cache.load(source.files)
    for run in (run for level in levels for run in level.runs):
        record, told = runs.read(run.folder), runs.read_predictions(run.folder)
        own = subsets.names(run, NAMES)
        assert record.classes == own and len(own) == 3 and told.logits.shape == (6, 3)
        clips = [clip for clip in range(len(data.labels)) if data.folds[clip] == 1 and NAMES[data.labels[clip]] in own]
        assert told.clips.tolist() == [data.clips[clip] for clip in clips]
        assert [own[label] for label in told.labels] == [NAMES[data.labels[clip]] for clip in clips]
        (task,) = tasks.tasks([run], data)
        assert {NAMES[label] for label in data.labels[task.train // 2]} == set(own)
        assert set(data.folds[task.train // 2]) == {2}
        assert not runs.outdated(record, classes=NAMES)
        assert "other classes" in runs.outdated(record, classes=NAMES[:-1] if "f" in own else NAMES[1:])
        values, labels, names = embeddings.held_out(run.folder)
        assert len(values) == 6 and labels.tolist() == told.labels.tolist() and list(names) == told.clips.tolist()
        assert record.result.agreement is None  # no teacher names the same classes


@pytest.mark.slow
def test_drawn_classes_are_each_seed_s_own_and_never_its_teacher_s(trained: Any) -> None:
    levels = trained[2]
    drawn = [run for level in levels for run in level.runs if "@" in run.network.classes and run.teachers]
    assert len(drawn) == 2
    for run in drawn:
        taught_by = runs.read(trained[0] / run.teachers[0])
        assert taught_by.seed == run.seed and not set(taught_by.classes) & set(subsets.names(run, NAMES))
    assert len({subsets.names(run, NAMES) for run in drawn}) == 2
    assert len({run.alike for run in drawn}) == 1 and len({run.identity for run in drawn}) == 2


@pytest.mark.slow
def test_the_report_compares_only_runs_of_the_same_classes(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root, _, _, rows = trained
    monkeypatch.chdir(root)
    note_rows(Path("runs"), "tiny", "subsets", rows)
    text = report.report(Path("runs"), Path("reports"), "tiny", "subsets")
    assert "student" in text and "drawn student" in text
    records = runs.find(Path("runs"))
    of_student = [record for record in records if record.teachers]
    assert len(of_student) == 4 and not any(report.labels_of(record, records) for record in of_student)


@pytest.mark.parametrize(
    ("teacher", "student", "mix", "message"),
    [
        ([1, 3, 5], [0, 2, 4], "soft", "soft reads the logits of"),
        ([1, 3, 5], [1, 3, 5, 0], "distance:1,hinton:1", "hinton reads the logits of"),
        ([1, 3, 5], [5, 3, 1], "soft", "in the same order"),
        ("", [0, 2], "local:1,levels", "levels reads the logits of"),
        ("", [0, 2], "soft", "which are of other classes (a, b, c, d, e and 1 more; here a, c)"),
        ([0, 1], [0, 6], "distance,soft:0", "classes = '0,6': no class 6; there are 6, from 0 to 5 (a, b, c, d, e, f)"),
        ([0, 1], ["a", "z"], "distance,soft:0", "classes = 'a,z': no class z"),
        ([0, 1], [0], "distance,soft:0", "classes = '0': 1 of 6 classes; expected two at least"),
        ([0, 1], "0:7@1", "distance,soft:0", "classes = '0:7@1': there are 6 classes; expected a part of these"),
        ([0, 1], ["a", "0"], "distance,soft:0", "a class is there twice, by its number and its name"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    untrained: tuple[Path, Source], teacher: Any, student: Any, mix: str, message: str
) -> None:
    root, source = untrained
    with pytest.raises(InputError) as error:
        train(planned(steps(teacher, student, mix))[0], source, **recipes.HOW)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (root / "runs").exists()


def test_a_start_of_other_classes_is_refused(untrained: tuple[Path, Source], monkeypatch: pytest.MonkeyPatch) -> None:
    source = untrained[1]
    tables = steps([0, 1, 2], [3, 4, 5], "ce", start="other")
    del tables["step"][1]["teacher"]
    with pytest.raises(InputError, match=r"has other classes \(a, b, c\) than the run that begins with it"):
        train(planned(tables)[0], source, **recipes.HOW)
    read = cache.read_header  # as if no clip were of e or f
    monkeypatch.setattr(subsets.cache, "read_header", lambda path: dataclasses.replace(read(path), labels=(0, 1) * 6))
    with pytest.raises(InputError, match=r"classes = '4,5' \(e, f\): none has a clip"):
        train(planned(steps([4, 5], [0, 1], "distance,soft:0"))[0], source, **recipes.HOW)


def test_a_class_of_too_few_recordings_for_episodes_is_said(
    untrained: tuple[Path, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fold 2 has two clips of each class; those of f become one recording, which cannot stand on both sides."""
    source = untrained[1]
    tables = steps([1, 3, 5], [5, 3, 1, 0], "proto:1,soft:0", sampler="episode:3,1,1", batch=6)
    del tables["step"][1]["teacher"]
    runs_there = [run for level in planned(tables)[0] for run in level.runs]
    assert batches.check(runs_there, source) == []
    there = cache.described(source.files)
    of_one = tuple("one" if NAMES[label] == "f" else name for name, label in zip(there.sources, there.labels))
    monkeypatch.setattr(batches.cache, "described", lambda files: dataclasses.replace(there, sources=of_one))
    assert batches.check(runs_there, source) == [
        "fold 1: in no episode it trains on, for too few recordings for 1 + 1 clips: f"
    ]


def unlike(*mixes: str, network: str = "student") -> dict[str, Any]:
    """Teachers of two and of three classes; students of three others of each alone and of both together, by ``mixes``."""
    small: dict[str, Any] = {"epochs": 1, "batch": 4}
    teachers = [
        {
            "name": name,
            "network": network,
            "mix": "triplet,soft:0" if "+" in network else "ce",
            "classes": which,
            **small,
        }
        for name, which in (("two", [1, 3]), ("three", [1, 3, 5]))
    ]
    learning = {"of two": "two", "of three": "three", "of both": ["two", "three"]}
    students = [
        {"name": name, "teacher": teacher, "mix": mix, "classes": [0, 2, 4], **small}
        for (name, teacher), mix in zip(learning.items(), mixes)
    ]
    return {"step": [*teachers, *students]}


@pytest.mark.slow
def test_teachers_of_unlike_numbers_of_classes_teach_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their embeddings, side by side; of outputs over unlike classes there is no mean."""
    monkeypatch.chdir(tmp_path)
    levels, _ = planned(unlike("ce", "ce", "ce:1,distance:5"))
    train(
        [level for level in levels if level.runs[0].step not in ("of two", "of three")],
        recipes.source(tmp_path),
        **recipes.HOW,
    )
    (record,) = (record for record in runs.find(tmp_path / "runs") if record.teachers)
    assert len(record.teachers) == 2 and not record.result.stopped and record.result.parameters


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            unlike("ce", "ce", "ce:1,local:1"),
            "together say of their classes, and these differ (b, d; b, d, f); expected teachers of the same classes",
        ),
        (
            unlike("ce:1,local:1", network="student+6"),
            "which has an embedding in place of the classes; expected a teacher that names classes",
        ),
    ],
)
def test_what_no_teacher_says_of_its_own_classes_is_refused(
    untrained: tuple[Path, Source], tables: dict[str, Any], message: str
) -> None:
    root, source = untrained
    with pytest.raises(InputError) as error:
        train(planned(tables)[0], source, **recipes.HOW)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (root / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1,1", "1 twice; expected different ones"),
        ("0,,1", "expected numbers or names of classes"),
        ("5:5@1", "from a lower to a higher end"),
        ("5:3@1", "from a lower to a higher end"),
        ("0:50%@1", "both counts or both shares"),
        ("50%:101%@1", "at most 100%"),
    ],
)
def test_texts_that_name_no_classes_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainSettings(classes=text)


def test_parts_of_a_drawn_order_meet_and_are_of_the_names() -> None:
    fifty = tuple(f"class {place}" for place in range(50))
    for seed in (0, 1):
        whole = class_subsets.order(fifty, seed, 1)
        assert sorted(whole) == list(range(50))
        parts = [class_subsets.chosen(text, fifty, seed) for text in ("0%:60%@1", "60%:80%@1", "80%:100%@1")]
        assert parts[0] + parts[1] + parts[2] == whole and list(map(len, parts)) == [30, 10, 10]  # type: ignore[operator]
        assert class_subsets.chosen("0:30@1", fifty, seed) == parts[0] != class_subsets.chosen("0:30@2", fifty, seed)
    orders = {class_subsets.order(fifty, seed, number) for seed in (0, 1) for number in (1, 2, 3)}
    assert len(orders) == 6
    moved = fifty[::-1]  # a class keeps its place in the order wherever it stands among the others
    assert [moved[place] for place in class_subsets.order(moved, 0, 1)] == [
        fifty[place] for place in class_subsets.order(fifty, 0, 1)
    ]


def test_all_classes_are_no_setting() -> None:
    settings = read_settings("default")
    assert read_settings("default", ["classes="]).student == settings.student
    both = read_settings("default", ["classes=[0, 3]"])
    assert both.teacher.classes == both.student.classes == "0,3"


def test_a_step_means_the_teacher_of_its_own_classes() -> None:
    parts = ["0:3@1", "0:3@2"]
    tables: dict[str, Any] = {
        "step": [
            {"name": "other", "mix": "ce", "each": {"classes": parts}},
            {"name": "one", "mix": "soft", "teacher": "other", "each": {"mix": ["soft", "hinton"], "classes": parts}},
        ]
    }
    del tables["step"][1]["mix"]
    experiment = reading.parsed(Path("tied.toml"), tables)
    for step in experiment.last:
        assert dict(step.settings)["classes"] == dict(experiment.steps[step.teachers[0]].settings)["classes"]
    tables["step"][1] = {"name": "one", "mix": "soft", "teacher": "other"}
    with pytest.raises(InputError, match="it is 2 steps, by each"):
        reading.parsed(Path("tied.toml"), tables)


def test_without_the_setting_every_clip_of_the_fold_is_tested(untrained: tuple[Path, Source]) -> None:
    data = cache.load(untrained[1].files)
    run = planned(steps("", "", "soft"))[0][0].runs[0]
    test, labels = subsets.held_out(run, data)
    assert np.array_equal(test, np.flatnonzero(data.folds == 1)) and np.array_equal(labels, data.labels[test])
