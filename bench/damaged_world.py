"""The small world of ``bench.damage``: its files by kind, and the commands that read them, in this process."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile
from click.testing import CliRunner

from pipeline.files import sha256
from tests.tiny import forget

Find = Callable[[Path], Path]

CORPUS = ("--dataset", "folder", "--data", "toy", "--preset", "mine.toml")
TRAINED = ("--folds", "1,2", "--jobs", "1", "--pack", "4", "--layout", "loop", "--device", "cpu")

PRESET = """# of bench.damage
[features]
bins = 8
bins_per_octave = 24
[teacher]
model = "cnn2"
epochs = 2
batch = 4
lr = 0.02
[student]
epochs = 2
batch = 4
"""

EXPERIMENT = """[steps.first]
mix = "ce"
[steps.second]
teacher = "first"
mix = "angle,area"
"""


@dataclass(frozen=True)
class Answer:
    """What a command said, and what it leaves: name → digest."""

    command: str
    code: int
    stdout: str
    stderr: str
    products: Mapping[str, str]


@dataclass(frozen=True)
class Kind:
    """A kind of file: which one of the world, what reads it, and others of its kind."""

    file: Find
    commands: tuple[str, ...]
    others: Mapping[str, Find] = field(default_factory=dict)
    inside: int = 0
    """Where three bits are flipped; 0: in the middle."""
    free: bool = False
    """A user's own text: what is still one is taken as written by its user."""


def one(pattern: str) -> Find:
    """The first file of a pattern."""
    return lambda world: sorted(world.glob(pattern))[0]


STUDENT, TEACHER = "runs/toy/student-*/angle*+soft1", "runs/toy/teacher-*"
READERS = ("report", "runs", "predict", "ensemble", "export", "same distill", "check")
OTHERS = {"fold": "fold2-seed0", "seed": "fold1-seed1"}


def of_run(name: str) -> Kind:
    others = {f"another {kind}'s": one(f"{STUDENT}/{folder}/{name}") for kind, folder in OTHERS.items()}
    others["another mix's"] = one(f"runs/toy/student-*/soft1/fold1-seed0/{name}")
    return Kind(one(f"{STUDENT}/fold1-seed0/{name}"), READERS, others)


def of_export(name: str, *others: str) -> Kind:
    return Kind(
        one(f"exports/toy/*/{name}"),
        ("example", "check"),
        {f"its {other}": one(f"exports/toy/*/{other}") for other in others},
    )


KINDS = {
    "a fold's features": Kind(
        one("cache/toy/f*/fold1.h5"),
        ("features", "features --deep", "inspect", "inspect --verify", "verify", "new distill", "export", "check"),
        {"another fold's": one("cache/toy/f*/fold2.h5")},
    ),
    "note of checks": Kind(one("cache/toy/f*/checks.json"), ("features", "verify", "check")),
    "part of a fold": Kind(one("cache/toy/f*/*.parts/*.npz"), ("other features", "check")),
    **{
        f"a run's {name}": of_run(name)
        for name in ("config.json", "environment.json", "metrics.jsonl", "model.pt", "predictions.npz", "result.json")
    },
    "a teacher's model.pt": Kind(
        one(f"{TEACHER}/fold1-seed0/model.pt"),
        ("teacher", "new distill", "check"),
        {"another fold's": one(f"{TEACHER}/fold2-seed0/model.pt")},
    ),
    "a checkpoint": Kind(one("runs/toy/student-*/.checkpoints/pack-*.pt"), ("stopped distill", "check")),
    "a checkpoint's note": Kind(one("runs/toy/student-*/.checkpoints/pack-*.json"), ("stopped distill", "check")),
    "an export's model.onnx": of_export("model.onnx", "model.int8.onnx"),
    "an export's labels.json": of_export("labels.json", "features.json"),
    "an export's features.json": of_export("features.json"),
    "an export's proof.json": of_export("proof.json"),
    "folds.csv": Kind(one("toy/folds.csv"), ("verify", "features"), free=True),
    "a preset": Kind(one("mine.toml"), ("features",), free=True),
    "an experiment": Kind(one("mine-experiment.toml"), ("explain",), free=True),
}

SOUND = "toy/high/4.wav"

