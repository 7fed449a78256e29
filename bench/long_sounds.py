"""What ``predict`` costs on long sounds: memory at the peak, time per window, and the start.

    python -m bench.long_sounds [--minutes 120] [--run RUN]

Each in a process of its own, as a user starts it: one clip, and a sound of some minutes (16 bits, 44.1 kHz, stereo).
Expected: at most 100 MB more at the peak for two hours than for a clip; for 40 minutes at most 1.15 x the windows x the
time per view that ``bench.features`` prints (printed here as well, computed in this process); the clip in under 3 s. The
network is a fresh ``cnn2`` with the published input unless RUN names another.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from bench.features import synthetic, timed, views
from pipeline import features, models
from pipeline.config import FeatureSpec

ROOT = Path(__file__).resolve().parents[1]
RATE = 44100


def write_run(path: Path) -> None:
    """A checkpoint of a network that has learned nothing."""
    spec = FeatureSpec()
    network = models.build("cnn2", spec.shape, 10)
    state = network.state_dict()
    torch.save(
        {
            "format": 1,
            "role": "student",
            "model": "cnn2",
            "fold": 1,
            "seed": 0,
            "mix": "ce:1",
            "corpus": "bench",
            "shape": list(spec.shape),
            "classes": list("abcdefghij"),
            "features": vars(spec),
            "dataset": "bench",
            "synthetic": False,
            "state": state,
            "best_state": state,
        },
        path,
    )


def write_sound(path: Path, seconds: float) -> None:
    """Noise of changing level with a tone, written a minute at a time."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        left = round(seconds * RATE)
        while left:
            count = min(left, 60 * RATE)
            t = np.arange(count) / RATE
            tone = 0.2 * np.sin(2 * np.pi * 440 * t) * np.sin(2 * np.pi * 0.1 * t) ** 2
            file.write(tone[:, None] + 0.02 * rng.standard_normal((count, 2)))
            left -= count


def predicted(run: Path, sound: Path) -> tuple[float, float, float, int]:
    """Wall seconds, CPU seconds, MB at the peak and windows of a process that predicts ``sound``."""
    # The peak of this program alone: getrusage's begins with that of the process which starts it.
    code = (
        "import sys; from cli import main\n"
        "try: main()\n"
        "finally: print(*(w.split()[1] for w in open('/proc/self/status') if 'VmHWM' in w), file=sys.stderr)"
    )
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(run), str(sound), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, int(done.stderr.split()[-1]) / 1024, len(json.loads(done.stdout)["windows"])


def view_seconds(clips: int = 12, rounds: int = 5) -> float:
    """CPU seconds of ``extract`` a view, as ``bench.features`` takes them."""
    spec = FeatureSpec()
    features.warm_up(spec)
    torch.set_num_threads(1)
    least = [
        min(timed(lambda: features.extract(pair, spec)) for _ in range(rounds))  # noqa: B023
        for pair in (views(y, spec) for y in synthetic(clips, spec))
    ]
    return float(np.mean(least)) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120, help="length of the long sound")
    parser.add_argument("--run", type=Path, help="a run folder or model.pt")
    arguments = parser.parse_args()
    view = view_seconds()
    print(f"a view: {1e3 * view:.2f} ms of CPU time")
    with tempfile.TemporaryDirectory() as name:
        run = arguments.run or Path(name) / "model.pt"
        if not arguments.run:
            write_run(run)
        measured = []
        for minutes in (4 / 60, arguments.minutes):
            sound = Path(name) / "sound.wav"
            write_sound(sound, 60 * minutes)
            wall, cpu, peak, windows = predicted(run, sound)
            measured.append((wall, peak))
            ratio = f", {wall / (windows * view):.2f} x windows x view" if windows > 1 else ""
            print(f"{minutes:8.2f} min {windows:6} windows {wall:8.1f} s wall {cpu:8.1f} s CPU {peak:7.0f} MB{ratio}")
    print(f"the long sound takes {measured[1][1] - measured[0][1]:+.0f} MB more than the clip")


if __name__ == "__main__":
    main()
