"""From WAV files to the table, through the command line, as real processes in an empty folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import audio_rkd as rkd
from pipeline import cache, runs
from pipeline.losses import TABLE3_MIXES
from pipeline.models import saved
from tests.extracting import wait_for_end
from tests.tiny import QUICK, ROOT, audio_rkd, write_corpus

CORPUS = ("--dataset", "urbansound8k", "--data", "tiny")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where features, teachers and two mixes of students were made."""
    where = tmp_path_factory.mktemp("stages")
    write_corpus(where / "tiny")
    for command in (
        ("features", "--jobs", "1"),
        ("teacher",),
        ("distill", "--losses", "soft", "--losses", "area,angle", "--seeds", "0,1", "--jobs", "1"),
    ):
        done = audio_rkd(where, *command, *CORPUS, *QUICK)
        assert done.returncode == 0, done.stderr
    return where


def copied(place: Path, target: Path) -> Path:
    shutil.copytree(place, target)
    return target


def folders(place: Path, kind: str) -> list[Path]:
    return sorted(path.parent for path in (place / "runs" / "tiny").glob(f"{kind}-*/**/result.json"))


def states(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.pt", weights_only=True)["state"]


def metrics(folder: Path) -> list[dict]:
    """The epochs' records without the only thing that may differ: how long they took."""
    return [{k: v for k, v in record.items() if k != "seconds"} for record in runs.read_metrics(folder)]


def test_every_cell_has_a_run_folder_with_all_its_files(place: Path) -> None:
    assert len(folders(place, "teacher")) == 3
    students = folders(place, "student")
    assert len(students) == 3 * 2 * 2
    for folder in students:
        names = {path.name for path in folder.iterdir()}
        assert names == {
            "config.json",
            "environment.json",
            "metrics.jsonl",
            "model.pt",
            "predictions.npz",
            "result.json",
        }
    mixes = {runs.read_config(folder)["mix"] for folder in students}
    assert mixes == {"soft:1", "angle:40,area:20,soft:1"}


def test_the_records_say_each_term_raw_and_weighted(place: Path) -> None:
    (folder,) = [f for f in folders(place, "student") if "angle" in str(f) and f.name == "fold2-seed1"]
    records = runs.read_metrics(folder)
    assert [record["epoch"] for record in records] == [1, 2, 3]
    for record in records:
        terms = record["terms"]
        assert terms["angle"]["weighted"] == pytest.approx(40 * terms["angle"]["raw"], rel=1e-5)
        assert terms["area"]["weighted"] == pytest.approx(20 * terms["area"]["raw"], rel=1e-5)
        assert record["loss"] == pytest.approx(sum(term["weighted"] for term in terms.values()), rel=1e-5)


def test_predictions_are_of_the_held_out_folds_clips_alone(place: Path) -> None:
    for folder in folders(place, "student"):
        fold = runs.read_config(folder)["fold"]
        predictions = runs.read_predictions(folder)
        assert sorted(predictions.clips) == [f"{fold}{i:03}-{i % 2}-0-0.wav" for i in range(6)]
        accuracy = np.mean(predictions.logits.argmax(1) == predictions.labels)
        assert runs.read_result(folder)["accuracy"] == pytest.approx(accuracy)


def test_students_learn_from_the_teacher_of_their_own_fold(place: Path) -> None:
    for folder in folders(place, "student"):
        record = runs.read_config(folder)
        assert Path(record["teacher"]).name == f"fold{record['fold']}-seed0"


@pytest.mark.parametrize(
    "command", [("teacher",), ("distill", "--losses", "angle:40,area:20,soft:1", "--losses", "soft")]
)
def test_a_second_call_does_nothing_and_says_so(place: Path, command: tuple[str, ...]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (place / "runs").rglob("*") if path.is_file()}
    done = audio_rkd(place, *command, *CORPUS, *QUICK)
    assert done.returncode == 0
    assert "nothing to do" in done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (place / "runs").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("fold", "count"),
    [
        (("--folds", "2"), 2),  # a run alone is what it was beside those of other folds
        pytest.param((), 6, marks=pytest.mark.slow),
    ],
)
def test_the_same_command_gives_the_same_bits(place: Path, tmp_path: Path, fold: tuple[str, ...], count: int) -> None:
    again = copied(place, tmp_path / "again")
    shutil.rmtree(again / "runs")
    assert audio_rkd(again, "teacher", *fold, *CORPUS, *QUICK).returncode == 0
    assert audio_rkd(again, "distill", "--losses", "angle,area", *fold, *CORPUS, *QUICK).returncode == 0
    compared = 0
    for folder in [*folders(again, "teacher"), *folders(again, "student")]:
        other = place / folder.relative_to(again)
        assert metrics(folder) == metrics(other)
        for name, tensor in states(folder).items():
            assert torch.equal(tensor, states(other)[name]), (folder, name)
        compared += 1
    assert compared == count


