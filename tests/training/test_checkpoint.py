"""Nothing lost: files that are whole or not used, and real processes that are killed and go on."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import signals, training
from pipeline.training import Run, checkpoint
from tests.trainings import MIXES, QUICK, assert_equal, every_checkpoint, fit, made_up, run_of, without_seconds

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = dataclasses.replace(QUICK, epochs=4)
SHORT = dataclasses.replace(QUICK, epochs=1)


@pytest.fixture(scope="module")
def data() -> Any:
    return made_up()


def runs() -> list[Run]:
    """Three runs that end at different steps."""
    return [run_of(MIXES[6]), run_of("soft", fold=2, seed=1, count=25, teacher=1), run_of("ce", seed=2)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.pt"
    checkpoint.write(path, {"x": torch.arange(3), "y": [None, 1.5, "z"]}, "abc")
    record = checkpoint.read(path, "abc")
    assert torch.equal(record["x"], torch.arange(3)) and record["y"] == [None, 1.5, "z"]
    assert [p.name for p in path.parent.iterdir()] == ["a.pt"]
    with pytest.raises(checkpoint.Stale, match="other settings"):
        checkpoint.read(path, "abd")


def test_any_change_to_the_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint.write(path, {"x": torch.arange(300)}, "abc")
    whole = path.read_bytes()
    for place in (0, 25, 60, 100, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises((checkpoint.Damaged, checkpoint.Stale), match=r"a\.pt"):
            checkpoint.read(path, "abc")
    for length in (0, 10, 90, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(checkpoint.Damaged):
            checkpoint.read(path, "abc")


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("code was run",)

    path = tmp_path / "a.pt"
    checkpoint.write(path, {"x": Evil()}, "abc")
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.read(path, "abc")


def test_a_foreign_checkpoint_is_named_and_left_aside(data: Any, tmp_path: Path) -> None:
    """Its line and its checksum are right, what follows is somebody else's."""
    path = tmp_path / "a.pt"
    for content in (pickle.dumps({"x": 1}), b"no pickle", b""):
        path.write_bytes(f"{checkpoint.FIRST} abc {hashlib.sha256(content).hexdigest()}\n".encode() + content)
        with pytest.raises(checkpoint.Damaged, match=r"a\.pt: not what this version writes"):
            checkpoint.read(path, "abc")
    checkpoint.write(path, [1], "abc")  # type: ignore[arg-type]
    with pytest.raises(checkpoint.Damaged, match=r"a\.pt: holds no table"):
        checkpoint.read(path, "abc")


@pytest.mark.parametrize("layout", ["loop", "vmap"])
def test_going_on_from_every_checkpoint_gives_the_same_bits(data: Any, tmp_path: Path, layout: str) -> None:
    """A checkpoint after every step; from each the rest is trained again, in the middle of epochs and at their ends."""
    expected = fit(data, runs(), SETTINGS, layout=layout)
    kept, watched = every_checkpoint(path := tmp_path / "pack.pt", data, runs(), SETTINGS, layout=layout)
    assert len(kept) == 4 * 5 + 1
    for one, other in zip(expected, watched):
        assert_equal(one, other)
    for content in kept[::4] + kept[-2:]:
        path.write_bytes(content)
        messages: list[str] = []
        # Another layout is asked for: the checkpoint's own is kept.
        other = {"loop": "vmap", "vmap": "loop"}[layout]
        again = fit(data, runs(), SETTINGS, checkpoint=path, checkpoint_seconds=1e9, layout=other, say=messages.append)
        assert "going on from" in messages[0]
        for one, other in zip(expected, again):
            assert_equal(one, other)
            assert one.steps == other.steps


