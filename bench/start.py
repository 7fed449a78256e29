"""How long commands take to answer, each in a process of its own, from caches that are warm.

    python -m bench.start [--rounds 5]

Wall and CPU seconds, the least of the rounds, beside those of ``import torch`` alone, which the work itself cannot go
below. Expected: ``predict`` of one short clip in under 3 s of wall time on two cores with nothing else to do.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.long_sounds import write_run, write_sound

#: The call that finds no cache; those behind it find what it leaves.
COMPUTED = "features, 4 clips"

ROOT = Path(__file__).resolve().parents[1]


def cost(label: str, command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    if label == COMPUTED:
        shutil.rmtree(folder / "cache", ignore_errors=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(folder: Path) -> dict[str, list[str]]:
    """Name → a process; each is quick once it was run."""
    write_run(folder / "model.pt")
    write_sound(folder / "clip.wav", 4)
    for index, name in enumerate(("a", "b")):
        (folder / "sounds" / name).mkdir(parents=True)
        for number in range(2):  # of other lengths: the same bytes under two labels are refused
            write_sound(folder / "sounds" / name / f"{name}{number}.wav", 4 - 0.1 * (2 * index + number))
    cli = [sys.executable, str(ROOT / "cli.py")]
    corpus = ["--dataset", "folder", "--data", "sounds"]
    return {
        "import torch": [sys.executable, "-c", "import torch"],
        "--help": [*cli, "--help"],
        "predict": [*cli, "predict", "model.pt", "clip.wav"],
        COMPUTED: [*cli, "features", *corpus, "--jobs", "2"],
        "features, finished": [*cli, "features", *corpus],
        "status": [*cli, "status", *corpus],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each command is run")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error("--rounds: expected at least 1")
    with tempfile.TemporaryDirectory() as name:
        chosen = commands(Path(name))
        for label, command in chosen.items():  # kernels, filters
            cost(label, command, Path(name))
        least = dict.fromkeys(chosen, (float("inf"), float("inf")))
        for _ in range(rounds):
            for label, command in chosen.items():
                wall, cpu = cost(label, command, Path(name))
                least[label] = min(wall, least[label][0]), min(cpu, least[label][1])
    print(f"{'command':20} {'s wall':>8} {'s CPU':>8}   least of {rounds}")
    for label, (wall, cpu) in least.items():
        print(f"{label:20} {wall:8.2f} {cpu:8.2f}")


if __name__ == "__main__":
    main()
