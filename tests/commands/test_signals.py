"""Signals that ask to stop, on real processes: the exit code, nothing left, nothing said but one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.extracting import started, wait_for_end, wait_for_parts, write_corpus
from tests.tiny import ROOT

SLEEPS = """
import multiprocessing, sys, time
from pipeline import signals
def child():
    time.sleep(60)
if __name__ == "__main__":
    signals.COPY_SECONDS = 60.0
    with signals.stoppable():
        with signals.held_back():
            multiprocessing.get_context("fork").Process(target=child).start()
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print("tidying up", flush=True)
            if sys.argv[1] == "slow":  # a copy comes at any pace of the machine; what is written here ends that
                signals.COPY_SECONDS = float(sys.stdin.readline())
                print("no more copies", flush=True)
            time.sleep(60 if sys.argv[1] == "slow" else 0.1)
            signals.kill_children()
            sys.exit(signals.exit_code())
"""

STARTS = """
import os, sys, threading, time
from pipeline import signals
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
with signals.stoppable():
    try:
        with signals.held_back():
            os.kill(os.getpid(), int(sys.argv[1]))
            time.sleep(0.1)
            print("started whole", flush=True)
        print("not stopped", flush=True)
    except KeyboardInterrupt:
        print("stopped", flush=True)
        os._exit(signals.exit_code())
"""

IMPORTS = """
import time
from pipeline import signals
with signals.silent():
    print("ready", flush=True)
    time.sleep(60)
"""

ENDS = """
import sys, time
from pipeline import signals
signals.SAY_SECONDS = 0.1 if sys.argv[1] == "slow" else 60
with signals.stoppable(), signals.ending("the step ends"):
    try:
        if sys.argv[2] == "asked":  # as a training is, which ends its step
            with signals.first_asks(lambda: None):
                print("ready", flush=True)
                while not signals.received:
                    time.sleep(0.01)
        else:
            print("ready", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        pass
    time.sleep(1 if sys.argv[1] == "slow" else 0)
    raise SystemExit(signals.exit_code())
"""

DESTROYS = """
import time
from pipeline import signals
class Slow:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(0.5)
with signals.stoppable():
    try:
        Slow()
        time.sleep(30)
    except KeyboardInterrupt:
        raise SystemExit(signals.exit_code())
"""


def begun(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    """A process of its own group that has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("code", [SLEEPS, IMPORTS, DESTROYS])
def test_each_signal_stops_with_its_exit_code(number: signal.Signals, code: str) -> None:
    """While a command works, while it imports, and where Python drops an exception (in a destructor)."""
    process = begun(code, "quick")
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors == ""
    wait_for_end(process.pid)


@pytest.mark.parametrize("how", ["raised", "asked"])
@pytest.mark.parametrize("pace", ["slow", "quick"])
def test_whoever_waits_for_a_stop_is_told_what_still_goes_on(pace: str, how: str) -> None:
    process = begun(ENDS, pace, how)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ("stopping: the step ends; a second Ctrl-C ends at once\n" if pace == "slow" else "")


def test_a_copy_of_a_signal_does_not_cut_short_and_a_second_one_does() -> None:
    process = begun(SLEEPS, "slow", stdin=subprocess.PIPE)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.stdout is not None and process.stdout.readline() == "tidying up\n"
    os.killpg(process.pid, signal.SIGTERM)  # as timeout sends it, to the process and to its group
    assert process.stdin is not None
    process.stdin.write("0\n")
    process.stdin.flush()
    assert process.stdout.readline() == "no more copies\n"
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors == "stopped at once. The same command goes on from what was kept last.\n"
    wait_for_end(process.pid)


def test_what_nohup_ignores_stays_ignored() -> None:
    process = begun(SLEEPS, "quick", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    os.kill(process.pid, signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_stage_one_is_stopped_as_by_ctrl_c(tmp_path: Path, number: signal.Signals) -> None:
    write_corpus(tmp_path / "toy", folds=1, clips=100)
    process = started(tmp_path, "--jobs", "2")
    wait_for_parts(tmp_path, 1, process)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "clips are done and kept; the same command goes on from there" in errors.splitlines()[-1]
    assert "Traceback" not in errors and "Warning" not in errors
    wait_for_end(process.pid)
    assert not list(tmp_path.rglob("*.h5")) and not list(tmp_path.rglob("*.lock"))


@pytest.mark.slow
def test_workers_that_start_do_not_see_ctrl_c(tmp_path: Path) -> None:
    """Twice, while they import: no traceback of theirs."""
    write_corpus(tmp_path / "toy", folds=1, clips=100)
    process = started(tmp_path, "--jobs", "2")
    while (
        process.poll() is None
        and len(list(Path(f"/proc/{process.pid}/task/{process.pid}").glob("children")))
        and (Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().count(" ") < 3)
    ):
        time.sleep(0.01)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors and errors.splitlines()[-1].startswith("stopped")
    wait_for_end(process.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_is_whole_though_another_thread_lets_the_signal_through(number: signal.Signals) -> None:
    """Half a start left a child without its task, which printed a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", STARTS, str(int(number))], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "started whole\nstopped\n", "")