def test_a_finished_checkpoint_trains_nothing(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "pack.pt"
    first = fit(data, runs(), SETTINGS, checkpoint=path)
    seen: list[int] = []
    again = fit(data, runs(), SETTINGS, checkpoint=path, on_epoch=lambda r, record: seen.append(r))
    assert not seen
    for one, other in zip(first, again):
        assert_equal(one, other)


def test_a_damaged_checkpoint_is_named_and_not_used(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "pack.pt"
    expected = fit(data, runs(), SHORT, checkpoint=path)
    content = path.read_bytes()
    for damaged in (content[:-7], content[:200] + b"\0" * 50 + content[250:], b"", b"no checkpoint at all"):
        path.write_bytes(damaged)
        messages: list[str] = []
        again = fit(data, runs(), SHORT, checkpoint=path, say=messages.append)
        assert len(messages) == 1 and "pack.pt" in messages[0] and "from the beginning" in messages[0]
        for one, other in zip(expected, again):
            assert_equal(one, other)


def test_a_checkpoint_of_something_else_is_not_used(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "pack.pt"
    samples, labels, teacher = data
    fit(data, runs(), SHORT, checkpoint=path)
    content = path.read_bytes()
    changed = samples.clone()
    changed[runs()[0].task.train[0]] += 1
    taught = training.Stored({**teacher.outputs, "logits": teacher.outputs.logits + 1})
    others = [
        (data, runs(), dataclasses.replace(SHORT, lr=0.011)),
        (data, [*runs()[:2], run_of("ce", seed=3)], SHORT),
        (data, [*runs()[:2], run_of("ce:2", seed=2)], SHORT),
        ((changed, labels, teacher), runs(), SHORT),
        ((samples, labels, taught), runs(), SHORT),
    ]
    for where, trained_runs, settings in others:
        path.write_bytes(content)
        messages: list[str] = []
        trained = fit(where, trained_runs, settings, checkpoint=path, say=messages.append)
        assert "of other settings, runs, data" in messages[0]
        for one, other in zip(fit(where, trained_runs, settings), trained):
            assert_equal(one, other)


SCRIPT = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(2)
from tests import trainings
from tests.training import test_checkpoint
data = trainings.made_up()
slow = lambda r, record: (print(record["epoch"], flush=True), time.sleep(float(sys.argv[2])))
trainings.fit(data, test_checkpoint.runs(), test_checkpoint.SETTINGS, on_epoch=slow,
                  checkpoint=Path(sys.argv[1]), checkpoint_seconds=0.0)
print("finished", flush=True)
"""


def start(path: Path, pause: float = 0.05) -> subprocess.Popen[str]:
    """A training that rests for ``pause`` seconds behind each epoch."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), str(pause)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(path: Path, process: subprocess.Popen[str], moment: float) -> None:
    end = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(moment)


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "pack.pt"
    expected = fit(data, runs(), SETTINGS)
    for moment in (0.02, 0.15):
        process = start(path)
        wait_for(path, process, moment)
        process.kill()
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
        assert path.exists()
    trained = fit(data, runs(), SETTINGS, checkpoint=path)
    for one, other in zip(expected, trained):
        assert_equal(one, other)


@pytest.mark.slow
def test_ctrl_c_finishes_the_step_and_says_how_far_it_got(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "pack.pt"
    process = start(path, pause=1)  # long enough for a machine that is busy
    wait_for(path, process, 0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode != 0 and "finished" not in out
    last = err.strip().splitlines()[-1]
    assert "Interrupted: 3 runs at epoch" in last and str(path) in last and "goes on from there" in last
    expected = fit(data, runs(), SETTINGS)
    seen: list[int] = []
    trained = fit(data, runs(), SETTINGS, checkpoint=path, on_epoch=lambda r, record: seen.append(record["epoch"]))
    assert len(seen) < 3 * 4 + 1
    for one, other in zip(expected, trained):
        assert_equal(one, other)
    assert without_seconds(trained[0].history) == without_seconds(expected[0].history)


def test_a_thread_that_is_asked_to_stop_keeps_its_step(data: Any, tmp_path: Path) -> None:
    """As a dask worker's, which no signal reaches."""
    path = tmp_path / "pack.pt"

    def ask(r: int, record: dict[str, Any]) -> None:
        if record["epoch"] == 2:
            signals.ask_thread(threading.get_ident())

    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(fit, data, runs(), SETTINGS, checkpoint=path, checkpoint_seconds=3600.0, on_epoch=ask)
        with pytest.raises(training.Interrupted, match=r"3 runs at epoch 3 of 4, step 1, kept in .*pack.pt"):
            stopped.result()
        signals.asked.clear()
        trained = pool.submit(fit, data, runs(), SETTINGS, checkpoint=path).result()
    assert not signals.asks
    for one, other in zip(fit(data, runs(), SETTINGS), trained):
        assert_equal(one, other)


def test_ctrl_c_without_a_checkpoint_path(data: Any) -> None:
    def press(r: int, record: dict[str, Any]) -> None:
        if record["epoch"] == 1 and r == 0:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(training.Interrupted, match=r"3 runs at epoch 2 of 4, step 1, not kept"):
        fit(data, runs(), SETTINGS, on_epoch=press)
    assert signal.getsignal(signal.SIGINT) == before
    assert np.isfinite(fit(data, runs(), SETTINGS)[0].logits).all()
