"""Commands killed at random moments while they train, and whether what they then end with is what an undisturbed one ends with."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.digests import contents, digests

CLI = Path(__file__).resolve().parents[1] / "cli.py"
KILLS = 3

#: Files of a run that are compared.
FILES = ("model.pt", "predictions.npz", "metrics.jsonl")

#: Shares of a recipe's epochs between which it is killed; seconds behind an epoch, and behind a start.
EARLIEST, LATEST, BEHIND_EPOCH, BEHIND_START = 0.02, 0.85, 0.5, 8.0


def command(*words: str) -> list[str]:
    return [sys.executable, str(CLI), *words]


def run(
    words: Sequence[str], place: Path, folders: Sequence[Path], epochs: int, kills: int, seed: str
) -> Iterator[dict[str, Any]]:
    """Start the command, kill its process group, start it again, ``kills`` times; each kill as it happens.

    ``folders``: those of its runs, with ``epochs`` epochs in all; moments are drawn over those that are still to come, and a random
    time behind. A command that ends by itself before its moment is not killed any more.
    """
    chance = random.Random(seed)
    before = written(folders)
    to_come = epochs - before
    shares = sorted(chance.uniform(EARLIEST, LATEST) for _ in range(kills))
    for goal in (before + max(1, round(share * to_come)) for share in shares):
        started = time.monotonic()
        process = subprocess.Popen(
            command(*words), cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        delay = chance.uniform(0, BEHIND_EPOCH if written(folders) < goal else BEHIND_START)
        try:
            while process.poll() is None and written(folders) < goal:
                time.sleep(0.02)
            process.wait(delay)
            return
        except subprocess.TimeoutExpired:
            pass
        finally:  # also where this program is stopped
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        seconds = round(time.monotonic() - started, 1)
        yield {"epochs": written(folders), "of": epochs, "in": step_of(folders), "seconds": seconds}


def written(folders: Sequence[Path]) -> int:
    """Epochs that the runs have written."""
    return sum(path.read_bytes().count(b"\n") for folder in folders if (path := folder / "metrics.jsonl").is_file())


def step_of(folders: Sequence[Path]) -> str:
    """The folder of the runs that are at work: the last of those that have begun, or the next to begin."""
    begun = [
        folder for folder in folders if (folder / "metrics.jsonl").is_file() and not (folder / "result.json").is_file()
    ]
    waiting = [folder for folder in folders if not (folder / "result.json").is_file()]
    return (begun or waiting or list(folders))[0].parent.name


def differing(one: Path, other: Path, folders: Sequence[Path]) -> list[str]:
    """Files of the runs, below both places, that are missing or of other bits, weights above all."""
    names = [folder / name for folder in folders for name in FILES]
    return [str(name) for name in names if not same(one / name, other / name)]


def same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and digests(contents(one)) == digests(contents(other))
