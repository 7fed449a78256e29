"""Experiments: files to steps, steps to planned runs, what is refused, and one of a user's own through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import cli
from pipeline import config, experiments, losses, runs
from pipeline.config import InputError, Settings
from pipeline.engine.missing import Level
from pipeline.experiments import files, planning, reading
from pipeline.losses import LossMix, library
from pipeline.report.paper import TABLE3, TABLE4
from pipeline.runs.planned import PlannedRun, from_note
from tests.archives import write_stand_in
from tests.tiny import QUICK, invoke, write_corpus

CORPUS = ("--dataset", "urbansound8k", "--data", "tiny")
HOW = ("--device", "cpu", "--layout", "loop", "--pack", "8", "--jobs", "1")

OWN = """
title = "a student that teaches itself"

[[step]]
name = "alone"
mix = "ce"
teacher = "teacher"

[[step]]
name = "self"
mix = "ce:0.5,hinton:0.5@T=6"
teacher = "alone"
epochs = 2

[[step]]
name = "pair"
teacher = "teacher"
each.mix = ["soft", "angle"]
each.batch = [4, 6]
"""


def written(folder: Path, text: str, name: str = "own") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def planned(path: str, settings: Settings, folds=(1, 2), seeds=(0, 1), **more) -> list[Level]:
    return planning.plan(reading.read(path), settings, "tiny", folds=folds, seeds=seeds, **more)[0]


def test_the_papers_tables_are_the_files_steps() -> None:
    settings = config.read("paper")
    table3 = reading.read("table3")
    assert [str(step.mix) for step in table3.last] == [row.mix for row in TABLE3 if row.mix]
    assert [str(step.mix) for step in reading.read("table4").last] == [row.mix for row in TABLE4 if row.mix]
    levels = planned("table3", settings, seeds=(0, 1, 2))
    assert [(level.name, len(level.runs)) for level in levels] == [("teacher", 2), ("student", 8 * 2 * 3)]
    assert {teacher.name for run in levels[1].runs for teacher in run.teachers} == {
        "fold1-seed0",
        "fold2-seed0",
    }


def test_runs_of_the_stages_lie_where_they_always_lay() -> None:
    """By whatever file: the paths are ``runs.cell_path``'s."""
    settings = config.read("default", ["student.teacher_seed=3"])
    teachers, students = planned("student", settings)
    assert [run.folder for run in teachers.runs] == [
        runs.cell_path(Path("runs"), "tiny", "teacher", settings, None, fold, 3) for fold in (1, 2)
    ]
    slug = LossMix.parse("angle,area").slug
    assert [run.folder for run in students.runs] == [
        runs.cell_path(Path("runs"), "tiny", "student", settings, slug, fold, seed)
        for fold in (1, 2)
        for seed in (0, 1)
    ]
    first, *born = planned("born-again", settings, folds=(1,), seeds=(5,))
    network = settings.teacher
    assert [run.folder for run in first.runs] == [runs.cell_path(Path("runs"), "tiny", "teacher", settings, None, 1, 5)]
    group = f"ban-resnet18-default-{config.digest(settings.features, network, network)}"
    assert [run.folder for level in born for run in level.runs] == [
        Path("runs/tiny") / group / "ce1+soft1" / f"gen{g}" / "fold1-seed5" for g in (1, 2, 3)
    ]
    assert [level.name for level in (first, *born)] == [
        "generation 0",
        *(f"generation {g} of 3" for g in (1, 2, 3)),
    ]
    assert [run.drawn for level in born for run in level.runs] == [5 + g * 1_000_003 for g in (1, 2, 3)]
    assert [run.teachers for run in born[1].runs] == [(born[0].runs[0].folder,)]


