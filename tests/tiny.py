"""A tiny corpus in UrbanSound8K's layout: three folds, two classes that differ in pitch, and how to run commands on it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]

#: Settings with which everything takes seconds.
QUICK = ("--set", "teacher.epochs=3", "--set", "student.epochs=3", "--set", "features.bins=8",
         "--set", "features.bins_per_octave=24", "--set", "student.batch=4", "--set", "teacher.batch=4")  # fmt: skip


def write_corpus(root: Path, folds: tuple[int, ...] = (1, 2, 3), clips: int = 6) -> Path:
    """``clips`` clips a fold, alternately a low and a high tone with noise, each of a recording of its own."""
    rows = []
    for fold in folds:
        (root / "audio" / f"fold{fold}").mkdir(parents=True)
        for i in range(clips):
            rng = np.random.default_rng((fold, i))
            label = i % 2
            time = np.arange(8000) / 8000
            sound = 0.3 * np.sin(2 * np.pi * (250, 1500)[label] * (1 + 0.1 * rng.random()) * time)
            name = f"{fold}{i:03}-{label}-0-0.wav"
            sound += 0.05 * rng.standard_normal(len(time))
            soundfile.write(root / "audio" / f"fold{fold}" / name, sound, 8000)
            names = ("air_conditioner", "car_horn")
            rows.append([name, f"{fold}{i:03}", 0, 1.0, 1, fold, label, names[label]])
    (root / "metadata").mkdir()
    with (root / "metadata" / "UrbanSound8K.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"])
        writer.writerows(rows)
    return root


def audio_rkd(where: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command line in a folder of its own, as a real process."""
    environment = {**os.environ, **more}
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *arguments], cwd=where, env=environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
