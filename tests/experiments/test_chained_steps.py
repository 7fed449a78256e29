"""Steps that start, freeze, keep, learn from several: what they plan, where it lies, and what is refused before any training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import config
from pipeline.config import InputError, Settings
from pipeline.experiments import planning, reading
from pipeline.runs.planned import PlannedRun, from_note

FIRST = '[[step]]\nname = "first"\nmix = "ce:2"\n'
SECOND = '[[step]]\nname = "second"\nmix = "ce,soft"\nteacher = "teacher"\n'
CHAIN = FIRST + SECOND + 'start = "first"\n'


def runs_of(folder: Path, text: str, *overrides: str, seeds: tuple[int, ...] = (0, 3)) -> dict[str, list[PlannedRun]]:
    """Step → its runs of folds 1 and 2; each behind all that it goes back to."""
    (path := folder / "own.toml").write_text(text)
    levels, _ = planning.plan(
        reading.read(str(path)), config.read("default", overrides), "tiny", folds=(1, 2), seeds=seeds
    )
    runs: dict[str, list[PlannedRun]] = {}
    for level in levels:
        for run in level.runs:
            assert set(run.parents) <= {other.folder for each in runs.values() for other in each}
            runs.setdefault(run.step, []).append(run)
    return runs


def test_a_run_starts_from_the_run_of_its_own_fold_and_seed(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, CHAIN)
    for first, second in zip(runs["first"], runs["second"], strict=True):
        assert (second.start, second.fold, second.seed) == (first.folder, first.fold, first.seed)
        assert (
            second.is_step and second.drawn != first.drawn
        )  # another order of batches than the one that it comes from
        (teacher,) = second.teachers
        assert teacher.name == f"fold{second.fold}-seed0"
        note = from_note(json.loads(json.dumps(second.noted())), runs["second"])
        assert note is not None and (note.start, note.folder) == (second.start, second.folder)


def test_what_its_numbers_depend_on_is_in_its_path(tmp_path: Path) -> None:
    def second(text: str, *overrides: str) -> Path:
        return runs_of(tmp_path, text, *overrides)["second"][0].folder

    base = '[[step]]\nname = "based"\nmix = "ce,hint@layer=hidden"\nteacher = "teacher"\n'
    keeping = '[[step]]\nname = "many"\nnetwork = "teacher"\nmix = "ce"\nkeep = [2, 4]\n'
    of_many = keeping + SECOND.replace('"teacher"', '"many"')
    texts = [
        CHAIN,
        FIRST + SECOND,
        CHAIN.replace("ce:2", "ce:3"),
        CHAIN + 'freeze = ["conv1"]\n',
        CHAIN + 'freeze = ["conv1", "linear"]\n',
        CHAIN + "keep = [5]\n",
        FIRST + SECOND.replace('"teacher"', '["teacher", "first"]'),
        base + SECOND.replace("ce,soft", "residual,soft:0") + 'base = "based"\n',
        of_many,
        of_many + "teacher_epoch = 2\n",
        of_many + "teacher_epoch = 4\n",
        of_many + 'teacher_epoch = "best"\n',
    ]
    folders = [second(text) for text in texts]
    assert len(set(folders)) == len(texts)
    assert second(CHAIN + 'freeze = ["linear", "conv1"]\n') == folders[4]  # in any order, or as text
    assert second(CHAIN + 'freeze = "conv1,linear"\n') == folders[4]
    assert second(CHAIN, "student.lr=0.5") != folders[0]


def test_several_teachers_are_an_ensemble(tmp_path: Path) -> None:
    text = '[[step]]\nname = "pair"\nnetwork = "teacher"\nmix = "ce"\nseeds = [4, 5]\n' + FIRST
    text += SECOND.replace('"teacher"', '["pair", "first", "teacher"]')
    (run,) = (run for run in runs_of(tmp_path, text)["second"] if (run.fold, run.seed) == (2, 3))
    assert [teacher.name for teacher in run.teachers] == ["fold2-seed4", "fold2-seed5", "fold2-seed3", "fold2-seed0"]


def test_rounds_may_start_from_each_other(tmp_path: Path) -> None:
    text = '[[step]]\nname = "cycle 1"\nmix = "ce"\n[[step]]\nname = "cycle"\nrounds = 3\nmix = "ce,soft"\nteacher = "previous"\n'
    runs = runs_of(tmp_path, text + 'start = "previous"\n', seeds=(3,))
    (before,) = [run for run in runs["cycle 1"] if run.fold == 1]
    for number in (1, 2, 3):
        (run,) = [run for run in runs[f"cycle-{number}"] if run.fold == 1]
        assert run.start == before.folder and run.teachers == (before.folder,) and run.generation == number
        before = run
    alone = text.replace('teacher = "previous"', 'start = "previous"').replace("ce,soft", "ce")
    assert [run.teachers for run in runs_of(tmp_path, alone)["cycle-2"]] == [()] * 4
    born = runs_of(tmp_path, text)
    assert all(run.is_generation for run in born["cycle"])  # without a start it is born again


RESIDUAL = SECOND.replace("ce,soft", "residual,soft:0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SECOND + 'start = "nowhere"\n',
            "step second: no step 'nowhere' to start from; expected one of teacher, second",
        ),
        (SECOND + 'start = "secon"\n', "did you mean 'second'"),
        (SECOND + 'start = ["teacher"]\n', "start = ['teacher']: expected the name of a step"),
        (SECOND + 'start = "second"\n', "second ← second: steps that teach each other in a circle"),
        (FIRST + 'start = "second"\n' + SECOND + 'start = "first"\n', "in a circle"),
        (SECOND + 'start = "teacher"\n', "start = 'teacher': teacher is a resnet18, this step a cnn2"),
        (SECOND + 'start = "previous"\n', "expected rounds and teacher = 'previous' together, or start = 'previous'"),
        (
            FIRST + SECOND + 'start = "previous"\nrounds = 2\nnetwork = "resnet10"\n',
            "first is a cnn2, this step a resnet10",
        ),
        (SECOND + "freeze = [1]\n", "freeze = '1': expected different names of modules"),
        (SECOND + "freeze = []\n", "freeze = []: expected a list"),
        (SECOND + 'freeze = [""]\n', "freeze = ['']: expected a list"),
        (SECOND + 'keep = [""]\n', "keep = ['']: expected a list"),
        (SECOND + 'freeze = ["a b"]\n', "expected different names of modules"),
        (SECOND + "keep = [0]\n", "keep = '0': expected different epochs from 1"),
        (SECOND + "keep = [1.5]\n", "keep = [1.5]: expected a list, for example [5, 10]"),
        (SECOND + "keep = [30]\n", "keep = '30': epoch 30 is beyond the last of epochs = 20"),
        (SECOND + "epochs = 3\nkeep = [4]\n", "epoch 4 is beyond the last of epochs = 3"),
        (
            SECOND + "teacher_epoch = 5\n",
            "teacher_epoch = 5: teacher keeps no epoch but the last; expected one of last, best",
        ),
        (
            FIRST + "keep = [2, 3]\n" + SECOND.replace('"teacher"', '"first"') + "teacher_epoch = 4\n",
            "first keeps epochs 2, 3;",
        ),
        (SECOND + "teacher_epoch = 0\n", "teacher_epoch = '0': expected last, best, or the number of an epoch"),
        (SECOND + 'teacher_epoch = "middle"\n', "teacher_epoch = 'middle': expected last, best"),
        (SECOND.replace('"teacher"', '["teacher", "nobody"]'), "no step 'nobody' to teach it"),
        (SECOND.replace('"teacher"', '["teacher", "teacher"]'), "a step is named twice"),
        (SECOND.replace('"teacher"', "[]"), "teacher = []: expected the name of a step, a list of several, or none"),
        (SECOND.replace('"teacher"', "[1]"), "teacher = [1]: expected the name of a step"),
        (RESIDUAL, "learns what a student before it missed; expected base = its step"),
        (
            SECOND + 'base = "teacher"\n',
            "base = 'teacher', and mix ce:1,soft:1 reads none; expected a mix with residual",
        ),
        (RESIDUAL + 'base = "nobody"\n', "no step 'nobody' to be its base"),
        (
            FIRST + RESIDUAL + 'base = "first"\n',
            "does not learn the teacher's embedding; expected a term such as hint:1@layer=hidden",
        ),
        (
            FIRST.replace("ce:2", 'hint@layer=hidden"\nteacher = ["teacher", "other"]\n#')
            + '[[step]]\nname = "other"\nmix = "ce:3"\n'
            + RESIDUAL
            + 'base = "first"\n',
            "expected one teacher, the same for both",
        ),
    ],
)
def test_what_a_chain_cannot_be_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        runs_of(tmp_path, text)
    line = str(caught.value)
    assert message in line and "\n" not in line and "expected" in line


def test_an_included_chain_keeps_its_steps(tmp_path: Path) -> None:
    (tmp_path / "inner.toml").write_text(CHAIN + 'freeze = ["conv1"]\n')
    (tmp_path / "outer.toml").write_text('include = ["inner.toml"]\n')
    steps = reading.read(str(tmp_path / "outer.toml")).steps
    assert steps["inner/second"].start == "inner/first" and steps["inner/second"].teachers == ("teacher",)
    both = [reading.read(str(tmp_path / name)) for name in ("inner.toml", "outer.toml")]
    levels = [planning.plan(each, Settings(), "tiny", folds=(1,), seeds=(0,))[0] for each in both]
    inner, outer = ({run.folder for level in each for run in level.runs} for each in levels)
    assert inner == outer