def test_a_plan_has_a_step_for_every_value_and_teachers_before_their_students(tmp_path: Path) -> None:
    path = written(tmp_path, OWN)
    settings = Settings()
    steps = reading.read(str(path)).steps
    assert list(steps) == [
        "teacher",
        "alone",
        "self",
        *(f"pair-{mix}-batch{size}" for mix in ("soft1", "angle50+soft1") for size in (4, 6)),
    ]
    levels, rows = planning.plan(reading.read(str(path)), settings, "tiny", folds=(1,), seeds=(0, 7))
    depth = {run.folder: number for number, level in enumerate(levels) for run in level.runs}
    every = [run for level in levels for run in level.runs]
    assert all(depth[teacher] < depth[run.folder] for run in every for teacher in run.teachers)
    by_step = {(run.step, run.seed): run for run in every}
    assert by_step["self", 7].teachers == (by_step["alone", 7].folder,) and by_step["self", 7].network.epochs == 2
    # Of one network: another draw than the teacher's. Of another network than its teacher: that of any student.
    assert (
        by_step["self", 7].drawn == 7 + 1_000_003
        and by_step["alone", 7].drawn == by_step["pair-soft1-batch4", 7].drawn == 7
    )
    assert by_step["alone", 7].teachers == () and by_step["alone", 7].is_student
    assert {run.network.batch for run in every if run.step.startswith("pair")} == {4, 6}
    assert by_step["self", 7].home == Path("runs/tiny/experiment-own")
    assert list(rows) == [f"own/{name}" for name in list(steps)[2:]]
    for run in every:  # notes of stopped packs find their way back
        run_again = from_note(json.loads(json.dumps(run.noted())), every)
        assert run_again and (run_again.folder, run_again.teachers, run_again.mix) == (
            run.folder,
            run.teachers,
            run.mix,
        )


def test_what_a_steps_numbers_depend_on_is_in_its_path(tmp_path: Path) -> None:
    def folders(text: str, *overrides: str) -> set[Path]:
        path = written(tmp_path, text)
        levels = planned(str(path), config.read("default", overrides), folds=(1,), seeds=(0,))
        return {run.folder for level in levels for run in level.runs if run.is_step}

    texts = [
        OWN,
        OWN.replace("epochs = 2", "epochs = 3"),
        OWN.replace("T=6", "T=5"),
        OWN.replace("seeds", ""),
    ]
    each = [folders(text) for text in texts]
    assert len(each[0]) == 1 and len(set.union(*each)) == 3  # the last text is the first
    assert not folders(OWN, "student.lr=0.1") & each[0] and not folders(OWN, "features.noise_std=0.5") & each[0]
    ensemble = OWN.replace('name = "alone"', 'name = "alone"\nseeds = [0, 1]')
    assert not folders(ensemble) & each[0]


def test_seeds_of_a_step_teach_together(tmp_path: Path) -> None:
    text = '[[step]]\nname = "many"\nnetwork = "teacher"\nmix = "ce"\nseeds = [1, 2]\n[[step]]\nname = "s"\nmix = "soft"\nteacher = "many"'
    first, second = planned(str(written(tmp_path, text)), Settings(), folds=(3,), seeds=(0,))
    assert [run.seed for run in first.runs] == [1, 2] and all(run.is_teacher for run in first.runs)
    assert second.runs[0].teachers == tuple(run.folder for run in first.runs) and second.runs[0].is_step


def test_included_steps_keep_their_runs_and_their_names(tmp_path: Path) -> None:
    written(tmp_path, OWN, "other")
    text = 'include = ["other.toml"]\n[[step]]\nname = "next"\nmix = "soft"\nteacher = "other/self"'
    path = written(tmp_path, text)
    settings = Settings()
    assert list(reading.read(str(path)).steps)[:3] == ["teacher", "other/alone", "other/self"]
    folders = {run.folder for level in planned(str(path), settings) for run in level.runs}
    other = {run.folder for level in planned(str(tmp_path / "other.toml"), settings) for run in level.runs}
    assert len(folders - other) == 4 and other < folders


def test_one_step_per_loss(tmp_path: Path) -> None:
    path = written(tmp_path, '[[step]]\nname = "x"\nteacher = "teacher"\neach.term = "all"')
    mixes = [str(step.mix) for step in reading.read(str(path)).last if step.label == "x"]  # others are recipes
    alone = [name for name in losses.names() if library.constant(name, "CHAIN", None) is None]
    assert mixes == [str(LossMix.parse(library.constant(name, "MIX", name))) for name in alone]


