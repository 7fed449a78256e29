"""What ``predict`` costs on long sounds: memory at the peak, time per window, and the start.

    python -m bench.long_sounds [--minutes 120] [--run RUN] [--rounds 5]

Each as a user starts it: one clip, and a sound of some minutes (16 bits, 44.1 kHz, stereo). Memory is that of the command's
process at its peak and, beside it, what its second process shares with no other.
Before them, in this process and taking turns so that all meet the same machine: a view, as ``bench.features`` takes it, and
a window of two minutes of that sound, all that ``predict`` does behind the start, in one process and in two.
Expected: at most 100 MB more at the peak for two hours than for a clip; a window at most 1.15 x a view, and 40 minutes, less
the time of the clip, at most 1.15 x the windows x the view; the clip in under 3 s. The network is a fresh ``cnn2`` with the
published input unless RUN names another.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from bench.features import synthetic, timed, views
from pipeline import features, models
from pipeline.config import FeatureSpec
from pipeline.deploy import prediction
from pipeline.features import steps, vectors
from pipeline.processes import heap

ROOT = Path(__file__).resolve().parents[1]
RATE = 44100

#: Between two looks at the memory of a second process.
LOOK_SECONDS = 0.2

#: Of ``bench.features`` that are timed, and that the sounds are made of.
CLIPS = 24


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
    """The clips that ``bench.features`` times, one behind the other, again and again: windows like its views."""
    spec = FeatureSpec()
    clips = [soxr.resample(y, spec.sr, RATE) for y in synthetic(CLIPS, spec)]
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        left = round(seconds * RATE)
        for clip in itertools.cycle(clips):
            part = clip[:left]
            file.write(np.stack([part, part], axis=1))
            left -= len(part)
            if not left:
                break


def predicted(run: Path, sound: Path, folder: Path) -> tuple[float, float, float, int]:
    """Wall seconds, CPU seconds, MB at the peak and windows of a command that predicts ``sound``, its second process included."""
    # The peak of this program alone: getrusage's begins with that of the process which starts it.
    code = (
        "import sys; from cli import main\n"
        "try: main()\n"
        "finally: print(*(w.split()[1] for w in open('/proc/self/status') if 'VmHWM' in w), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "predict", str(run), str(sound), "--json"]
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    with (folder / "out").open("w+") as out, (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=errors)
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        out.seek(0), errors.seek(0)
        lines = errors.read().splitlines()
        if process.returncode:
            sys.exit("\n".join(lines))
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return wall, cpu, max(peak, int(lines[-1])) / 1024, len(json.load(out)["windows"])


def memory(process: int) -> int:
    """kB of a process at its peak so far, and what its children now share with no other: at least what all of them take together."""
    with suppress(OSError, KeyError):  # one ended meanwhile
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        own = sum(value for pid in children for row, value in rows(f"/proc/{pid}/smaps_rollup") if "Private_" in row)
        return own + dict(rows(f"/proc/{process}/status"))["VmHWM:"]
    return 0


def rows(path: str) -> list[tuple[str, int]]:
    """Those of a file of the system that give a size: name, kB."""
    words = (line.split() for line in Path(path).read_text().splitlines())
    return [(row[0], int(row[1])) for row in words if row[-1:] == ["kB"]]


def turns(run: Path, sound: Path, rounds: int) -> np.ndarray:
    """(rounds, 5): CPU seconds of a view, CPU and wall seconds of a window of ``sound`` in one process and in two, means of a turn.

    Not the least of each: under load a short piece of work finds a quiet moment sooner than a long one.
    """
    spec = FeatureSpec()
    heap.keep_small(*prediction.HEAP)
    members = prediction.ensemble([run])
    features.warm_up(spec)
    pairs = [views(y, spec) for y in synthetic(CLIPS, spec)]
    seconds = []
    for _ in range(rounds + 1):
        steps.load()
        row = [sum(timed(lambda: features.extract(pair, spec)) for pair in pairs) / (2 * CLIPS)]  # noqa: B023
        steps.chosen[0] = vectors  # as ``predict``, which does without numba
        for two in (False, True):
            start, wall = cpu_seconds(), time.perf_counter()
            windows = len(prediction.predict_file(members, sound, two_processes=two).times)
            row += [(cpu_seconds() - start) / windows, (time.perf_counter() - wall) / windows]
        seconds.append(row)
    return np.array(seconds[1:])  # the first builds filters


def cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120, help="length of the long sound; 0: the turns alone")
    parser.add_argument("--run", type=Path, help="a run folder or model.pt")
    parser.add_argument("--rounds", type=int, default=5, help="how often view and windows take turns")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.minutes < 0:
        parser.error("--rounds: expected at least 1, --minutes at least 0")
    with tempfile.TemporaryDirectory() as name:
        run = arguments.run or Path(name) / "model.pt"
        if not arguments.run:
            write_run(run)
        sound = Path(name) / "sound.wav"
        write_sound(sound, 120)
        seconds = turns(run, sound, arguments.rounds)
        view = float(np.median(seconds[:, 0]))
        print(f"medians of {arguments.rounds} turns: a view {1e3 * view:.2f} ms of CPU time")
        for name, part in (("one process", seconds[:, 1:3]), ("two processes", seconds[:, 3:])):
            cpu, wall = (1e3 * np.median(part, axis=0)).tolist()
            over = np.median(part / seconds[:, :1], axis=0).tolist()
            print(
                f"a window in {name}: {cpu:.2f} ms of CPU time, {over[0]:.2f} x the view of its turn; "
                f"{wall:.2f} ms of wall time, {over[1]:.2f} x"
            )
        if arguments.minutes:
            commands(run, sound, arguments.minutes, view)


def commands(run: Path, sound: Path, minutes: float, view: float) -> None:
    """Print what a clip and ``minutes`` of sound cost, written to ``sound``."""
    measured = []
    for length in (4 / 60, minutes):
        write_sound(sound, 60 * length)
        measured.append(predicted(run, sound, sound.parent))
        wall, cpu, peak, windows = measured[-1]
        print(f"{length:8.2f} min {windows:6} windows {wall:8.2f} s wall {cpu:8.2f} s CPU {peak:7.0f} MB")
    clip, long = measured
    whole, beyond = ([(long[kind] - part * clip[kind]) / (long[3] * view) for kind in (0, 1)] for part in (0, 1))
    print(f"the long sound over windows x view: wall {whole[0]:.2f} x, CPU {whole[1]:.2f} x")
    print(f"less the time of the clip:          wall {beyond[0]:.2f} x, CPU {beyond[1]:.2f} x")
    print(f"the long sound takes {long[2] - clip[2]:+.0f} MB more than the clip")


if __name__ == "__main__":
    main()
