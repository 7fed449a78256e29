"""The parts of ``bench.students``: rows that share runs and rows that must not, shares of the clips, the guess, and what is left of a search."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import student_nested, student_parts, student_rows, students
from bench.commands import alone
from bench.student_rows import PARTS, Part, Row
from bench.student_world import World
from pipeline.config import InputError
from pipeline.corpus import open_corpus
from pipeline.feature_settings import FEATURES
from pipeline.losses import LossMix
from pipeline.losses.unlabelled import learns_unlabelled
from pipeline.report import paper
from pipeline.search import halving, record
from tests.tiny import ROOT, write_corpus

PARTS_BY_NAME = {part.name: part for part in PARTS}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    corpus = open_corpus("urbansound8k", write_corpus(tmp_path_factory.mktemp("students") / "us"))
    return World(corpus, None, (1,), (0, 1, 2, 3, 4))


def folders(world: World, row: Row) -> frozenset[Path]:
    return frozenset(run.folder for run in world.planned(row))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_no_two_rows_of_a_part_are_the_same_runs(part: Part, world: World) -> None:
    """A setting that changes nothing, or a row that is there twice, would be a comparison with itself."""
    each = [folders(world, row) for row in part.rows]
    assert len(set(each)) == len(part.rows)
    assert not any(one & other for one, other in combinations(each, 2))


def test_rows_of_the_same_settings_are_the_same_runs(world: World) -> None:
    strong, labels = (folders(world, row) for row in (student_rows.STRONG, student_rows.STRONG_LABELS))
    assert len(strong) == 5 and len(folders(world, student_rows.SMALL)) == 3
    whole, without_teachers, *_ = PARTS_BY_NAME["without-strong"].rows
    assert folders(world, whole) < strong and folders(world, without_teachers) < labels
    assert folders(world, PARTS_BY_NAME["on-top"].rows[0]) == folders(world, whole)
    assert folders(world, student_rows.of_share(student_rows.STRONG_LABELS, 1.0)) < labels


def test_the_rows_of_table_3_are_the_papers_by_the_teacher_of_strong(world: World) -> None:
    teacher, *students_ = PARTS_BY_NAME["table3"].rows
    assert [str(LossMix.parse(row.mix)) for row in students_] == [one.mix for one in paper.TABLE3[1:]]
    (first,) = {run.teachers[0] for run in world.planned(students_[0]) if run.fold == 1}
    assert first in folders(world, teacher)


@pytest.mark.parametrize("row", [student_rows.STRONG, student_rows.of_share(student_rows.STRONG_ONE, 0.25)])
def test_the_teachers_of_strong_hear_what_their_row_says(row: Row, world: World) -> None:
    """And the commands train these very teachers, with their features before."""
    *_, taught_by = (level for level in world.levels(row)[:-1])
    assert {run.settings.features.shape for run in taught_by} == {(1, 64, 173)}
    assert {run.settings.features.views for run in (*taught_by, *world.planned(row))} == {6}
    of_students, of_teachers, teacher, distill = world.commands(row)
    assert of_students[0] == of_teachers[0] == "features" and teacher[0] == "teacher"
    heard = [word for setting in student_rows.MEL for word in ("--set", setting)]
    assert of_teachers == [*of_students, *heard] and teacher[1 : len(of_teachers)] == of_teachers[1:]
    assert [word.replace("--set", "--teacher-set") for word in heard] == distill[-4:]
    assert of_students[1:] == distill[1 : len(of_students)]


def test_make_strong_trains_the_row_of_strong() -> None:
    done = subprocess.run(["make", "-n", "strong"], cwd=ROOT, capture_output=True, text=True, check=True)
    teacher, distill = (
        next(line for line in done.stdout.splitlines() if f" {word} " in line) for word in ("teacher", "distill")
    )
    bare = [setting.replace('"', "") for setting in student_rows.MEL]
    assert all(f"--set {setting}" in teacher and f"--teacher-set {setting}" in distill for setting in bare)
    assert student_rows.TWO == (0, 1) and "--seeds 0-1" in teacher and "--teacher-seeds 0-1" in distill
    assert student_rows.TAUGHT in distill


def test_no_hidden_clip_is_in_a_batch_of_a_share() -> None:
    """Else a quarter of the clips would be taught by all of them."""
    shared = [row for row in PARTS_BY_NAME["shares"].rows if row.share < 1]
    assert {row.sets[-1] for row in shared} == {"unlabelled=0.75", "unlabelled=0.5"}
    for row in shared:
        assert not learns_unlabelled(LossMix.parse(row.mix))
    assert learns_unlabelled(LossMix.parse(student_rows.TAUGHT))


def test_each_seed_of_a_share_has_a_teacher_that_saw_no_more(world: World) -> None:
    row = student_rows.of_share(student_rows.SMALL, 0.25)
    for run in world.planned(row):
        (teacher,) = (one for one in world.untaught(row) if one.folder in run.teachers)
        assert (teacher.seed, teacher.network.unlabelled, run.network.unlabelled) == (run.seed, 0.75, 0.75)


def test_every_choice_of_the_features_is_there_once() -> None:
    chosen = [FEATURES if use == "all" else tuple(use.split(",")) for use in student_rows.subsets()]
    assert len(chosen) == 2**5 - 1 and {frozenset(names) for names in chosen} == {
        frozenset(name for place, name in enumerate(FEATURES) if bits >> place & 1) for bits in range(1, 32)
    }


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_without_runs_has_every_row(
    part: Part, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    text = student_parts.text(part, world, costs=True)
    for row in part.rows:
        name = row.name.replace(",", ", ") if part.name == "features" else row.name
        lines = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
        assert lines and all("–" in line for line in lines)
    assert "Not all trained yet" in text


def test_the_guess_is_the_line_over_doublings() -> None:
    """10 points a doubling from 100 clips with 20 %: of 800 clips 50, and one fold 4 points below the other."""
    values = [{(1, 0): 20.0, (2, 0): 24.0}, {(1, 0): 30.0, (2, 0): 34.0}, {(1, 0): 40.0, (2, 0): 44.0}]
    assert student_parts.guessed(values, [100, 200, 400], 800) == f"52.00 ± {8**0.5:.2f}"
    assert student_parts.guessed([*values[:2], {}], [100, 200, 400], 800) == "–"


def of_accuracies(each: Sequence[float]) -> list[Any]:
    """Runs of seeds 0, 1, … on fold 1."""
    return [
        SimpleNamespace(fold=1, seed=seed, result=SimpleNamespace(counts=True, accuracy=value / 100))
        for seed, value in enumerate(each)
    ]


def test_the_order_is_compared_with_the_published_one() -> None:
    """Seed 0 has it, seed 1 the opposite, and the means lie as seed 0's, whose differences are larger."""
    rows = {"a": of_accuracies([50, 53]), "b": of_accuracies([60, 52]), "c": of_accuracies([70, 51])}
    text = student_parts.in_order(rows, [1.0, 2.0, 3.0])
    assert "order: +1.00 (" in text and "seed by seed +1.00, −1.00." in text
    assert "order: –" in student_parts.in_order({**rows, "d": []}, [1.0, 2.0, 3.0, 4.0])
    alike = student_parts.in_order({name: of_accuracies([50, 50]) for name in "abc"}, [1.0, 2.0, 3.0])
    assert "order: – (p – " in alike and "seed by seed –, –." in alike and "nan" not in alike


