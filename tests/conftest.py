"""What several tests share: the real mini set where it is at hand, and one thread a process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Two test processes on two cores: threads inside each would only slow both.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

MINI = Path(__file__).resolve().parents[2] / "shared" / "urbansound8k-mini"


@pytest.fixture(scope="session")
def mini() -> Path:
    """The folder of 720 real UrbanSound8K clips, beside the project; tests that need it skip where it is absent."""
    if not MINI.is_dir():
        pytest.skip("the real mini set is not on this machine")
    return MINI


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile librosa's kernels before the first test, one process after the other (see ``features.warm_up``)."""
    controller = not hasattr(session.config, "workerinput") and getattr(
        session.config.option, "numprocesses", None
    )
    if not controller:
        from pipeline import features
        from pipeline.config import FeatureSpec

        for plain in (True, False):
            features.warm_up(FeatureSpec(seconds=1.0), plain=plain)