STEP = '[[step]]\nname = "a"\nmix = "soft"\nteacher = "teacher"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml", "not a TOML file"),
        ("a = " + "[" * 20_000, "not a TOML file"),
        ("", "no steps"),
        ("steps = []", "unknown field 'steps', did you mean 'step'"),
        ("step = 3", "expected tables"),
        ('[[step]]\nmix = "ce"', "name = None"),
        ('[[step]]\nname = "a/b"\nmix = "ce"', "name = 'a/b'"),
        ('[[step]]\nname = "a"', "step a: no mix"),
        ('[[step]]\nname = "a"\nmix = "angel"', "unknown loss 'angel', did you mean 'angle'"),
        ('[[step]]\nname = "a"\nmix = 3', "mix = 3: expected text"),
        ('[[step]]\nname = "a"\nmix = "soft"', "learns from a teacher"),
        (STEP + "epoch = 3", "unknown field 'epoch', did you mean 'epochs'"),
        (STEP + "epochs = 0", "epochs = 0: expected at least 1"),
        (STEP + 'epochs = "many"', "epochs = 'many': expected int"),
        (STEP + 'network = "cnn3"', "network = 'cnn3': expected one of teacher, student"),
        (STEP + "seeds = [0, 0]", "expected a list of different whole numbers"),
        (STEP + "rounds = 2", "expected rounds and teacher = 'previous' together"),
        (STEP.replace('"teacher"\n', '"previous"\n'), "expected rounds and teacher = 'previous' together"),
        (STEP.replace('"teacher"\n', '"previous"\nrounds = 2\n'), "needs a step above it"),
        (STEP.replace('"teacher"\n', '"b"\n'), "no step 'b' to teach it"),
        (STEP.replace('"teacher"\n', '"a"\n'), "a ← a: steps that teach each other in a circle"),
        (STEP.replace('"teacher"\n', '"b"\n') + '[[step]]\nname = "b"\nmix = "soft"\nteacher = "a"', "in a circle"),
        (STEP + STEP, "two steps are called 'a'"),
        (STEP + 'each.mix = ["angle"]', "mix is given, and each.mix too"),
        (STEP + "each.epochs = 3", "expected a list of values"),
        (STEP + 'each.term = "some"', "expected 'all'"),
        ('include = ["own.toml"]', "an experiment that includes itself"),
        ('include = ["nowhere"]', "no experiment 'nowhere'"),
        ("preset = 3\n" + STEP, "preset = 3: expected text"),
    ],
)
def test_what_an_experiment_cannot_be_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        reading.read(str(path))
    line = str(caught.value)
    assert message in line and "\n" not in line and "expected" in line + "not a TOML file: expected"


def test_a_batch_too_small_for_a_step_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    path = written(tmp_path, STEP.replace("soft", "angle") + "batch = 2")
    with pytest.raises(InputError, match=r"student\.batch = 2: angle of mix"):
        planned(str(path), Settings())


def test_names_are_found_in_all_folders_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"table3", "table4", "born-again"} <= set(files.names()) and "own" not in files.names()
    written(tmp_path / "experiments", OWN)
    assert files.located("own") == Path("experiments/own.toml")
    written(tmp_path / "experiments", OWN, "table3")
    with pytest.raises(InputError, match=r"is in .* and .*; expected one of this name"):
        files.located("table3")
    with pytest.raises(InputError, match="did you mean 'born-again'"):
        files.located("born-agin")


