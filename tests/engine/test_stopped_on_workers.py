"""Trainings on workers by address that are stopped in the middle of an epoch: workers keep their step, and the same command goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.training import checkpoint
from tests.engine.test_workers_apart import weights, worker
from tests.tiny import QUICK, ROOT, audio_rkd, write_corpus

pytest.importorskip("distributed", reason="the extra dask is not installed")

CORPUS = ("--dataset", "urbansound8k", "--data", "tiny", "--preset", "demo", *QUICK)
#: Two packs; the next checkpoint would be due long behind the end.
TWO_PACKS = ("--set", "student.epochs=100", "--seeds", "0-1", "--pack", "3", "--checkpoint-minutes", "60")
DISTILL = ("distill", "--losses", "angle,soft", *CORPUS, *TWO_PACKS)


def kept(place: Path) -> dict[str, tuple[int, int]]:
    """Name of each pack's checkpoint → epochs that are whole, steps of the next one."""
    paths = sorted((place / "runs").rglob("pack-*.pt"))
    progress = {path.name: checkpoint.read(path)["progress"] for path in paths}
    return {name: (done["epoch"], done["done"]) for name, done in progress.items()}


def records(place: Path) -> list[list[str]]:
    """Of each student that has begun, a line for each epoch, with its seconds: no two trainings have the same."""
    files = sorted((place / "runs" / "tiny").glob("student-*/*/*/metrics.jsonl"))
    return [path.read_text().splitlines() for path in files]


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)


@pytest.mark.slow
def test_workers_keep_their_step_where_the_command_is_stopped_or_killed_and_a_held_one_is_not_waited_for(
    tmp_path: Path,
) -> None:
    from dask.distributed import LocalCluster

    home, away, apart = tmp_path / "home", tmp_path / "away", tmp_path / "workers"
    write_corpus(home / "tiny")
    for command in (("features", "--jobs", "1"), ("teacher",)):
        done = audio_rkd(home, *command, *CORPUS)
        assert done.returncode == 0, done.stderr
    shutil.copytree(home, away)
    assert audio_rkd(home, *DISTILL).returncode == 0
    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        worker(cluster.scheduler_address, apart / "first") as first,
        worker(cluster.scheduler_address, apart / "second"),
    ):
        cluster.wait_for_workers(2, timeout=120)
        on_it = (*DISTILL, "--backend", "dask", "--scheduler", cluster.scheduler_address)

        def begin() -> subprocess.Popen[str]:
            """The command, once each student has two more epochs than there were."""
            were = [len(lines) for lines in records(away)] or [0] * 6
            program = [sys.executable, str(ROOT / "cli.py"), *on_it]
            process = subprocess.Popen(program, cwd=away, stderr=subprocess.PIPE, text=True)
            wait_for(
                lambda: len(now := records(away)) == 6 and all(len(a) >= b + 2 for a, b in zip(now, were)), process
            )
            return process

        killed = begin()
        killed.kill()
        killed.communicate()
        wait_for(lambda: len(list((away / "runs").rglob("pack-*.pt"))) == 2)
        before = kept(away)
        assert all(1 <= whole < 100 and steps > 0 for whole, steps in before.values()), before

        process = begin()
        first.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 143 and "1 of 2 dask workers did not say that their step has ended" in errors
        assert "stopping: the step ends" in errors
        later = [name for name, far in kept(away).items() if far > before[name]]
        assert len(later) == 1, "the other one kept how far it came"
        first.send_signal(signal.SIGCONT)
        wait_for(lambda: all(far > before[name] for name, far in kept(away).items()))
        assert all(whole < 100 for whole, _ in kept(away).values())

        were = records(away)
        done = audio_rkd(away, *on_it)
        assert done.returncode == 0, done.stderr
    for first_lines, lines in zip(were, records(away), strict=True):
        assert lines[: len(first_lines)] == first_lines and len(lines) == 100, "it went on, and did not begin anew"
    expected, learned = weights(home), weights(away)
    assert expected.keys() == learned.keys() and len(expected) == 3 + 6
    for name, state in expected.items():
        assert all(torch.equal(tensor, learned[name][key]) for key, tensor in state.items()), name
