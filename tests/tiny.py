"""A tiny corpus in UrbanSound8K's layout: three folds, two classes that differ in pitch, and how to run commands on it."""

from __future__ import annotations

import contextlib
import csv
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from click.testing import CliRunner, Result

ROOT = Path(__file__).resolve().parents[1]

#: UrbanSound8K's, by their number; written here too, so that a wrong name in the product is found.
CLASSES = (
    "air_conditioner",
    "car_horn",
    "children_playing",
    "dog_bark",
    "drilling",
    "engine_idling",
    "gun_shot",
    "jackhammer",
    "siren",
    "street_music",
)

#: Settings with which everything takes seconds.
QUICK = (
    "--set",
    "teacher.epochs=3",
    "--set",
    "student.epochs=3",
    "--set",
    "features.bins=8",
    "--set",
    "features.bins_per_octave=24",
    "--set",
    "student.batch=4",
    "--set",
    "teacher.batch=4",
)


def write_corpus(root: Path, folds: tuple[int, ...] = (1, 2, 3), clips: int = 6) -> Path:
    """``clips`` clips per fold, alternately a low and a high tone with noise, each of a recording of its own."""
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


@dataclass(frozen=True)
class Done:
    """What a command left: as of ``subprocess.run``."""

    returncode: int
    stdout: str
    stderr: str


def invoke(*arguments: str) -> Result:
    """The command line in this process and working folder."""
    import cli

    return CliRunner().invoke(cli.main, list(arguments))


#: Commands that train; ``--jobs 1`` keeps them in this process.
TRAINING = ("teacher", "distill", "table3", "ban", "table4")


def audio_rkd(where: Path, *arguments: str) -> Done:
    """The command line in a folder of its own, in this process; where a process is the subject, start ``cli.py``."""
    import cli

    if arguments[0] in (*TRAINING, "features") and "--jobs" not in arguments and "--help" not in arguments:
        arguments = (*arguments, "--jobs", "1")
    forget()
    try:
        with contextlib.chdir(where):
            result = CliRunner().invoke(cli.main, arguments, prog_name="audio-rkd")
    finally:
        forget()
    errors = result.stderr
    if result.exception and not isinstance(result.exception, SystemExit):
        errors += "".join(traceback.format_exception(result.exception))
    return Done(result.exit_code, result.stdout, errors)


def forget() -> None:
    """Empty what the pipeline keeps per process: files are named there relative to the working folder."""
    for name, module in list(sys.modules.items()):
        if name.startswith("pipeline.") and not name.startswith("pipeline.features"):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
