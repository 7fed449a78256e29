"""Processes of joblib's: blind to signals and to files that hide modules, and gone with whoever started them."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import joblib
import pytest

from pipeline import signals
from pipeline.processes import loky, shadowing
from pipeline.report import plots
from pipeline.report.page import pictures


def state(number: int) -> tuple[int, int, str, bool]:
    """Of a worker: its number, its process, the module random that it has, and whether signals to stop reach it."""
    return number, os.getpid(), random.__file__, not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(signals.STOPS)


def test_a_worker_sees_no_signal_and_takes_no_file_here_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shadowing.OwnFolderHidden, "told", True)
    (tmp_path / "random.py").write_text("raise RuntimeError('mine')\n")
    with loky.results((joblib.delayed(state)(k) for k in range(6)), 2) as outcomes:
        told = list(outcomes)
    assert [number for number, *_ in told] == list(range(6))
    assert os.getpid() not in {process for _, process, *_ in told}
    assert {(module, reached) for *_, module, reached in told} == {(random.__file__, False)}


def test_whoever_leaves_by_an_exception_leaves_no_worker(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        loky.results((joblib.delayed(worked)(tmp_path, k) for k in range(50)), 2) as outcomes,
    ):
        next(outcomes)
        raise KeyboardInterrupt
    processes = {int(path.name) for path in tmp_path.iterdir()}
    deadline = time.monotonic() + 20
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes and not any(map(alive, processes))


def worked(folder: Path, number: int) -> int:
    (folder / str(os.getpid())).touch()
    time.sleep(0.01 if number == 0 else 30)
    return number


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_the_pictures_of_a_report_are_drawn_by_such_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    class Results:
        def __init__(self, calls, jobs: int) -> None:
            asked.append(jobs)
            self.calls = list(calls)

        def __enter__(self) -> list[str]:
            return [function(*arguments) for function, arguments, _ in self.calls]

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    monkeypatch.setattr(loky, "results", Results)
    monkeypatch.setattr(plots, "save", lambda picture, folder: f"{folder}/{picture}")
    many = [(str(k), tmp_path) for k in range(2 * pictures.PICTURES_A_PROCESS)]
    assert pictures.drawings(many) == [f"{tmp_path}/{k}" for k, _ in many] and asked == [2]
    assert pictures.drawings(many[:2]) == [f"{tmp_path}/0", f"{tmp_path}/1"] and asked == [2]
