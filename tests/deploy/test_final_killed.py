"""``final`` on clips with several labels, killed in the middle of each of its parts: started again it ships the same bytes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import runs
from tests.several import write_corpus
from tests.tiny import QUICK, ROOT, audio_rkd

EPOCHS = 40

CORPUS = ("--dataset", "csv", "--data", "tones/clips.csv")
LONG = [word for name in ("teacher", "student") for word in ("--set", f"{name}.epochs={EPOCHS}")]
SETTINGS = (*QUICK, *LONG, "--set", "student.lr=0.02", "--set", "teacher.lr=0.02")
FINAL = ("final", "--preset", "default", *CORPUS, *SETTINGS, "--losses", "angle:20,ce:1", "--jobs", "1")


def of_all_folds(where: Path, role: str) -> Path | None:
    """The folder of the run of all folds that has begun."""
    return next((path.parent for path in (where / "finals").glob(f"*/{role}-*/**/fold0-seed0/metrics.jsonl")), None)


def in_training(where: Path, role: str) -> bool:
    folder = of_all_folds(where, role)
    return folder is not None and not runs.finished(folder) and len(runs.read_metrics(folder)) >= 2


def in_export(where: Path) -> bool:
    folder = of_all_folds(where, "student")
    return folder is not None and runs.finished(folder)


def killed(where: Path, ready: Callable[[], bool]) -> None:
    """``kill -9`` of the command as soon as it is ``ready``, of it and what it started."""
    command = [sys.executable, str(ROOT / "cli.py"), *FINAL, "--checkpoint-minutes", "0.0005"]
    process = subprocess.Popen(
        command, cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 300
    try:
        while not ready():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.002)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def shipped(where: Path) -> dict[str, bytes]:
    """The files whose digests the proof has, and the weights of teacher and student."""
    done = audio_rkd(where, *FINAL, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    folder = where / told["export"]
    names = json.loads((folder / "proof.json").read_text())["sha256"]
    assert {"model.onnx", "model.int8.onnx", "golden.npz"} <= set(names)
    files = {name: (folder / name).read_bytes() for name in names}
    for role in ("teacher", "student"):
        run = of_all_folds(where, role)
        assert run is not None
        files[role] = (run / "model.pt").read_bytes()
        records = [{**one, "seconds": 0} for one in runs.read_metrics(run)]
        assert [one["epoch"] for one in records] == list(range(1, EPOCHS + 1))
        files[f"{role} epochs"] = json.dumps(records).encode()
    return files


@pytest.mark.slow
def test_final_of_several_labels_killed_in_teacher_student_and_export_ships_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    home, other = tmp_path / "home", tmp_path / "other"
    write_corpus(home / "tones", folds=2, repeats=2)
    for command in (
        ("features", *CORPUS, *QUICK),
        ("teacher", *CORPUS, *SETTINGS),
        ("distill", "--losses", "angle:20,ce:1", *CORPUS, *SETTINGS),
    ):
        done = audio_rkd(home, *command)
        assert done.returncode == 0, done.stderr
    shutil.copytree(home, other)
    killed(other, lambda: in_training(other, "teacher"))
    teacher = of_all_folds(other, "teacher")
    assert teacher is not None and not runs.finished(teacher) and not of_all_folds(other, "student")
    killed(other, lambda: in_training(other, "student"))
    assert runs.finished(teacher) and not in_export(other)
    killed(other, lambda: in_export(other))
    assert in_export(other) and not list((other / "exports").rglob("proof.json"))
    assert shipped(other) == shipped(home)