def test_changed_clips_never_meet_old_results(place: Path, tmp_path: Path) -> None:
    changed = copied(place, tmp_path / "changed")
    path = changed / "tiny" / "audio" / "fold1" / "1000-0-0-0.wav"
    soundfile.write(path, np.zeros(8000), 8000)
    assert "1 computed, 17 reused" in audio_rkd(changed, "features", *CORPUS, *QUICK).stdout
    done = audio_rkd(changed, "teacher", *CORPUS, *QUICK)
    assert done.returncode == 1
    assert "was trained on other features of fold 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_changed_settings_train_anew(place: Path, tmp_path: Path) -> None:
    changed = copied(place, tmp_path / "changed")
    assert (
        audio_rkd(changed, "distill", "--losses", "soft", *CORPUS, *QUICK, "--set", "student.lr=0.01").returncode == 0
    )
    assert len(folders(changed, "student")) == 12 + 3
    rows = (changed / "runs" / "tiny").glob("student-*")
    assert len(list(rows)) == 2


@pytest.mark.slow
def test_a_teacher_of_the_same_settings_is_found_under_any_presets_name(place: Path, tmp_path: Path) -> None:
    """It teaches students of the other preset, and stands in their table; one of other settings is trained anew."""
    copy = copied(place, tmp_path / "copy")
    (copy / "mine.toml").write_text("[student]\nmomentum = 0.8\n")
    before = folders(copy, "teacher")
    mine = (*CORPUS, *QUICK, "--preset", "mine.toml", "--folds", "1,2")
    done = audio_rkd(copy, "teacher", *mine)
    assert "nothing to do" in done.stderr and folders(copy, "teacher") == before
    done = audio_rkd(copy, "distill", "--losses", "soft", *mine)
    assert done.returncode == 0, done.stderr
    student = next(path for path in folders(copy, "student") if "-mine-" in str(path))
    assert copy / runs.read_config(student)["teacher"] in before
    table = audio_rkd(copy, "report", "--no-page", *CORPUS).stdout.partition("preset mine")[2].partition("preset ")[0]
    assert "resnet18 (teacher)" in table
    done = audio_rkd(copy, "teacher", *mine, "--set", "teacher.momentum=0.8")
    assert len(folders(copy, "teacher")) == len(before) + 2


def test_the_teacher_of_another_fold_is_refused(place: Path, tmp_path: Path) -> None:
    wrong = copied(place, tmp_path / "wrong")
    group = folders(wrong, "teacher")[0].parent
    shutil.rmtree(group / "fold1-seed0")
    shutil.copytree(group / "fold2-seed0", group / "fold1-seed0")
    done = audio_rkd(wrong, "distill", "--losses", "distance", "--folds", "1", *CORPUS, *QUICK)
    assert done.returncode == 1
    assert "is the teacher of fold 2, wanted for fold 1" in done.stderr
    assert not any("distance" in str(folder) for folder in folders(wrong, "student"))


def test_the_table_has_a_row_a_mix(place: Path) -> None:
    done = audio_rkd(place, "report", *CORPUS, "--no-page")
    assert done.returncode == 0, done.stderr
    assert "resnet18 (teacher)" in done.stdout
    assert "of 10 folds)" in done.stdout and "no better than chance" in done.stdout  # six clips per fold prove nothing
    text = (place / "reports" / "tiny" / "table.csv").read_text()
    assert "angle:40,area:20,soft:1" in text