def test_explain_needs_neither_corpus_nor_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, OWN)
    text = invoke("experiment", "own.toml", "--explain", "--seeds", "0-2", "--folds", "1,2").stdout
    assert "teacher: resnet18, 178,466 weights" in text and "self: cnn2, 116,538 weights" in text
    assert "learns   from alone" in text and "trained  6 runs of 2 epochs" in text
    # A teacher of each fold; alone, self and four pairs of each fold and seed.
    assert f"In all {2 + 6 * 6} runs" in text and "2 folds, 3 seeds" in text and "Time: not known" in text
    assert [path.name for path in tmp_path.iterdir()] == ["own.toml"]
    assert "born-again generations" in invoke("experiment").stdout


def test_explain_counts_the_folds_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, OWN)
    write_corpus(tmp_path / "tiny")

    def explained(*options: str) -> str:
        done = invoke("experiment", "own.toml", "--explain", *options)
        return done.stdout if done.exit_code == 0 else done.stderr

    # Nowhere: those that are published, of clips as long as they are there.
    assert "10 folds (the data set's), 1 seed" in explained()
    text = explained("--dataset", "esc50")
    longer, classes = 1 + 5 * 22050 // 512, 50  # the second pooling leaves 5 of 20 bins and a quarter of the frames
    weights = 5 * 32 * 9 + 32 + 32 * 16 * 9 + 16 + 16 * 5 * (longer // 4) * 32 + 32 + 32 * classes + classes
    assert "5 folds (the data set's), 1 seed" in text and f"cnn2, {weights:,} weights" in text
    # At hand: those that are there, and no others.
    assert "3 folds (those in tiny), 1 seed" in explained(*CORPUS)
    assert "2 folds, 1 seed" in explained(*CORPUS, "--folds", "1,3")
    assert "fold 9 is not in tiny; expected some of 1 2 3" in explained(*CORPUS, "--folds", "9")
    assert "1 fold, 1 seed" in explained("--dataset", "cifar100")
    assert "CIFAR-100 has one fold" in explained("--dataset", "cifar100", "--folds", "1")
    assert "nowhere: no such folder" in explained("--dataset", "urbansound8k", "--data", "nowhere")
    # Of a folder of one's own the folds are counted without being written down.
    for index, name in enumerate(("low", "high")):
        for clip in range(12):
            target = tmp_path / "mine" / name / f"{clip}.wav"
            target.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(target, np.sin(np.arange(800) * (index + 1) / 9 + clip), 8000)
    assert "5 folds (those in mine)" in explained("--dataset", "folder", "--data", "mine")
    assert not (tmp_path / "mine" / "folds.csv").exists()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny corpus and its features."""
    where = tmp_path_factory.mktemp("experiments")
    write_corpus(where / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        done = invoke("features", *CORPUS, *QUICK, "--jobs", "1", "--backend", "sequential")
    assert done.exit_code == 0, done.stderr
    return where


def test_one_of_a_users_own_by_name_and_by_path(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name through an extra folder of the package, then by path; trained once, one row under its name."""
    monkeypatch.chdir(place)
    text = OWN[: OWN.index('[[step]]\nname = "pair"')]
    path = written(place / "extra", text, "itself")
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(path.parent)])
    command = ("experiment", "itself", *CORPUS, *QUICK, *HOW, "--folds", "1,2")
    done = invoke(*command)
    assert done.exit_code == 0, done.stderr
    (folder,) = Path("runs/tiny/experiment-itself").glob("self-cnn2-default-*")
    accuracies = [runs.read(folder / f"fold{fold}-seed0").result.accuracy for fold in (1, 2)]
    assert all(accuracy is not None for accuracy in accuracies)
    mean = 100 * float(np.mean([accuracy or 0.0 for accuracy in accuracies]))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("itself ")]
    assert line.split()[1] == f"{mean:.2f}" and "partial (2 of 10 folds)" in line
    record = runs.read(folder / "fold2-seed0")
    assert (record.experiment, record.step, record.is_step) == ("itself", "self", True)
    assert record.trained_by.epochs == 2 and record.teacher and "student-cnn2" in str(record.teacher)

    again = invoke("experiment", str(path), *command[2:])
    assert again.exit_code == 0 and "to train" not in again.stderr and again.stdout == done.stdout
    # What it shares with the stages is theirs: nothing is trained twice.
    shared = invoke("distill", "--losses", "ce", *command[2:])
    assert "2 of 2 runs finished" in shared.stderr and "nothing to do" in shared.stderr

    table = invoke("report", *CORPUS, "--no-page")
    (same,) = [line for line in table.stdout.splitlines() if line.startswith("itself ")]
    assert same.split()[1] == f"{mean:.2f}" and "Not in these tables" not in table.stdout
    finished = [record for record in runs.find(Path("runs"), "tiny") if not record.is_generation]
    assert f"Made by {len(finished)} finished runs" in table.stdout and any(record.is_step for record in finished)
    repeated = invoke("rerun", str(folder / "fold1-seed0"))
    assert repeated.exit_code == 0 and repeated.stdout.count("the same bit for bit") == 4
    assert "step" in invoke("runs", "--corpus", "tiny").stdout


