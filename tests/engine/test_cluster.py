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


@pytest.mark.slow
def test_a_killed_workers_pack_is_taken_up_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dask.distributed import LocalCluster

    home, away = tmp_path / "home", tmp_path / "away"
    write_corpus(home / "tiny")
    for command in (("features", "--jobs", "1"), ("teacher",)):
        done = audio_rkd(home, *command, *CORPUS, *QUICK)
        assert done.returncode == 0, done.stderr
    shutil.copytree(home, away)
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
