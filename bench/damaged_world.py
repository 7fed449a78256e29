"""The small world of ``bench.damage``: its files by kind, and the commands that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Find = Callable[[Path], Path]

CORPUS = ("--dataset", "folder", "--data", "toy")
SET = (*CORPUS, "--preset", "mine.toml")
#: The same under another name: the teachers of experiments are in a folder of their own.
OTHER_SET = (*CORPUS, "--preset", "other.toml")
HOW = ("--pack", "4", "--layout", "loop", "--device", "cpu")
TRAINED = ("--folds", "1,2", "--jobs", "1", *HOW)


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


STUDENT, TEACHER = "runs/toy/student-*/angle*+soft1", "runs/toy/teacher-*-mine-*"
PLAIN = "runs/toy/student-*/soft1"
EXPORT = "exports/toy/*fold1-seed0"
FINAL_RUN, SEARCH = "finals/toy/student-*/*/fold0-seed0", "runs/toy/search-*/fold"
LOOKERS = ("report", "report without a page", "runs", "status", "compare", "compare two", "retrieval", "ensemble")
USERS = ("predict", "export again", "rerun", "same distill", "check", "check one")
OTHERS = {"fold": "fold2-seed0", "seed": "fold1-seed1"}


def of_run(name: str) -> Kind:
    """A file of a student, and those of another fold, seed and mix."""
    others = {f"another {of}'s": one(f"{STUDENT}/{folder}/{name}") for of, folder in OTHERS.items()}
    others["another mix's"] = one(f"{PLAIN}/fold1-seed0/{name}")
    others["its teacher's"] = one(f"{TEACHER}/fold1-seed0/{name}")
    return Kind(one(f"{STUDENT}/fold1-seed0/{name}"), (*LOOKERS, *USERS), others)


def of_teacher(name: str) -> Kind:
    # Configuration and result are read for the tables, before anything is drawn.
    report = "report without a page" if name in ("config.json", "result.json") else "report"
    commands = ("teacher", "new distill", "same distill", "teacher-file", report, "check")
    more = ("new distill of two processes", "new distill in a cluster") if name == "model.pt" else ()
    others = {f"another {of}'s": one(f"{TEACHER}/{folder}/{name}") for of, folder in OTHERS.items()}
    return Kind(one(f"{TEACHER}/fold1-seed0/{name}"), (*commands, *more), others)


def of_step(name: str) -> Kind:
    """A file of an experiment's second step, from which its third starts, and that of another fold and step."""
    others = {
        "another fold's": one(f"runs/toy/experiment-half/second-*/fold2-seed0/{name}"),
        "another experiment's": one(f"runs/toy/experiment-whole/second-*/fold1-seed0/{name}"),
        "another step's": one(f"runs/toy/experiment-whole/third-*/fold1-seed0/{name}"),
    }
    return Kind(
        one(f"runs/toy/experiment-half/second-*/fold1-seed0/{name}"),
        ("half experiment", "report without a page", "check"),
        others,
    )


def of_last_step(name: str) -> Kind:
    others = {"another fold's": one(f"runs/toy/experiment-whole/third-*/fold2-seed0/{name}")}
    others["another step's"] = one(f"runs/toy/experiment-whole/second-*/fold1-seed0/{name}")
    commands = ("whole experiment", "report without a page", "check")
    return Kind(one(f"runs/toy/experiment-whole/third-*/fold1-seed0/{name}"), commands, others)


def of_export(name: str, *others: str) -> Kind:
    named = {f"its {other}": one(f"{EXPORT}/{other}") for other in others}
    named["another fold's"] = one(f"exports/toy/*fold2-seed0/{name}")
    sound = name.startswith("student-sound") or name == "proof.json"
    examples = ("example", *(("example of one file", "web") if sound else ()))
    return Kind(one(f"{EXPORT}/{name}"), (*examples, "cost", "export again", "check"), named)


def of_page(name: str, *others: str) -> Kind:
    return Kind(
        one(f"{EXPORT}/web/{name}"),
        ("check", "web"),
        {f"its {other}": one(f"{EXPORT}/web/{other}") for other in others},
    )


def of_final(name: str) -> Kind:
    others = {"its model.onnx": one("exports/toy/final-*/model.onnx")} if name != "refusal.json" else {}
    return Kind(one(f"exports/toy/final-*/{name}"), ("check",), others)


def of_search(name: str) -> Kind:
    return Kind(one(f"{SEARCH}1/{name}"), ("search", "check"), {"another fold's": one(f"{SEARCH}2/{name}")})