def test_table3_trains_what_is_missing_and_no_more(place: Path, tmp_path: Path) -> None:
    where = copied(place, tmp_path / "table")
    kept = {folder: (folder / "result.json").stat().st_mtime_ns for folder in folders(where, "student")}
    done = audio_rkd(where, "table3", "--folds", "1", *CORPUS, *QUICK)
    assert done.returncode == 0, done.stderr
    mixes = {runs.read_config(folder)["mix"] for folder in folders(where, "student")}
    assert mixes == set(TABLE3_MIXES) and len(mixes) == 8
    assert all((folder / "result.json").stat().st_mtime_ns == time for folder, time in kept.items())
    for name in ("table.md", "table.csv", "table.tex"):
        assert (where / "reports" / "tiny" / name).stat().st_size > 500


@pytest.mark.slow
def test_table3_is_made_also_where_runs_fail(place: Path, tmp_path: Path) -> None:
    where = copied(place, tmp_path / "table")
    done = audio_rkd(
        where,
        "table3",
        *CORPUS,
        *QUICK,
        "--set",
        "student.lr=1000",
        "--set",
        "student.weight_decay=1000",
        "--folds",
        "1",
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    error = done.stderr[done.stderr.index("error:") :].splitlines()
    assert "8 of 8 runs stopped; the others are kept" in error[0] and "and 3 more" in error[-1] and len(error) == 7
    assert "is high; the student has no batch norm" in done.stderr
    assert "1 of 1 run stopped" in done.stdout and (where / "reports" / "tiny" / "table.tex").is_file()


def test_the_teachers_best_epoch_can_teach(place: Path, tmp_path: Path) -> None:
    where = copied(place, tmp_path / "best")
    options = ("--losses", "soft", "--folds", "1", "--jobs", "1", "--teacher-epoch", "best")
    assert audio_rkd(where, "distill", *CORPUS, *QUICK, *options).returncode == 0
    told = {runs.read_config(folder)["settings"]["student"]["teacher_epoch"] for folder in folders(where, "student")}
    assert told == {"last", "best"}
    (student,) = (f for f in folders(where, "student") if runs.read(f).settings.student.teacher_epoch == "best")
    record = runs.read(student)
    (fold1,) = (where / "cache").glob("tiny/*/fold1.h5")
    clean = torch.from_numpy(cache.load([fold1]).features[:, 0])
    teacher = saved.network_of(saved.read_payload(where / record.teachers[0]), "best")
    with torch.no_grad():
        both = teacher(clean).logits.argmax(-1).numpy() == runs.read_predictions(student).logits.argmax(-1)
    assert record.result.agreement == both.mean()  # with the weights that taught
    assert "optimistic, the held-out fold chose it" in audio_rkd(where, "report", *CORPUS, "--no-page").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("teacher", "--preset", "papr", *CORPUS), "no preset 'papr'; expected one of"),
        (("teacher", "--set", "teacher.lrr=1", *CORPUS), "unknown key 'lrr'"),
        (("teacher", "--set", "teacher.lr=fast", *CORPUS), "lr = 'fast': expected float"),
        (("teacher", "--folds", "7", *CORPUS), "fold 7 is not in tiny"),
        (("teacher", "--device", "cuda", *CORPUS, *QUICK, "--seeds", "9"), "sees no GPU"),
        (("distill", "--losses", "angel"), "did you mean 'angle'?"),
        (
            ("distill", "--losses", "angle", "--set", "teacher.lr=0.5", *CORPUS),
            "no finished teacher of fold 1",
        ),
        (("teacher", *CORPUS, "--set", "features.bins=10"), "no features of fold 1, 2, 3"),
        (("features", "--dataset", "urbansound8k", "--data", "nowhere"), "nowhere: no such folder"),
        (("report", "--dataset", "urbansound8k", "--data", "other"), "no finished run"),
    ],
)
def test_wrong_input_is_one_line(place: Path, arguments: tuple[str, ...], message: str) -> None:
    if "sees no GPU" in message and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    if "other" in arguments and not (place / "other").exists():
        write_corpus(place / "other")
    done = audio_rkd(place, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1


def test_usage_errors_exit_with_2(place: Path) -> None:
    assert audio_rkd(place, "teacher", "--folds", "one").returncode == 2
    assert audio_rkd(place, "teach").returncode == 2


def test_explain_prints_formula_weight_and_source(tmp_path: Path) -> None:
    done = audio_rkd(tmp_path, "distill", "--explain", "--losses", "hinton,angle,area")
    assert done.returncode == 0
    for words in ("65.53", "weight 10", "weight 50", "eq. 3.1", "T^2"):
        assert words in done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_kill_and_again_is_as_if_never_stopped(place: Path, tmp_path: Path, jobs: str) -> None:
    """``kill -9`` in the middle of a training; the same command goes on and gives the same bits."""
    quick = [*QUICK, "--set", "student.epochs=40", "--jobs", jobs, "--checkpoint-minutes", "0.0005"]
    command = [sys.executable, str(ROOT / "cli.py"), "distill", "--losses", "angle,area", *CORPUS, *quick]
    whole, cut = copied(place, tmp_path / "whole"), copied(place, tmp_path / "cut")
    assert subprocess.run(command, cwd=whole, capture_output=True).returncode == 0
    process = subprocess.Popen(command, cwd=cut, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((cut / "runs").rglob("pack-*.pt")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for_end(process.pid)  # its own processes see that it is gone
    unfinished = [f for f in folders(whole, "student") if not runs.finished(cut / f.relative_to(whole))]
    assert unfinished
    done = subprocess.run(command, cwd=cut, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr
    assert not list((cut / "runs").rglob("pack-*"))
    for folder in folders(whole, "student"):
        other = cut / folder.relative_to(whole)
        assert metrics(folder) == metrics(other)
        assert all(torch.equal(tensor, states(other)[name]) for name, tensor in states(folder).items())


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["none", "shift"], ids=["stored", "running"])
def test_a_student_of_factors_is_killed_three_times(place: Path, tmp_path: Path, augment: str) -> None:
    """``kill -9`` while the second fold's paraphraser is trained, and twice later; where teachers run in every step, too."""
    words = [
        "distill",
        "--losses",
        "ce,factor",
        "--folds",
        "1,2",
        *CORPUS,
        *QUICK,
        "--set",
        f"student.augment={augment}",
    ]
    words += ["--set", "student.epochs=20", "--jobs", "1", "--pack", "2", "--checkpoint-minutes", "0.0005"]
    command = [sys.executable, str(ROOT / "cli.py"), *words]
    whole, cut = copied(place, tmp_path / "whole"), copied(place, tmp_path / "cut")
    assert subprocess.run(command, cwd=whole, capture_output=True).returncode == 0
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv.pop(1)); import cli, torch; from pipeline.losses import paraphrasing; "
        "train, step, begun = paraphrasing.train, torch.optim.Adam.step, []; "
        "paraphrasing.train = lambda *given: (begun.append(0), train(*given))[1]; "
        "torch.optim.Adam.step = lambda self, *more: os.kill(os.getpid(), signal.SIGKILL) if len(begun) == 2 else step(self, *more); "
        "cli.main()"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(ROOT), *words], cwd=cut, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not list((cut / "runs").rglob("pack-*.pt"))
    for _ in range(2):
        told = tmp_path / "told"
        with told.open("w") as stderr:
            process = subprocess.Popen(command, cwd=cut, stderr=stderr)
        before = {path: path.stat().st_mtime_ns for path in (cut / "runs").rglob("pack-*.pt")}
        deadline = time.monotonic() + 120
        while not [
            path
            for path in (cut / "runs").rglob("pack-*.pt")
            if path.exists() and before.get(path) != path.stat().st_mtime_ns
        ]:
            assert process.poll() is None and time.monotonic() < deadline, told.read_text()
            time.sleep(0.005)
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and ("going on from" in told.read_text()) == bool(before)
    done = subprocess.run(command, cwd=cut, capture_output=True, text=True)
    assert done.returncode == 0 and "going on from" in done.stderr, done.stderr
    new = [folder for folder in folders(whole, "student") if "factor" in folder.parent.name]
    assert len(new) == 2
    for folder in new:
        other = cut / folder.relative_to(whole)
        assert metrics(folder) == metrics(other)
        assert runs.read_result(folder)["weights"] == runs.read_result(other)["weights"]
        kept = [torch.load(where / "model.pt", weights_only=True)["adapters"] for where in (folder, other)]
        assert kept[0] and all(torch.equal(tensor, kept[1][name]) for name, tensor in kept[0].items())


def workers(parent: int) -> list[int]:
    """The training processes that a process has started, by Linux' table of processes."""
    collected = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat, line = (entry / "stat").read_text(), (entry / "cmdline").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == parent and "spawn_main" in line:
            collected.append(int(entry.name))
    return sorted(collected)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads Linux' /proc")
def test_a_killed_training_process_is_one_line_and_the_same_command_goes_on(place: Path, tmp_path: Path) -> None:
    """The system does this where memory runs out. Also the second of two: it was not waited for once."""
    quick = [
        *QUICK,
        "--set",
        "student.epochs=60",
        "--jobs",
        "2",
        "--pack",
        "1",
        "--checkpoint-minutes",
        "0.0005",
    ]
    command = [
        sys.executable,
        str(ROOT / "cli.py"),
        "distill",
        "--losses",
        "soft",
        "--folds",
        "1,2",
        *CORPUS,
        *quick,
    ]
    where = copied(place, tmp_path / "cut")
    process = subprocess.Popen(command, cwd=where, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(list((where / "runs").rglob("pack-*.pt"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(workers(process.pid)[-1], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and "a training process was killed" in stderr and "Traceback" not in stderr
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    assert done.returncode == 0 and "going on from" in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads Linux' /proc")
def test_ctrl_c_while_training_processes_start_is_one_line(place: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "cli.py"),
        "distill",
        "--losses",
        "soft",
        "--folds",
        "1,2",
        *CORPUS,
        *QUICK,
        "--set",
        "student.epochs=61",
        "--jobs",
        "2",
        "--pack",
        "1",
    ]
    process = subprocess.Popen(
        command, cwd=copied(place, tmp_path / "cut"), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(workers(process.pid)) < 2 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped" in stderr and "Traceback" not in stderr, stderr


@pytest.mark.slow
def test_killed_while_its_runs_are_written_a_pack_ends_as_it_would_have(place: Path, tmp_path: Path) -> None:
    """One of four folders is written: it stays as it is, the others come from the pack's checkpoint, in its layout."""
    command = ["distill", "--losses", "angle,area", "--seeds", "5,6", "--folds", "1,2", *CORPUS, *QUICK]
    packed = [*command, "--pack", "4", "--layout", "vmap", "--jobs", "1"]
    whole, cut = copied(place, tmp_path / "whole"), copied(place, tmp_path / "cut")
    assert audio_rkd(whole, *packed).returncode == 0
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv.pop(1)); import cli; from pipeline.engine import packs; "
        "write = packs.write_run; "
        "packs.write_run = lambda *given: (write(*given), os.kill(os.getpid(), signal.SIGKILL)); cli.main()"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(ROOT), *packed], cwd=cut, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    new = [f.relative_to(whole) for f in folders(whole, "student") if f.name[-1] in "56"]
    (written,) = [folder for folder in new if runs.finished(cut / folder)]
    before = {path: path.stat().st_mtime_ns for path in (cut / written).iterdir()}
    done = audio_rkd(cut, *command)
    assert done.returncode == 0 and "going on from" in done.stderr, done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (cut / written).iterdir()}
    assert not list((cut / "runs").rglob("pack-*"))
    for folder in new:
        assert metrics(whole / folder) == metrics(cut / folder)
        pack = [runs.read_config(where / folder)["pack"] for where in (whole, cut)]
        assert pack[0]["layout"] == pack[1]["layout"] == "vmap" and pack[0]["runs"] == pack[1]["runs"] == 4
        other = states(cut / folder)
        assert all(torch.equal(tensor, other[name]) for name, tensor in states(whole / folder).items())


@pytest.mark.slow
def test_halves_of_a_pack_that_did_not_fit_are_packs_of_their_own(place: Path, tmp_path: Path) -> None:
    """Each has its own checkpoint, from which it goes on when it is killed: the second half here, in its last epoch."""
    command = [
        "distill",
        "--losses",
        "soft",
        "--losses",
        "angle",
        "--seeds",
        "7",
        "--folds",
        "1,2",
        *CORPUS,
        *QUICK,
        "--jobs",
        "1",
        "--checkpoint-minutes",
        "0",
    ]
    whole, cut = copied(place, tmp_path / "whole"), copied(place, tmp_path / "cut")
    assert audio_rkd(whole, *command).returncode == 0
    code = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
import cli, torch
from pipeline import training
fit, files = training.fit, []
def small(samples, labels, runs, *given, **options):
    if len(runs) > 2:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
    files.append(options["checkpoint"].name)
    keep = options["on_epoch"]
    def killed(run, record):
        keep(run, record)
        if len(set(files)) == 2 and record["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return fit(samples, labels, runs, *given, **{**options, "on_epoch": killed})
training.fit = small
cli.main()
"""
    killed = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), *command, "--pack", "4"],
        cwd=cut,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL and "going on with packs of 2 and 2" in killed.stderr, killed.stderr
    new = [f.relative_to(whole) for f in folders(whole, "student") if f.name.endswith("seed7")]
    assert [runs.finished(cut / folder) for folder in new].count(True) == 2
    done = audio_rkd(cut, *command)
    assert done.returncode == 0 and "going on from" in done.stderr, done.stderr
    assert not list((cut / "runs").rglob("pack-*"))
    for folder in new:
        other = states(cut / folder)
        assert all(torch.equal(tensor, other[name]) for name, tensor in states(whole / folder).items())


def test_the_record_says_what_ran(place: Path) -> None:
    folder = folders(place, "student")[0]
    record = json.loads((folder / "config.json").read_text())
    assert record["settings"]["student"]["lr"] == 0.002
    assert set(record["data"]) == {"1", "2", "3"}
    assert record["pack"]["layout"] in ("loop", "vmap")
    payload = torch.load(folder / "model.pt", weights_only=True)
    assert payload["classes"][:2] == ["air_conditioner", "car_horn"]
    assert payload["features"]["bins"] == 8


def test_the_python_api_trains_the_very_weights_of_the_commands(place: Path) -> None:
    changes = [word for word in QUICK if word != "--set"]
    with contextlib.chdir(place):
        how = rkd.settings("default", *changes)
        fold = rkd.fold(rkd.corpus("urbansound8k", "tiny"), how, 2)
        teacher = rkd.fit(fold, "ce", how.teacher)
        (taught_by,) = [path for path in folders(Path(), "teacher") if path.name == "fold2-seed0"]
        assert teacher.weights == runs.read(taught_by).result.weights
        for mix in ("soft", "angle,area"):
            (path,) = [
                one for one in folders(Path(), "student") if one.parts[-2:] == (rkd.mix(mix).slug, "fold2-seed1")
            ]
            student, kept = rkd.fit(fold, mix, how.student, teacher=teacher, seed=1), runs.read(path).result
            assert student.weights == kept.weights == rkd.load(path).weights
            assert np.array_equal(student.logits, runs.read_predictions(path).logits)
            told = [{k: v for k, v in record.items() if k != "seconds"} for record in student.history]
            assert told == metrics(path)
            figures = rkd.evaluate(student, fold, teacher=teacher)
            for name in ("accuracy", "balanced_accuracy", "macro_f1", "agreement", "status", "test_clips"):
                assert getattr(figures, name) == getattr(kept, name), name
            assert (figures.nll, figures.ece) == pytest.approx((kept.nll, kept.ece))
            assert rkd.evaluate(path, fold, teacher=taught_by) == figures
        assert (
            rkd.fit(fold, "soft", how.student, teacher=taught_by, seed=1).weights
            == runs.read(path.parents[1] / "soft1" / path.name).result.weights
        )
        other = replace(fold, data=replace(fold.data, digests={**fold.data.digests, 3: "changed since"}))
        with pytest.raises(rkd.InputError, match="trained on other clips"):
            rkd.fit(other, "soft", how.student, teacher=taught_by)
