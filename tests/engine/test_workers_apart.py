"""Workers in folders of their own, at a scheduler by its address: features and trainings are those of one process, also where they are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import cache
from tests.tiny import ROOT, audio_rkd, write_corpus

pytest.importorskip("distributed", reason="the extra dask is not installed")

CORPUS = ("--dataset", "urbansound8k", "--data", "tiny")
SETTINGS = {"teacher.epochs": 1, "student.epochs": 2, "features.bins": 8, "features.bins_per_octave": 24}
SETS = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
COMMANDS = (
    ("features", *CORPUS, *SETS),
    ("table3", *CORPUS, *SETS, "--pack", "5", "--checkpoint-minutes", "0.0005"),
    ("distill", "--losses", "gap2:0.001,soft", *CORPUS, *SETS, "--folds", "1"),
)

#: In a folder of plugins, which workers have to be told of.
LOSS = """FORMULA = "mean of |z_s - z_t|^2"
READS = ("logits",)
TEACHER = ("logits",)


def gap2(student, teacher, labels):
    return (student.logits - teacher.logits).square().mean((-2, -1))
"""


@contextmanager
def worker(address: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A dask worker that stands in a new folder, and is called as it."""
    folder.mkdir(parents=True)
    dask = str(Path(sys.executable).with_name("dask"))
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", folder.name]
    options += ["--local-directory", str(folder.parent / "scratch")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [dask, "worker", address, *options]
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def kill_a_busy_one(scheduler: Any, processes: dict[str, subprocess.Popen[bytes]], ready: Callable[[], bool]) -> None:
    """``kill -9`` of a worker that is at work, as soon as it is ``ready``; it is taken out of ``processes``."""
    while True:
        busy = [
            state.name for state in list(scheduler.workers.values()) if state.processing and state.name in processes
        ]
        if busy and ready():
            processes.pop(busy[0]).send_signal(signal.SIGKILL)
            return
        time.sleep(0.002)


def numbers(place: Path) -> dict[str, np.ndarray]:
    files = sorted((place / "cache").rglob("fold*.h5"))
    return {path.name: np.asarray(cache.read_fold(path).features) for path in files}


def weights(place: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted((place / "runs").rglob("model.pt"))
    return {str(path.relative_to(place)): torch.load(path, weights_only=True)["state"] for path in files}


@pytest.mark.slow
def test_workers_that_stand_elsewhere_and_are_killed_give_the_same_bits(tmp_path: Path) -> None:
    from dask.distributed import LocalCluster

    home, away, apart = tmp_path / "home", tmp_path / "away", tmp_path / "workers"
    write_corpus(home / "tiny")
    (home / "mine" / "losses").mkdir(parents=True)
    (home / "mine" / "losses" / "gap2.py").write_text(LOSS)
    (home / "rkd.toml").write_text('plugins = ["mine"]\n')
    shutil.copytree(home, away)
    for command in COMMANDS:
        done = audio_rkd(home, *command)
        assert done.returncode == 0, done.stderr
    moments = (lambda: True, lambda: any((away / "runs").rglob("pack-*.pt")), None)
    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        worker(cluster.scheduler_address, apart / "first") as first,
        worker(cluster.scheduler_address, apart / "second") as second,
        worker(cluster.scheduler_address, apart / "third") as third,
    ):
        cluster.wait_for_workers(3, timeout=120)
        processes = {"first": first, "second": second, "third": third}
        for command, moment in zip(COMMANDS, moments, strict=True):
            arguments = (cluster.scheduler, processes, moment)
            killing = threading.Thread(target=kill_a_busy_one, args=arguments, daemon=True)
            if moment:
                killing.start()
            done = audio_rkd(away, *command, "--backend", "dask", "--scheduler", cluster.scheduler_address)
            assert done.returncode == 0, done.stderr
            assert moment is None or not killing.is_alive()
        assert len(processes) == 1, "one was killed at the features, and one at the trainings"
    expected, computed = numbers(home), numbers(away)
    assert expected.keys() == computed.keys() and len(expected) == 3
    assert all(np.array_equal(computed[name], features) for name, features in expected.items())
    states, learned = weights(home), weights(away)
    assert states.keys() == learned.keys() and len(states) == 3 + 8 * 3 + 1
    for name, state in states.items():
        assert all(torch.equal(tensor, learned[name][key]) for key, tensor in state.items()), name
    assert [list(folder.iterdir()) for folder in sorted(apart.iterdir()) if folder.name != "scratch"] == [[], [], []]