def of_teacher_file(suffix: str) -> Kind:
    commands = (f"distill of {suffix}", f"same distill of {suffix}", f"check {suffix}")
    return Kind(
        one(f"teachers.{suffix}"), commands, {"one of another network": one(f"others.{suffix}")}, inside=-400, free=True
    )


RUN_FILES = ("config.json", "environment.json", "metrics.jsonl", "model.pt", "predictions.npz", "result.json")
FEATURES = ("features", "features --deep", "inspect", "inspect --verify", "verify")

KINDS = {
    "a fold's features": Kind(
        one("cache/toy/f*/fold1.h5"),
        (
            *(*FEATURES, "features of two processes", "features in a cluster"),
            *("new distill", "new distill of two processes", "new distill in a cluster", "distill of new"),
            *("export", "retrieval", "report", "teacher-file", "check", "check cache"),
        ),
        {"another fold's": one("cache/toy/f*/fold2.h5")},
    ),
    "features without labels": Kind(
        one("cache/toy/f*/unlabelled.h5"),
        ("features", "features --deep", "new distill", "check"),
        {"a fold's": one("cache/toy/f*/fold2.h5")},
    ),
    "note of checks": Kind(one("cache/toy/f*/checks.json"), ("features", "verify", "check")),
    "part of a fold": Kind(one("cache/toy/f*/*.parts/*.npz"), ("other features", "check")),
    "kept embeddings": Kind(
        one("cache/toy/embeddings/*.npz"),
        ("report", "check"),
        {"another run's": lambda world: sorted(world.glob("cache/toy/embeddings/*.npz"))[1]},
        inside=-600,
    ),
    **{f"a run's {name}": of_run(name) for name in RUN_FILES},
    **{f"a teacher's {name}": of_teacher(name) for name in RUN_FILES},
    **{f"a start's {name}": of_step(name) for name in ("config.json", "model.pt", "result.json")},
    **{f"a last step's {name}": of_last_step(name) for name in ("config.json", "model.pt", "predictions.npz")},
    "an experiment's note": Kind(
        one("runs/toy/experiment-whole/experiment.json"),
        ("whole experiment", "report without a page", "check"),
        {"another experiment's": one("runs/toy/experiment-half/experiment.json")},
    ),
    "a checkpoint": Kind(one("runs/toy/student-*/.checkpoints/pack-*.pt"), ("stopped distill", "check")),
    "a checkpoint's note": Kind(one("runs/toy/student-*/.checkpoints/pack-*.json"), ("stopped distill", "check")),
    "a run's calibration.json": Kind(
        one(f"{STUDENT}/fold1-seed0/calibration.json"),
        ("predict calibrated", "report without a page", "check one"),
        {"another fold's": one(f"{STUDENT}/fold2-seed0/calibration.json")},
    ),
    "a final's refusal.json": Kind(one(f"{FINAL_RUN}/refusal.json"), ("predict final", "check")),
    **{f"a final export's {name}": of_final(name) for name in ("refusal.json", "CARD.md", "golden.npz", "golden.wav")},
    "an experiment's weights": Kind(
        one("runs/toy/experiment-balanced/weights.json"), ("balanced experiment", "other balanced experiment", "check")
    ),
    "a search's space": of_search("search.json"),
    "a search's trials": of_search("trials.jsonl"),
    "an archive": Kind(one("table.rkd.zip"), ("report of an archive", "check archive")),
    "noise on the inputs": Kind(one("reports/toy/experiment-noisy-noise.csv"), ("noisy experiment",)),
    "an unfinished run's config.json": Kind(
        one("runs/toy/student-*/distance*/fold1-seed0/config.json"),
        ("stopped distill", "runs", "report without a page", "check"),
    ),
    "an export's model.onnx": of_export("model.onnx", "model.int8.onnx"),
    "an export's model.int8.onnx": of_export("model.int8.onnx", "model.onnx"),
    "an export's student-sound.onnx": of_export("student-sound.onnx", "model.onnx"),
    "an export's labels.json": of_export("labels.json", "features.json"),
    "an export's features.json": of_export("features.json"),
    "an export's proof.json": of_export("proof.json"),
    "a page's index.html": of_page("index.html", "student-sound.html"),
    "a page's student-sound.html": of_page("student-sound.html"),
    "a page's model": of_page("student-sound.22050.onnx", "examples/01.wav"),
    "a page's example": of_page("examples/01.wav", "examples/02.wav"),
    "a page's proof.json": of_page("proof.json"),
    "a teacher file, npz": of_teacher_file("npz"),
    "a teacher file, HDF5": of_teacher_file("h5"),
    "folds.csv": Kind(one("toy/folds.csv"), ("verify", "features", "same distill"), free=True),
    "corpus.toml": Kind(one("toy/corpus.toml"), ("verify", "features"), free=True),
    "a preset": Kind(one("mine.toml"), ("features", "same distill"), free=True),
    "an experiment": Kind(one("whole.toml"), ("explain", "whole experiment"), free=True),
}