#: Name → arguments; a folder of the world stands as its pattern.
COMMANDS: dict[str, tuple[str, ...]] = {
    "features": ("features", *CORPUS, "--backend", "sequential"),
    "features --deep": ("features", *CORPUS, "--backend", "sequential", "--deep"),
    "other features": ("features", *CORPUS, "--backend", "sequential", "--set", "features.noise_seed=7"),
    "inspect": ("inspect", *CORPUS),
    "inspect --verify": ("inspect", *CORPUS, "--verify"),
    "verify": ("verify", "--dataset", "folder", "--data", "toy"),
    "teacher": ("teacher", *CORPUS, *TRAINED),
    "same distill": ("distill", *CORPUS, *TRAINED, "--losses", "angle,area", "--seeds", "0,1"),
    "new distill": ("distill", *CORPUS, *TRAINED, "--losses", "hinton"),
    "stopped distill": ("distill", *CORPUS, *TRAINED, "--losses", "distance"),
    "report": ("report", "--dataset", "folder", "--data", "toy"),
    "runs": ("runs", "--corpus", "toy"),
    "predict": ("predict", f"{STUDENT}/fold1-seed0", SOUND),
    "ensemble": ("ensemble", f"{STUDENT}/fold1-seed0", f"{STUDENT}/fold1-seed1"),
    "export": ("export", f"{STUDENT}/fold1-seed0"),
    "explain": ("experiment", "mine-experiment.toml", *CORPUS, "--explain"),
    "check": ("check",),
    "example": (),
}

#: What of an answer says when, how long or how much at a time, and nothing of what was computed.
PASSING = re.compile(r"\d{4}-\d\d-\d\dT[\d:+]+|\d+:\d\d left|[\d.,]+ (s|ms|MB|GB|run-steps/s)\b|[\d,]+ bytes|/tmp/\S+")

#: What commands leave that has to be the same: of files with times in them, what counts.
PRODUCTS = ("cache/toy/f*/fold*.h5", "runs/toy/*/*/model.pt", "runs/toy/*/*/*/model.pt", "exports/toy/*/*.onnx")


def run(world: Path, command: str) -> Answer:
    """A command in a world, in this process."""
    forget()
    with contextlib.chdir(world):
        if command == "example":
            code, stdout, stderr = example(world)
        else:
            arguments = [str(sorted(Path().glob(a))[0]) if "*" in a else a for a in COMMANDS[command]]
            code, stdout, stderr = invoke(arguments)
    kept = {str(path.relative_to(world)): sha256(path) for pattern in PRODUCTS for path in world.glob(pattern)}
    products = kept if command.partition(" ")[0] in ("features", "teacher", "same", "new", "stopped", "export") else {}
    return Answer(command, code, PASSING.sub("…", stdout), PASSING.sub("…", stderr), products if code == 0 else {})


def invoke(arguments: list[str]) -> tuple[int, str, str]:
    import cli

    result = CliRunner().invoke(cli.main, arguments, prog_name="audio-rkd")
    stderr = result.stderr
    if result.exception and not isinstance(result.exception, SystemExit):
        stderr += "".join(traceback.format_exception(result.exception))
    return result.exit_code, result.stdout, stderr


def example(world: Path) -> tuple[int, str, str]:
    """``examples/onnx_student.py`` as it is called, in this process."""
    text = (Path(__file__).resolve().parents[1] / "examples" / "onnx_student.py").read_text()
    folder = next((world / "exports" / "toy").iterdir())
    out = io.StringIO()
    with mock.patch.object(sys, "argv", ["onnx_student.py", str(folder), SOUND]), contextlib.redirect_stdout(out):
        try:
            exec(compile(text, "onnx_student.py", "exec"), {"__name__": "__main__"})
        except SystemExit as error:
            return (0, out.getvalue(), "") if not error.code else (1, out.getvalue(), str(error.code))
        except Exception:
            return 1, out.getvalue(), traceback.format_exc()
    return 0, out.getvalue(), ""


def made_world(world: Path, *, exports: bool = True) -> None:
    """Twelve clips of two classes in three folds, features, teachers, students, an export, and two commands that were stopped."""
    world.mkdir(parents=True)
    (world / "mine.toml").write_text(PRESET)
    (world / "mine-experiment.toml").write_text(EXPERIMENT)
    rows = ["file,fold"]
    for i in range(12):
        label = ("low", "high")[i % 2]
        times = np.arange(8000) / 8000
        sound = 0.3 * np.sin(2 * np.pi * (250, 1500)[i % 2] * times) + 0.05 * np.random.default_rng(i).standard_normal(
            8000
        )
        path = world / "toy" / label / f"{i // 2}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound, 8000)
        rows.append(f"{label}/{i // 2}.wav,{1 + i // 4}")
    (world / "toy" / "folds.csv").write_text("\n".join(rows) + "\n")
    (world / "toy" / "corpus.toml").write_text("seconds = 1.0\n")
    do = functools.partial(required, world)
    do(*COMMANDS["features"])
    do(*COMMANDS["teacher"])
    do(*COMMANDS["same distill"][:-4], "--losses", "angle,area", "--losses", "soft", "--seeds", "0,1")
    if exports:
        do(*COMMANDS["export"])
    do("features", *CORPUS, "--backend", "sequential")  # notes its check
    stopped(world, "stopped distill", "pipeline.training.checkpoint.write", "--checkpoint-minutes", "0")
    stopped(world, "other features", "pipeline.extraction.parts.write_part")


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

    with ExitStack() as stack:
        stack.enter_context(mock.patch(function, write_and_stop))
        stack.enter_context(contextlib.chdir(world))
        forget()
        invoke([*COMMANDS[command], *more])
