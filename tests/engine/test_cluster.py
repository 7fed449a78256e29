"""Packs on a dask cluster: the same bits as at home, also when a worker is killed in the middle of its pack."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline import runs
from pipeline.processes import standing
from tests.tiny import QUICK, ROOT, audio_rkd, write_corpus

pytest.importorskip("distributed", reason="the extra dask is not installed")

CORPUS = ("--dataset", "urbansound8k", "--data", "tiny")
DISTILL = (
    "distill",
    "--losses",
    "angle",
    *CORPUS,
    *QUICK,
    "--set",
    "student.epochs=40",
    "--pack",
    "2",
    "--checkpoint-minutes",
    "0.0005",
)


def states(place: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted((place / "runs" / "tiny").glob("student-*/*/*/model.pt"))
    return {path.parent.name: torch.load(path, weights_only=True)["state"] for path in files}


def two_homes(place: Path) -> tuple[Path, Path]:
    """Folders with the same corpus, features and teacher."""
    home, away = place / "home", place / "away"
    write_corpus(home / "tiny")
    for command in (("features", "--jobs", "1"), ("teacher",)):
        done = audio_rkd(home, *command, *CORPUS, *QUICK)
        assert done.returncode == 0, done.stderr
    shutil.copytree(home, away)
    return home, away


@pytest.mark.slow
def test_a_killed_workers_pack_is_taken_up_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dask.distributed import LocalCluster

    home, away = two_homes(tmp_path)
    assert audio_rkd(home, *DISTILL, "--jobs", "1").returncode == 0
    # The workers see the same files because they are started in the same folder.
    monkeypatch.chdir(away)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        command = [
            sys.executable,
            str(ROOT / "cli.py"),
            *DISTILL,
            "--backend",
            "dask",
            "--scheduler",
            cluster.scheduler_address,
        ]
        process = subprocess.Popen(command, cwd=away, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while not list((away / "runs").rglob("pack-*.pt")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, process.stderr and process.stderr.read()
        victim = next(iter(cluster.workers.values()))
        os.kill(victim.pid, signal.SIGKILL)  # type: ignore[union-attr]
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    expected, weights = states(home), states(away)
    assert expected.keys() == weights.keys() and len(weights) == 3
    for name, state in expected.items():
        assert all(torch.equal(tensor, weights[name][key]) for key, tensor in state.items())
    assert all(runs.read_result(path.parent)["status"] for path in (away / "runs").rglob("result.json"))


@pytest.mark.slow
def test_a_stopped_command_asks_its_workers_to_keep_how_far_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the next checkpoint would be due; what waits for another command's work says so meanwhile."""
    from dask.distributed import Client, LocalCluster
    from distributed.protocol import pickle

    home, away = two_homes(tmp_path)
    distill = (*DISTILL[:-1], "60")
    assert audio_rkd(home, *distill, "--jobs", "1").returncode == 0
    monkeypatch.chdir(away)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None) as cluster:
        on_it = (*distill, "--backend", "dask", "--scheduler", cluster.scheduler_address)
        program = [sys.executable, str(ROOT / "cli.py"), *on_it]
        with Client(cluster.scheduler_address) as client:
            other = standing.Place(str(tmp_path), ("", ""))
            theirs = client.submit(standing.work, other, pickle.dumps((time.sleep, (45,))), "theirs", pure=False)
            process = subprocess.Popen(program, cwd=away, stderr=subprocess.PIPE, text=True)
            theirs.result()
        deadline = time.monotonic() + 120
        while not list((away / "runs" / "tiny").glob("student-*/*/*/metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 143, errors
        assert f"do the work of another command, which stands in {tmp_path};" in errors
        assert list((away / "runs").rglob("pack-*.pt")), errors
        were = {path: path.read_text() for path in (away / "runs" / "tiny").glob("student-*/*/*/metrics.jsonl")}
        done = audio_rkd(away, *on_it)
        assert done.returncode == 0, done.stderr
    for path, lines in were.items():  # with their seconds: it went on from there, and did not begin anew
        assert path.read_text().startswith(lines)
    expected, weights = states(home), states(away)
    assert expected.keys() == weights.keys() and len(weights) == 3
    for name, state in expected.items():
        assert all(torch.equal(tensor, weights[name][key]) for key, tensor in state.items())