SOUND = "toy/high/4.wav"


def distill(losses: str, *more: str) -> tuple[str, ...]:
    return ("distill", *SET, *TRAINED, "--losses", losses, *more)


PROCESSES = ("distill", *SET, "--losses", "hinton", "--folds", "1,2", "--pack", "1", "--layout", "loop")

#: Name → arguments; a folder of the world stands as its pattern.
COMMANDS: dict[str, tuple[str, ...]] = {
    "features": ("features", *SET, "--backend", "sequential"),
    "features --deep": ("features", *SET, "--backend", "sequential", "--deep"),
    "features of two processes": ("features", *SET, "--jobs", "2", "--deep"),
    "features in a cluster": ("features", *SET, "--jobs", "2", "--backend", "dask", "--deep"),
    "other features": ("features", *SET, "--backend", "sequential", "--set", "features.noise_seed=7"),
    "inspect": ("inspect", *SET),
    "inspect --verify": ("inspect", *SET, "--verify"),
    "verify": ("verify", *CORPUS),
    "teacher": ("teacher", *SET, *TRAINED),
    "teacher-file": ("teacher-file", f"{TEACHER}/fold1-seed0", f"{TEACHER}/fold2-seed0", "-o", "new.npz"),
    "same distill": distill("angle,area", "--seeds", "0,1"),
    "new distill": distill("hinton"),
    "new distill of two processes": (*PROCESSES, "--jobs", "2"),
    "new distill in a cluster": (*PROCESSES, "--jobs", "2", "--backend", "dask"),
    "distill of new": distill("ce", "--set", "student.lr=0.01"),
    "distill of npz": distill("hinton", "--teacher", "teachers.npz"),
    "distill of h5": distill("hinton", "--teacher", "teachers.h5"),
    "same distill of npz": distill("angle", "--teacher", "teachers.npz"),
    "same distill of h5": distill("angle", "--teacher", "teachers.h5"),
    "stopped distill": distill("distance"),
    "half experiment": ("experiment", "half.toml", *OTHER_SET, *TRAINED),
    "whole experiment": ("experiment", "whole.toml", *OTHER_SET, *TRAINED),
    "explain": ("experiment", "whole.toml", *OTHER_SET, "--explain"),
    "report": ("report", *CORPUS),
    "report without a page": ("report", *CORPUS, "--no-page"),
    "runs": ("runs", "--corpus", "toy"),
    "status": ("status", *SET),
    "compare": ("compare", "soft", "angle,area", "--corpus", "toy"),
    "compare two": ("compare", f"{PLAIN}/fold1-seed0", f"{STUDENT}/fold1-seed0"),
    "retrieval": ("retrieval", *CORPUS),
    "ensemble": ("ensemble", f"{STUDENT}/fold1-seed0", f"{STUDENT}/fold1-seed1"),
    "predict": ("predict", f"{STUDENT}/fold1-seed0", SOUND),
    "rerun": ("rerun", f"{STUDENT}/fold1-seed0", "--to", "again"),
    "export": ("export", f"{PLAIN}/fold1-seed0", "--data", "toy"),
    "export again": ("export", f"{STUDENT}/fold1-seed0", "--data", "toy"),
    "cost": ("cost", f"{STUDENT}/fold1-seed0", "--repeats", "10"),
    "web": ("web", f"{STUDENT}/fold1-seed0", "--data", "toy", "--examples", "2"),
    "check": ("check",),
    "check one": ("check", f"{STUDENT}/fold1-seed0"),
    "check cache": ("check", "cache/toy"),
    "predict calibrated": ("predict", f"{STUDENT}/fold1-seed0", SOUND, "--calibrated"),
    "predict final": ("predict", FINAL_RUN, SOUND),
    "balanced experiment": ("experiment", "balanced.toml", *OTHER_SET, *TRAINED),
    "other balanced experiment": ("experiment", "balanced.toml", *OTHER_SET, *TRAINED, "--seeds", "1"),
    "noisy experiment": ("experiment", "noisy.toml", *OTHER_SET, *TRAINED),
    "search": ("search", "space.toml", *SET, "--folds", "1,2", "--choose", "nested", "--jobs", "1", "--device", "cpu"),
    "report of an archive": ("report", "table.rkd.zip", "--no-page"),
    "check archive": ("check", "table.rkd.zip"),
    "check npz": ("check", "teachers.npz"),
    "check h5": ("check", "teachers.h5"),
    "example": ("onnx_student.py",),
    "example of one file": ("sound_student.py",),
}
