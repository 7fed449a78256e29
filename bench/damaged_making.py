"""Makes the small world of ``bench.damage``: features, teachers, students, experiments, exports, and what was stopped."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile

from bench.damaged_running import invoke, without_network
from bench.damaged_world import COMMANDS, CORPUS, KINDS, SET, STUDENT, TEACHER
from pipeline.runs import calibration
from pipeline.runs.calibration import Calibration
from tests.tiny import forget

PRESET = """# of bench.damage
[features]
bins = 8
bins_per_octave = 24
tuning = 0.0
floor = 1e-5
[teacher]
model = "cnn2"
epochs = 2
batch = 4
lr = 0.02
[student]
epochs = 2
batch = 4
"""

#: The first is a teacher as any other; the others lie in their experiment's folder.
BEGUN = """[[step]]
name = "first"
mix = "ce"
epochs = 1

[[step]]
name = "second"
start = "first"
mix = "ce"
"""

THIRD = """
[[step]]
name = "third"
start = "second"
teacher = "first"
mix = "angle,area"
"""

#: Whose weights are measured, and kept beside it.
BALANCED = """[[step]]
name = "balanced"
mix = "ce,angle"
teacher = "teacher"
balance = true
"""

NOISY = """[[step]]
name = "noisy"
mix = "ce"
epochs = 1
input_noise = 0.1
"""

SPACE = """losses = "ce"
trials = 2
halving = 2
least_epochs = 1

[student]
lr = {low = 1e-3, high = 1e-2, log = true}
"""


def made_world(world: Path) -> None:
    """Twelve clips of two classes in three folds and two without a label, and all that the commands leave of them.

    Goes on where it was stopped: every command does.
    """
    if not (world / "right.wav").is_file():
        corpus(world)
    do = functools.partial(required, world)
    do(*COMMANDS["features"])
    do(*COMMANDS["teacher"], "--seeds", "0,1")
    do(*COMMANDS["same distill"][:-4], "--losses", "angle,area", "--losses", "soft", "--seeds", "0,1")
    teacher_files(world)
    (world / "whole.toml").write_text(BEGUN + THIRD)
    do(*COMMANDS["whole experiment"])
    (world / "half.toml").write_text(BEGUN)
    do(*COMMANDS["half experiment"])
    (world / "half.toml").write_text(BEGUN + THIRD)
    (world / "balanced.toml").write_text(BALANCED)
    do(*COMMANDS["balanced experiment"])
    (world / "noisy.toml").write_text(NOISY)
    do(*COMMANDS["noisy experiment"])
    (world / "space.toml").write_text(SPACE)
    do(*COMMANDS["search"])
    do("final", *SET, "--losses", "angle,area", "--no-unheard", "--jobs", "1", "--device", "cpu")
    calibrated(world)
    do("archive", *CORPUS, "-o", "table.rkd.zip")
    do(*COMMANDS["export again"])
    do("export", f"{STUDENT}/fold2-seed0", "--data", "toy")
    with without_network():
        do(*COMMANDS["web"])
    do(*COMMANDS["report"])  # keeps embeddings
    do(*COMMANDS["features"])  # notes its check
    if not list(world.glob("runs/toy/student-*/.checkpoints/pack-*.pt")):
        stopped(world, "stopped distill", "pipeline.training.checkpoint.write", "--checkpoint-minutes", "0")
    if not list(world.glob("cache/toy/f*/*.parts/*.npz")):
        stopped(world, "other features", "pipeline.extraction.parts.write_part")
    for kind in KINDS.values():
        for find in (kind.file, *kind.others.values()):
            find(world)  # IndexError where the commands no longer leave such a file


def corpus(world: Path) -> None:
    """The sounds, their folds, a preset."""
    world.mkdir(parents=True, exist_ok=True)
    for name in ("mine.toml", "other.toml"):
        (world / name).write_text(PRESET)
    rows = ["file,fold"]
    for i in range(14):
        label = ("low", "high")[i % 2]
        times = np.arange(8000) / 8000
        noise = 0.05 * np.random.default_rng(i).standard_normal(8000)
        sound = 0.3 * np.sin(2 * np.pi * (250, 1500)[i % 2] * times) + noise
        name = f"{label}/{i // 2}.wav" if i < 12 else f"unlabelled/{i}.wav"
        path = world / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound, 8000)
        if i < 12:
            rows.append(f"{name},{1 + i // 4}")
    (world / "toy" / "folds.csv").write_text("\n".join(rows) + "\n")
    (world / "toy" / "corpus.toml").write_text("seconds = 1.0\n")
    times = np.arange(22050) / 22050
    soundfile.write(world / "right.wav", 0.3 * np.sin(2 * np.pi * 250 * times), 22050, subtype="PCM_16")


def calibrated(world: Path) -> None:
    """As ``audio-rkd calibrate`` leaves it, of made-up figures: its trainings are runs as any other."""
    for fold in (1, 2):
        (run,) = world.glob(f"{STUDENT}/fold{fold}-seed0")
        if not (run / calibration.NAME).is_file():
            weights = json.loads((run / "result.json").read_text())["weights"]
            calibration.write(run, Calibration(1.5 + fold, 8, (2, 3), (), weights, 1.0, 0.9, 0.2, 0.1))


def teacher_files(world: Path) -> None:
    """Of the first teachers, and of the others; students of each of the first."""
    for suffix in ("npz", "h5"):
        for name, seed in (("teachers", 0), ("others", 1)):
            runs = [f"{TEACHER}/fold{fold}-seed{seed}" for fold in (1, 2)]
            required(world, "teacher-file", *runs, "-o", f"{name}.{suffix}")
        required(world, *COMMANDS[f"same distill of {suffix}"])


def required(world: Path, *arguments: str) -> None:
    forget()
    with contextlib.chdir(world):
        code, stdout, stderr = invoke([str(sorted(Path().glob(a))[0]) if "*" in a else a for a in arguments])
    if code:
        raise SystemExit(f"{' '.join(arguments)} ended with {code}:\n{stdout}{stderr}")


def stopped(world: Path, command: str, function: str, *more: str) -> None:
    """Ctrl-C once ``function`` has written its first file."""
    module, _, name = function.rpartition(".")
    __import__(module)
    write = getattr(sys.modules[module], name)

    def write_and_stop(*arguments: object, **options: object) -> None:
        write(*arguments, **options)
        raise KeyboardInterrupt

    forget()
    with mock.patch(function, write_and_stop), contextlib.chdir(world):
        invoke([*COMMANDS[command], *more])
