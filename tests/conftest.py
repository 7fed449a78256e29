"""What several tests share: the real mini set where it is at hand, and one thread per process."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import numpy as np

    from pipeline.config import FeatureSpec
    from pipeline.extraction import workers

# Two test processes on two cores: threads inside each would only slow both.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Tests start many processes: where Python is told to keep no compiled files, each would compile the whole project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What a process wrote, the next one reads without it: fsync is for machines that lose their power, which no test does. Each takes
# milliseconds, and a training writes dozens of files.
os.fsync = lambda descriptor: None

# A shell that starts the tests in the background hands Ctrl-C on as ignored, to every process that they start too; nohup SIGHUP.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

MINI = Path(__file__).resolve().parents[2] / "shared" / "urbansound8k-mini"


@pytest.fixture(scope="session")
def mini() -> Path:
    """The folder of 720 real UrbanSound8K clips, beside the project; tests that need it skip where it is absent."""
    if not MINI.is_dir():
        pytest.skip("the real mini set is not on this machine")
    return MINI


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two folds of five short clips in UrbanSound8K's layout."""
    from tests.extracting import write_corpus

    return write_corpus(tmp_path / "toy")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the clips that were computed, by a quick stand-in for the features that still reads the file."""
    import numpy as np

    from pipeline.audio import reading as audio
    from pipeline.extraction import workers

    names: list[str] = []

    def quick(job: workers.Job, spec: FeatureSpec, plain: bool) -> np.ndarray:
        clean = audio.read_clip(job.path, sr=spec.sr, samples=spec.samples, seconds=job.file.seconds)
        names.append(job.clip)
        shape = (2, *spec.shape)
        return np.resize(clean, shape).astype(np.float32) + np.float32(plain)

    monkeypatch.setattr(workers, "views", quick)
    monkeypatch.setattr(workers, "warm", lambda plain: None)
    monkeypatch.setattr(workers, "TASK_CLIPS", 2)
    return names


@pytest.fixture(autouse=True)
def nothing_untold() -> None:
    """What another test met (runs not checked, damage, a disk without locks) is no news of a command in the same process."""
    for name in ("pipeline.runs.seal", "pipeline.runs.damage"):
        if module := sys.modules.get(name):
            module.told()
    if locks := sys.modules.get("pipeline.locks"):
        locks.TOLD.clear()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile librosa's kernels before the first test, one process after the other (see ``features.warm_up``), and keep its filters.

    And time pack sizes for a moment: on a CPU no number depends on them, and four seconds are longer than most tests' trainings.
    """
    controller = not hasattr(session.config, "workerinput") and getattr(session.config.option, "numprocesses", None)
    if not controller:
        from pipeline import features
        from pipeline.config import FeatureSpec
        from tests.filters import keep_filters

        keep_filters()
        for plain in (True, False):
            features.warm_up(FeatureSpec(seconds=1.0), plain=plain)

        from pipeline.training import packing

        packing.MEASURED_SECONDS = 0.04


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests and all of torch stay to the end: Python's collector need not go through them again and again."""
    gc.collect()
    gc.freeze()
