"""Teachers of any program by the command line: options that exclude each other, and all of it once on a tiny corpus."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.test_onnx_teacher import model
from tests.tiny import QUICK, ROOT, audio_rkd, invoke, write_corpus

CORPUS = ("--dataset", "urbansound8k", "--data", "toy", *QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--teacher-seeds", "0,1", "--teacher", "a.npz"), "expected it without --teacher"),
        (("--teacher-set", "features.use=pcen", "--teacher", "a.npz"), "expected it without --teacher"),
        (("--cross-fitted", "--teacher-set", "features.use=pcen"), "expected it without another teacher"),
        (("--cross-fitted", "--teacher", "a.npz"), "expected it without another teacher"),
        (("--cross-fitted", "--teacher-seeds", "0,1"), "expected it without another teacher"),
        (("--teacher-rate", "8000"), "are of --teacher-onnx"),
        (("--teacher-trained-on", "none", "--teacher", "a.npz"), "are of --teacher-onnx"),
        (("--teacher", "a.npz", "--teacher-epoch", "best"), "a teacher file has no epochs"),
    ],
)
def test_options_of_which_one_would_be_dropped_are_refused(options: tuple[str, ...], message: str) -> None:
    done = invoke("distill", *options)
    assert done.exit_code == 2 and message in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("teacher.epochs=3", "expected features.KEY=VALUE"),
        ("features.bin=3", "--teacher-set features.bin=3: unknown key 'bin'"),
        ("features.bins", "--teacher-set features.bins: expected features.KEY=VALUE"),
        ("features.views=2", "a view would be another sound for each"),
    ],
)
def test_of_the_teachers_own_settings_the_features_alone(tmp_path: Path, given: str, message: str) -> None:
    write_corpus(tmp_path / "toy")
    done = audio_rkd(tmp_path, "distill", *CORPUS, "--losses", "hinton", "--teacher-set", given)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("error:") == 1, done.stderr


@pytest.mark.slow
def test_foreign_teachers_from_file_to_report(tmp_path: Path) -> None:
    write_corpus(tmp_path / "toy")
    distill = ("distill", *CORPUS, "--losses", "soft", "--folds", "1,2")
    for arguments in (("features", *CORPUS), ("teacher", *CORPUS, "--folds", "1,2"), distill):
        assert audio_rkd(tmp_path, *arguments).returncode == 0
    (teachers,) = (tmp_path / "runs" / "toy").glob("teacher-*")
    done = audio_rkd(tmp_path, "teacher-file", str(teachers.relative_to(tmp_path)), "-o", "own.h5")
    assert done.returncode == 0 and "18 clips, held-out fold 1, 2" in done.stdout
    (features,) = (tmp_path / "cache" / "toy").glob("f8-*")
    example = [sys.executable, str(ROOT / "examples" / "foreign_teacher.py"), "svc", str(features), "svc.npz"]
    subprocess.run(example, cwd=tmp_path, check=True, timeout=120)
    foreign = model(tmp_path / "m.onnx", [1, "n"], {"embedding": "", "scores": ""})
    example = [*example[:2], "onnx", str(foreign), "8000", "toy", "onnx.npz"]
    subprocess.run(example, cwd=tmp_path, check=True, timeout=120)
    angle = ("distill", *CORPUS, "--losses", "angle,soft:0", "--folds", "1", "--teacher", "onnx.npz")
    assert audio_rkd(tmp_path, *angle).returncode == 0
    arrays = dict(np.load(tmp_path / "svc.npz"))
    first = {name: values for name, values in arrays.items() if name not in ("trained_on", "fold")}
    np.savez(tmp_path / "untold.npz", **{**first, "logits": first["logits"][0]})
    refused = audio_rkd(tmp_path, *distill, "--teacher", "untold.npz")
    assert refused.returncode == 1 and "expected an array trained_on" in refused.stderr
    for teacher in (("own.h5",), ("svc.npz",), ("untold.npz", "--trust-teacher")):
        done = audio_rkd(tmp_path, *distill, "--teacher", *teacher)
        assert done.returncode == 0, done.stderr
    assert "2 of 2 runs finished" in audio_rkd(tmp_path, *distill, "--teacher", "svc.npz").stderr
    text = audio_rkd(tmp_path, "report", "--dataset", "urbansound8k", "--data", "toy").stdout
    for name in ("own.h5", "svc.npz", "untold.npz"):
        assert f"soft:1 from {name}" in text
    assert "Taught by a teacher that does not say which folds it was trained on" in text
    table = (tmp_path / "reports" / "toy" / "table.md").read_text()
    assert "its teacher does not say what it was trained on: trusted" in table
    (untold,) = {
        path.parent.relative_to(tmp_path)
        for path in (tmp_path / "runs" / "toy" / "experiment-student").rglob("fold1-seed0")
        if '"trusted": true' in (path / "config.json").read_text()
    }
    taught = next(iter((tmp_path / "runs" / "toy").glob("student-*/soft1"))).relative_to(tmp_path)
    for command in (("compare", str(taught), str(untold)), ("ensemble", str(untold))):
        assert "Taught by a teacher that does not say" in audio_rkd(tmp_path, *command).stdout
    assert "teacher trusted" in audio_rkd(tmp_path, "runs").stdout
