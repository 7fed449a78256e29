"""Kill stage one at random moments, again and again, and compare what comes out with an unbroken run.

    python -m bench.kill_extraction --rounds 20

A round: the same command is started and killed (``kill -9`` of the parent alone, or of its workers too) after a
random number of parts and a random time, three times over; then it may finish. Its arrays have to be those of the unbroken run, nothing that
was kept may have been computed twice, and nothing may be left beside the folds' files.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.extraction import write_clips
from pipeline import cache

CLI = Path(__file__).resolve().parents[1] / "cli.py"
KILLS = 3


def command(data: Path, *options: str) -> list[str]:
    return [sys.executable, str(CLI), "features", "--dataset", "urbansound8k", "--data", str(data), *options]


def killed(folder: Path, data: Path, more: int, delay: float, group: bool) -> bool:
    """Start the extraction, kill it ``delay`` seconds after ``more`` parts were added; whether it was at work."""
    process = subprocess.Popen(
        command(data, "--jobs", "2"),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    goal = written(folder) + more
    while process.poll() is None and written(folder) < goal:
        time.sleep(0.001)
    try:
        process.wait(delay)
        return False
    except subprocess.TimeoutExpired:
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        return True


def written(folder: Path) -> int:
    """Parts and finished folds, a fold for many parts."""
    return sum(1 for _ in folder.rglob("*.npz")) + 1000 * sum(1 for _ in folder.rglob("fold*.h5"))


def kept(folder: Path) -> int:
    """Clips of the finished folds and of the parts that can be read."""
    count = sum(len(cache.read_header(path).clips) for path in folder.rglob("fold*.h5"))
    for part in folder.rglob("*.npz"):
        with np.load(part) as content:
            count += len(content["keys"])
    return count


def folds(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, so that something left behind is seen too."""
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def differing(digests: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Names of files that are missing, left behind, or of other bytes."""
    return [name for name in sorted(digests | expected) if digests.get(name) != expected.get(name)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clips", type=int, default=150, help="a fold, two folds")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_clips(work / "data" / "toy", folds=2, clips=options.clips)
        data, whole = work / "data" / "toy", work / "whole"
        whole.mkdir()
        start = time.monotonic()
        subprocess.run(command(data, "--jobs", "2"), cwd=whole, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        expected = folds(whole)
        print(f"unbroken: {2 * options.clips} clips in {seconds:.1f} s", flush=True)
        for number in range(1, options.rounds + 1):
            folder = work / f"round{number}"
            folder.mkdir()
            hits = 0
            for _ in range(KILLS):
                # While it starts, or after any number of parts: a kill during the writing of a fold is among them.
                more = chance.choice([0, 1, 2, 3, 5, 8])
                delay = chance.uniform(0, 3) if more == 0 else chance.uniform(0, 0.3)
                hits += killed(folder, data, more, delay, chance.random() < 0.5)
            time.sleep(0.5)  # Workers whose parent was killed see it at their next clip.
            there = kept(folder)
            last = subprocess.run(command(data, "--jobs", "2"), cwd=folder, capture_output=True, text=True, check=True)
            counted = re.search(r"(\d+) computed", last.stdout)
            computed = int(counted[1]) if counted else 0
            if different := differing(folds(folder), expected):
                sys.exit(
                    f"round {number}: not the files of the unbroken run: {', '.join(different)}; killed {hits} times, "
                    f"{there} clips kept, {computed} computed; it said: {last.stdout} {last.stderr}"
                )
            if computed > 2 * options.clips - there:
                sys.exit(f"round {number}: {there} clips were kept, {computed} computed")
            print(
                f"round {number}: killed {hits} times, {there} clips kept, {computed} computed, the same files",
                flush=True,
            )
            shutil.rmtree(folder)
    print(f"{options.rounds} rounds: every file the same, byte for byte")


if __name__ == "__main__":
    main()
