"""What a term remembers (contrast): written by the runs that take part, and as it was after ``kill -9``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline.training import Run, memory
from pipeline.training.memory import Recollection, padded
from tests.tiny import ROOT
from tests.trainings import QUICK, assert_equal, fit, made_up, run_of

SCRIPT = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(2)
from tests import trainings
from tests.training import test_memory
trainings.fit(trainings.made_up(), test_memory.runs(), trainings.QUICK, checkpoint=Path(sys.argv[1]), checkpoint_seconds=0.0,
              on_epoch=lambda r, record: time.sleep(0.2))
"""


def runs() -> list[Run]:
    """Of unlike length, so that one takes no part in the last steps of an epoch."""
    return [run_of("ce,contrast@K=9"), run_of("ce:2,contrast:3@K=9", fold=2, teacher=1, count=30)]


def test_runs_that_take_no_part_remember_what_they_did() -> None:
    arrays = {"a rows": torch.zeros(2, 3), "a z": torch.ones(2)}
    kept = Recollection(arrays, torch.tensor([[4, 7, 9], [1, 2, 2**62]]))
    assert kept.of(torch.tensor([[9, 4], [2, 1]])).places.tolist() == [[2, 0], [1, 0]]
    place = arrays["a rows"].data_ptr()
    kept.write({"a rows": torch.full((2, 3), 5.0)}, torch.tensor([True, False]))
    assert arrays["a rows"].tolist() == [[5] * 3, [0] * 3] and arrays["a rows"].data_ptr() == place
    kept.write({"a z": torch.tensor([2.0, 3.0])}, None)
    assert arrays["a z"].tolist() == [2, 3]
    assert padded([torch.ones(2, 2), None, torch.ones(3, 2)]).sum((1, 2)).tolist() == [4, 0, 6]


def test_nothing_is_remembered_where_no_term_asks() -> None:
    data = made_up()
    assert memory.recollection([run_of("ce,hinton")], None, data[1], 3) is None  # type: ignore[arg-type]


@pytest.mark.slow
def test_kill_9_and_the_same_command_again_give_the_same_bits(tmp_path: Path) -> None:
    path, data = tmp_path / "pack.pt", made_up()
    expected = fit(data, runs(), QUICK)
    for moment in (0.0, 0.1):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], cwd=ROOT, env=environment)
        end = time.monotonic() + 120
        while not path.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(moment)
        process.kill()
        assert process.wait() in (-signal.SIGKILL, 0) and path.exists()
    told: list[str] = []
    for one, other in zip(expected, fit(data, runs(), QUICK, checkpoint=path, say=told.append), strict=True):
        assert_equal(one, other)
        assert all(torch.equal(one.adapters[name], other.adapters[name]) for name in one.adapters)
    assert told and told[0].startswith("going on from")
