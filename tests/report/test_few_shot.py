"""From the recipe to its table: who taught whom, what nobody saw, the same episodes for all."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import cache, runs, samplers
from pipeline.config import InputError
from pipeline.engine.missing import train
from pipeline.experiments import files, planning, reading
from pipeline.report import experiments, few_shot
from pipeline.runs.experiments import note_rows
from pipeline.samplers import Episode
from tests import recipes
from tests.tiny import invoke


def small() -> Any:
    """The recipe's one-shot half with three classes of six, episodes of two, a single epoch and one division of the classes."""
    tables = files.contents(files.located("fewshot"))
    tables["step"] = tables["step"][:2]
    for table in tables["step"]:
        table |= {"epochs": 1, "batch": 4, "sampler": "episode:2,1,1", "network": "student+6"}
        table["each"]["classes"] = table["each"]["classes"][:1]
    return reading.parsed(Path("fewshot.toml"), tables)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few-shot")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(samplers, "EPISODES", 2)
        levels, rows = planning.plan(small(), recipes.SETTINGS, "tiny", folds=(1, 2), seeds=(0,))
        train(levels, recipes.source(root), **recipes.HOW)
        note_rows(Path("runs"), "tiny", "fewshot", rows)
    return root


@pytest.mark.slow
def test_the_table_has_teacher_and_students(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    text = experiments.report(Path("runs"), Path("reports"), "tiny", "fewshot")
    lines = [line for line in text.splitlines() if "2-way 1-shot" in line]
    assert len(lines) == 5 and sum("(teacher)" in line for line in lines) == 1
    assert all(re.search(r" 2$", line.rstrip(" |")) for line in lines), lines  # the runs of two folds
    for word in ("distance", "angle", "hint", "attention"):
        assert any(word in line for line in lines)


@pytest.mark.slow
def test_measured_on_what_nobody_saw_with_one_set_of_episodes(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    records = runs.find(Path("runs"))
    data = cache.load(sorted(Path("cache").rglob("fold*.h5")))
    drawn: list[Any] = []
    accuracies = few_shot.figures.accuracies
    monkeypatch.setattr(
        few_shot.figures,
        "accuracies",
        lambda values, places, shot: drawn.append(places) or accuracies(values, places, shot),
    )
    few_shot.rows_of(records, count=40, queries=2)
    assert len(drawn) == len(records) == 10 and all(np.array_equal(one, drawn[0]) for one in drawn)
    unseen = few_shot.unseen(records[0], data.classes)
    for record in records:
        assert not set(record.classes) & set(unseen) and few_shot.unseen(record, data.classes) == unseen
    clips, labels, _ = few_shot.pool_of(data, unseen)
    assert {data.classes[label] for label in labels} == set(unseen) and len(clips) == 12
    shared = dataclasses.replace(data, sources=("one", *data.sources[1:]))
    other = next(clip for clip in range(len(data.labels)) if data.classes[data.labels[clip]] in unseen)
    mixed = dataclasses.replace(
        shared,
        sources=tuple(
            "seen" if clip in (other, 0, 1, 2, 3, 4, 5) else source for clip, source in enumerate(data.sources)
        ),
    )
    assert other not in few_shot.pool_of(mixed, unseen)[0]  # its recording holds a clip of a class that was trained on
    whole = invoke(
        "few-shot", "runs/tiny/experiment-fewshot", "--episodes", "30", "--query", "2", "--way", "3", "--shot", "1"
    )
    assert whole.exit_code == 0 and "3-way 1-shot" in whole.output and Path("reports/tiny/few-shot.csv").is_file()
    two = invoke(
        "few-shot", "runs/tiny/experiment-fewshot", "--episodes", "9", "--query", "1", "--classes", "50%:84%@1"
    )
    assert two.exit_code == 0 and "of the classes 50%:84%@1" in two.output, two.output
    many = invoke("few-shot", "runs/tiny/experiment-fewshot", "--shot", "9")
    assert (
        many.exit_code == 1 and many.stderr.count("\n") == 1 and "0 classes have recordings for 9 clips" in many.stderr
    )


@pytest.mark.slow
def test_of_fifty_classes_thirty_are_learned_and_ten_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe for ESC-50's layout: what is kept aside is not asked about, and what was trained on cannot be."""
    tables = files.contents(files.located("fewshot-esc50"))
    tables["step"] = tables["step"][:2]
    for table in tables["step"]:
        table |= {"epochs": 1, "each": {key: values[:1] for key, values in table["each"].items()}}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(samplers, "EPISODES", 2)
    experiment = reading.parsed(Path("fewshot-esc50.toml"), tables)
    levels, _ = planning.plan(experiment, recipes.SETTINGS, "tiny", folds=(1,), seeds=(0,))
    names = tuple(f"class {number:02d}" for number in range(50))
    train(levels, recipes.source(tmp_path, 400, names), **recipes.HOW)
    records = runs.find(Path("runs"))
    assert len(records) == 2 and all(len(record.classes) == 30 for record in records)
    asked = {part: few_shot.asked_about(records[0], names, part) for part in ("", "60%:80%@1", "80%:100%@1")}
    assert [len(part) for part in asked.values()] == [20, 10, 10] and not set(asked["60%:80%@1"]) & set(
        asked["80%:100%@1"]
    )
    pools: list[Any] = []
    pool = few_shot.pool_of
    monkeypatch.setattr(few_shot, "pool_of", lambda data, classes: pools.append(classes) or pool(data, classes))
    told, notes = few_shot.rows_of(records, count=5, only="80%:100%@1")
    assert [row.episode for row in told] == [Episode(5, 1, 15)] * 2 and notes == []
    assert pools == [asked["80%:100%@1"]] * 2
    done = invoke("few-shot", "runs", "--classes", "50%:70%@1")
    assert done.exit_code == 1 and done.stderr.count("\n") == 1 and "trained on class " in done.stderr, done.stderr


def test_runs_of_all_classes_have_nothing_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.recorded import write_run

    record = runs.read(write_run(tmp_path, 5))
    with pytest.raises(InputError, match="trained on 2 of 3 classes; expected two at least that they never saw"):
        few_shot.unseen(record, ("a", "b", "c"))
    assert few_shot.asked(record, 0, (), (15, 5), 7) == [(Episode(5, shot, 15), Episode(5, shot, 5)) for shot in (1, 5)]


def test_some_of_the_unseen_classes_alone(tmp_path: Path) -> None:
    """As the setting names them, by the run's own seed; one that somebody saw is refused."""
    from pipeline import class_subsets
    from tests.recorded import write_run

    names = tuple("abcdefgh")
    record = runs.read(write_run(tmp_path, 5))
    seen = set(record.classes)
    others = few_shot.unseen(record, names)
    assert few_shot.asked_about(record, names, "") == others == tuple(name for name in names if name not in seen)
    last, first = others[-1], others[0]
    assert few_shot.asked_about(record, names, f"{last},{first}") == (first, last)
    drawn = class_subsets.names("0:3@1", others, record.seed)
    assert set(few_shot.asked_about(record, others, "0:3@1")) == set(drawn) and len(drawn) == 3
    with pytest.raises(
        InputError, match=rf"--classes {record.classes[0]},{last}: .* trained on {record.classes[0]}; expected some of"
    ):
        few_shot.asked_about(record, names, f"{record.classes[0]},{last}")


def test_a_run_that_cannot_be_measured_costs_the_report_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has nothing unseen is named below the table; one whose features are gone, and a teacher that is, at the command's end."""
    from pipeline.runs import damage
    from tests.recorded import write_run

    record = runs.read(write_run(tmp_path, 5))
    few = {**record.recorded_settings["student"], "sampler": "episode:2,1,3", "batch": 8, "classes": "0,1"}
    settings = {**record.recorded_settings, "student": few}
    one = dataclasses.replace(record, recorded_settings=settings, teacher=tmp_path / "gone")
    assert few_shot.section([one]) == ()
    lines = damage.told()
    assert len(lines) == 2 and any("gone" in line for line in lines) and any("no features of" in line for line in lines)
    monkeypatch.setattr(few_shot, "all_classes", lambda record: record.classes)
    (section,) = few_shot.section([dataclasses.replace(one, teacher=None)])
    assert "Left out: " in section.tables[0].caption and "they never saw" in section.tables[0].caption
    generations = [dataclasses.replace(one, role=runs.GENERATION, generation=number) for number in (1, 2)]
    names = [few_shot.key_of(record)[0] for record in (one, *generations)]
    assert names[1:] == [f"{names[0]}, generation 1", f"{names[0]}, generation 2"]
    damage.told()


def test_a_trusted_teacher_is_said_below_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.recorded import write_run

    record = dataclasses.replace(runs.read(write_run(tmp_path, 5)), trusted=True)
    monkeypatch.setattr(few_shot, "all_classes", lambda record: ("a", "b", "c", "d"))
    monkeypatch.setattr(few_shot, "measured", lambda *about: {Episode(2, 1, 3): np.array([0.5, 1.0])})
    rows, notes = few_shot.rows_of([record], way=2)
    assert len(rows) == 1 and any("does not say which folds it was trained on" in note for note in notes)
    assert few_shot.rows_of([dataclasses.replace(record, trusted=False)], way=2)[1] == []
