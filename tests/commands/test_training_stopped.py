"""Trainings in real processes that are asked to stop, or that the system keeps from writing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.extracting import wait_for_end

CLI = Path(__file__).resolve().parents[2] / "cli.py"
HERE = ("--dataset", "urbansound8k", "--data", "clips", *tiny.QUICK, "--set", "teacher.model=cnn2", "--folds", "1 2")
ENDLESS = ("--set", "teacher.epochs=100000")


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    tiny.write_corpus(folder / "clips", clips=2)
    done = tiny.audio_rkd(folder, "features", "--dataset", "urbansound8k", "--data", "clips", *tiny.QUICK)
    assert done.returncode == 0
    return folder


def started(folder: Path, *options: str, command: str = "teacher", **how: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CLI), command, *HERE, *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **how,  # type: ignore[call-overload]
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_two_training_processes_end_with_the_command(where: Path, number: signal.Signals) -> None:
    """Each signal reaches the whole group, as a terminal that is closed sends it: resource trackers and all."""
    process = started(where, *ENDLESS, "--jobs", "2", "--pack", "1")
    assert process.stderr is not None
    assert any("epoch" in line for line in process.stderr)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    *progress, last = errors.splitlines()
    assert last.startswith("stopped. ") and all("epoch" in line for line in progress), errors
    wait_for_end(process.pid)
    assert list(where.rglob("pack-*.pt")) and not list((where / "runs").rglob("result.json"))


@pytest.mark.slow
def test_the_whole_table_ends_with_its_processes_and_goes_on(where: Path) -> None:
    """Stopped three times in its second stage: the teachers are finished, each call goes on from what the one before kept."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process = started(where, "--set", "student.epochs=100000", "--jobs", "2", command="table3")
        assert process.stderr is not None
        before = []
        for line in process.stderr:
            before.append(line.rstrip())
            if "/100000" in line:
                break
        os.killpg(process.pid, number)
        _, after = process.communicate(timeout=120)
        assert process.returncode == 128 + number
        *progress, last = after.splitlines()
        assert last.startswith("stopped. "), after
        told = "\n".join([*before, *progress])
        assert not any(word in told for word in ("Warning", "Traceback", "leaked", "no such file", "no checkpoint")), (
            told
        )
        assert ("going on from" in told) == (number != signal.SIGINT)
        wait_for_end(process.pid)
        home = next(where.rglob("student-*"))
        assert list(home.rglob("pack-*.pt")) and not list(home.rglob("result.json"))


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_limit_on_the_size_of_files(where: Path, jobs: str) -> None:
    """The file is named, nothing looks finished, and without the limit the same command goes on."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

    options = ("--jobs", jobs, "--pack", "1", "--seeds", jobs)
    process = started(where, *options, preexec_fn=limited)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert last.startswith("error: ") and "File too large. Raise the limit on the size of a file (ulimit -f)" in last
    assert last.removeprefix("error: ").split(":")[0].endswith((".pt", ".npz", ".json", ".jsonl")), last
    assert not list(where.rglob(f"fold*-seed{jobs}/result.json")) and not list(where.rglob(".*.tmp"))
    wait_for_end(process.pid)
    done = tiny.audio_rkd(where, "teacher", *HERE, *options[:1], "1", *options[2:])
    assert done.returncode == 0 and len(list(where.rglob(f"fold*-seed{jobs}/result.json"))) == 2