@pytest.mark.slow
def test_an_experiment_on_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a stand-in for CIFAR-100's archive to the row of the report; a second time nothing is trained."""
    monkeypatch.chdir(tmp_path)
    write_stand_in(tmp_path / "images.tar.gz")
    steps = """
dataset = "cifar100"
[[step]]
name = "first"
network = "cnn2"
mix = "ce:2"
[[step]]
name = "second"
network = "cnn2"
mix = "ce,soft"
teacher = "first"
"""
    written(tmp_path, steps, "pictures")
    images = ("--archive", "images.tar.gz", "--no-checksum", "--validation", "6")
    command = ("experiment", "pictures.toml", *QUICK, *HOW, *images)
    done = invoke(*command)
    assert done.exit_code == 0, done.stderr
    (folder,) = Path("runs").glob("cifar100-*/experiment-pictures/second-cnn2-*/fold0-seed0")
    record = runs.read(folder)
    assert record.is_of_images and record.is_step and len(record.classes) == 4 and record.shape == (3, 32, 32)
    assert record.result.percent is not None and record.teacher and runs.read(record.teachers[0]).model == "cnn2"
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SYNTHETIC pictures ")]
    assert line.split()[2] == f"{record.result.percent:.2f}"
    assert "SYNTHETIC: made-up images; these figures say nothing about real images." in done.stdout
    again = invoke(*command)
    assert again.exit_code == 0 and "to train" not in again.stderr and again.stdout == done.stdout
    for options, words in (
        (("--folds", "1"), "CIFAR-100 has one fold"),
        (("--data", "images.tar.gz"), "expected one of them"),
        (("--dataset", "synthetic"), "--archive is for CIFAR-100"),
    ):
        done = invoke(*command, *options)
        assert done.exit_code in (1, 2) and words in done.stderr and "Traceback" not in done.stderr


def test_a_teacher_of_another_fold_is_refused_before_anything_is_trained(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert invoke("teacher", *CORPUS, *QUICK, *HOW, "--folds", "1", "--seeds", "4").exit_code == 0
    (one,) = Path("runs/tiny").glob("teacher-*/fold1-seed4")
    one.rename(one.with_name("fold2-seed4"))  # a copy under a wrong name
    done = invoke("ban", *CORPUS, *QUICK, *HOW, "--folds", "2", "--seeds", "4", "--teacher", str(one.parent))
    assert done.exit_code == 1 and "is the teacher of fold 1, wanted for fold 2" in done.stderr
    assert not list(Path("runs/tiny").glob("ban-*"))


def test_the_role_of_a_planned_run_is_one_of_four() -> None:
    with pytest.raises(InputError, match="role 'pupil': expected one of teacher, student, generation, step"):
        PlannedRun("", "", "pupil", "tiny", Settings(), 1, 0, LossMix.parse("ce"))


def test_options_without_an_experiment_are_refused() -> None:
    done = CliRunner().invoke(cli.main, ["experiment", "--folds", "1"])
    assert done.exit_code == 1 and "error: --folds without an experiment" in done.stderr
    assert CliRunner().invoke(cli.main, ["experiment"]).exit_code == 0