def test_what_is_left_of_a_search(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of 40 trials by the space, less the epochs that are on record."""
    monkeypatch.chdir(tmp_path)
    search = student_nested.search_of("strong", world)
    rungs = halving.shares(search.epochs, search.space.halving, search.space.least_epochs)
    reached = halving.trained(search.space.trials, search.space.halving, rungs, search.epochs)
    counts, ends = zip(*reached)
    total = sum(count * (end - before) for count, end, before in zip(counts, ends, (0, *ends)))
    assert student_nested.epochs_left(search, 1) == total > 40 * ends[0]
    place = search.place(1)
    place.mkdir(parents=True)
    measured = [record.Measured(trial, 0, ends[0], False, {}, "ce:1", 0.5) for trial in range(3)]
    record.keep(place, [*measured, record.Measured(2, 1, ends[1], False, {}, "ce:1", 0.5)])
    assert student_nested.epochs_left(search, 1) == total - 2 * ends[0] - ends[1]


def test_a_search_takes_the_settings_that_it_does_not_vary(world: World) -> None:
    changed = World(world.corpus, None, world.folds, world.seeds, ("student.batch=4", "student.epochs=6"), trials=3)
    search = student_nested.search_of("strong", changed)
    assert (search.settings.student.epochs, search.settings.student.batch, search.space.trials) == (6, 16, 3)
    spaced = World(world.corpus, None, world.folds, world.seeds, ("student.batch = 4", "student.epochs=6"), trials=3)
    assert student_nested.sets(search.space, spaced) == ["student.epochs=6"]  # as the command line reads it
    words = student_nested.commands("strong", search, changed)[-1]
    assert words[-2:] == ["--seeds", "0,1,2,3,4"] and "student.epochs=6" in words and "student.batch=4" not in words


def test_parts_and_students_may_be_named() -> None:
    parts, of_presets = students.asked_for("table3,strong")
    assert [part.name for part in parts] == ["presets", "table3"] and of_presets == ("strong",)
    assert students.asked_for("") == (PARTS, ())
    with pytest.raises(InputError, match="expected some of presets"):
        students.asked_for("table4")


def test_what_a_killed_call_left_training_is_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "runs" / ".lock"
    with alone(lock) as descriptor:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    other = os.open(lock, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    child.communicate(b"\n", timeout=30)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
