"""Every command with wrong input: one line that names the value, what was expected and the remedy; never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import Result

import cli
from pipeline.commands.errors import clear_errors
from pipeline.images.cifar import ARCHIVE
from tests import shipped
from tests.recorded import reseal
from tests.tiny import QUICK, ROOT, invoke, write_corpus

#: The corpus whose features are there.
SOUNDS = ("--dataset", "urbansound8k", "--data", "sounds", *QUICK)

COMMANDS = sorted(cli.main.commands)

Case = tuple[tuple[str, ...], tuple[str, ...]]
"""Arguments, and what the line must contain."""


def having(option: str) -> list[str]:
    """The commands that have an option."""
    return [name for name in COMMANDS if any(option in p.opts for p in cli.main.commands[name].params)]


def needed(name: str) -> tuple[str, ...]:
    """Values for the arguments that a command insists on: there, and of the right kind."""
    values = {
        "predict": ("run", "sound.wav"),
        "rerun": ("run",),
        "ensemble": ("run",),
        "explain": ("run",),
        "compare": ("run", "run"),
        "data": ("--dataset", "esc50"),
        "teacher-file": ("run", "-o", "made.npz"),
        "archive": ("-o", "made.zip"),
        "experiment": ("student",),  # without a name it lists what there is
    }
    return values.get(name, ())


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Things that are right: a corpus with its features, a run on others, a sound; and things that are not.

    ``run`` is a real run. ``other`` is one of a corpus with other classes, ``images`` one on images.
    """
    place = tmp_path_factory.mktemp("wrong")
    folder = shipped.write_run(place, shipped.write_corpus(place))
    shutil.copy(next((place / "data").rglob("*.wav")), place / "sound.wav")
    shutil.rmtree(place / "data")
    shutil.move(place / "runs", place / "trained")
    (place / "run").symlink_to(place / "trained" / folder.relative_to(place / "runs"))
    variant(
        place / "run",
        place / "other" / "fold1-seed0",
        corpus="other",
        dataset="folder",
        classes=["cat", "dog"],
    )
    variant(place / "run", place / "images" / "fold0-seed0", corpus="cifar100", dataset="cifar100")
    write_corpus(place / "sounds", folds=(1, 2), clips=2)
    for name in ("text", "text.pt", "text.toml", "text.wav", "text.tar.gz"):
        (place / name).write_text("a shopping list: = [ milk\n")
    (place / "empty").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert invoke("features", *SOUNDS, "--backend", "sequential").exit_code == 0
    return place


def variant(folder: Path, target: Path, **changes: object) -> None:
    """A copy of a run whose record, and what goes with its weights, say something else."""
    shutil.copytree(folder, target)
    (target / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | changes))
    payload = torch.load(folder / "model.pt", weights_only=True)
    if "classes" in changes:
        last = {"linear2.weight": np.s_[:, :2], "linear2.bias": np.s_[:, :2]}
        state = {k: v[last[k]] if k in last else v for k, v in payload["state"].items()}
        changes = changes | {"state": state, "best_state": state}
    torch.save(payload | changes, target / "model.pt")
    reseal(target)


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def assert_one_line(done: Result, *expected: str) -> None:
    """Exit code 1, one line of error on stderr (notes may stand before it), and nothing of Python's own."""
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code == 1, done.output
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and done.stderr.splitlines()[-1] == errors[0], done.stderr
    assert "Traceback" not in done.output and "Errno" not in done.output
    for text in expected:
        assert text in errors[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_a_usage_error(name: str) -> None:
    done = invoke(name, *needed(name), "--no-such-option")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("Error: No such option") and "--no-such-option" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_value_that_is_no_choice_or_number_is_a_usage_error(name: str) -> None:
    """Every option of every command that has choices or is a number."""
    for parameter in cli.main.commands[name].params:
        plain = isinstance(parameter.type, click.types.StringParamType | click.Path) or getattr(
            parameter, "is_flag", False
        )
        if isinstance(parameter, click.Option) and not plain:
            done = invoke(name, *needed(name), parameter.opts[0], "no-such-value")
            last = done.stderr.splitlines()[-1]
            assert done.exit_code == 2 and last.startswith("Error: Invalid value for") and "no-such-value" in last, (
                done.stderr
            )


def test_an_unknown_command_is_a_usage_error() -> None:
    done = invoke("distil")
    assert done.exit_code == 2 and "No such command 'distil'" in done.stderr


def of_experiment(name: str) -> tuple[str, ...]:
    """The experiment that the command of that name is asked for: without one it lists what there is."""
    return needed(name) if name == "experiment" else ()


def not_there() -> Iterator[Case]:
    """Runs, corpora and presets that are not there, or are a text file, or a folder without any."""
    for name in having("--data"):
        for value in ("nowhere", "text", "empty"):
            if name == "doctor" or (name, value) == ("verify", "empty"):  # an answer of theirs, not an error
                continue
            yield (
                (
                    name,
                    *of_experiment(name),
                    *(needed(name) if name == "archive" else ()),
                    "--dataset",
                    "urbansound8k",
                    "--data",
                    value,
                ),
                (value,),
            )
    for name in having("--preset"):
        corpus = (*of_experiment(name), *(SOUNDS[:4] if "--data" in having_options(name) else ()))
        yield (name, *corpus, "--preset", "nowhere"), ("no preset", "nowhere", "expected one of")
        yield (name, *corpus, "--preset", "text.toml"), ("text.toml", "not a TOML file")
        if "--set" in having_options(name):
            yield (name, *corpus, "--set", "teacher.epoch=3"), ("unknown key 'epoch'", "epochs")
            yield (name, *corpus, "--set", "epochs"), ("'epochs'", "expected TABLE.KEY=VALUE")
    for name in having("--losses"):
        corpus = SOUNDS[:4] if "--data" in having_options(name) else ()
        yield (name, *corpus, "--losses", "angel"), ("angel", "'angle'")
    for value, expected in (
        ("nowhere", "no such"),
        ("text", "expected"),
        ("empty", "expected"),
        ("text.pt", "expected"),
    ):
        for name in ("predict", "export", "cost", "rerun", "follow", "compare"):
            behind = {"predict": ("sound.wav",), "compare": ("run",), "follow": ("--once",)}.get(name, ())
            yield (name, value, *behind), (value, expected if name in ("predict", "follow") else "expected")
        yield ("ban", *SOUNDS, "--teacher", value), (f"no finished run of fold 1 in {value}", "expected")
        yield ("distill", *SOUNDS, "--teacher", value), (f"--teacher {value}: ", "expected teacher files")
        yield ("teacher-file", value, "-o", "made.npz"), (value, "expected")
    for value in ("nowhere", "text.wav", "empty"):
        yield ("predict", "run", value), (value,)


def having_options(name: str) -> set[str]:
    return {option for parameter in cli.main.commands[name].params for option in parameter.opts}


@pytest.mark.parametrize(("arguments", "expected"), [*not_there()], ids=lambda v: " ".join(v))
def test_what_is_not_there_or_not_what_it_should_be(
    place: Path, arguments: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert_one_line(invoke(*arguments), *expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("predict", "run", "other/fold1-seed0", "sound.wav"),
            ("other/fold1-seed0 knows other classes", "corpus other"),
        ),
        (("compare", "run", "other/fold1-seed0"), ("other", "tiny", "expected runs of one corpus")),
        (("export", "other/fold1-seed0"), ("cache/other",)),
        (("ensemble", "run", "no-run"), ("no-run", "no finished run", "expected a run folder")),
        (("ensemble", "text.tar.gz"), ("text.tar.gz", "no finished run")),
        (("explain", "run", "no-run"), ("no-run", "no finished run", "expected a run folder")),
        (("explain", "run", "other/fold1-seed0"), ("is of", "expected runs of one corpus")),
        (("explain", "images/fold0-seed0"), ("images/fold0-seed0 is of images", "expected runs on sounds")),
        (("explain", "other/fold1-seed0"), ("no features in cache/other",)),
        (("ensemble", "run", "other/fold1-seed0"), ("is of", "expected runs of one corpus")),
        (("rerun", "other/fold1-seed0"), ("no features of fold 1, 2 in cache/other",)),
        (("rerun", "images/fold0-seed0"), (ARCHIVE, "make data DATASET=cifar100")),
        (("rerun", "images/fold0-seed0", "--archive", "text.tar.gz"), ("text.tar.gz", "MD5", "expected")),
        (("rerun", "run", "--archive", "text.tar.gz"), ("text.tar.gz", "trained on sounds")),
        (("ban", *SOUNDS, "--teacher", "other", "--folds", "1"), ("other/fold1-seed0", "corpus other", "expected")),
        (("ban", *SOUNDS, "--teacher", "trained", "--folds", "1"), ("no finished run of fold 1 in trained",)),
        (("teacher-file", "run", "-o", "text.wav"), ("text.wav", "ends with .npz or .h5")),
        (("distill", *SOUNDS, "--teacher", "nowhere.npz"), ("--teacher nowhere.npz: not there", "expected")),
        (("distill", *SOUNDS, "--teacher", "no*.h5"), ("no*.h5", "no file fits this pattern")),
        (("distill", *SOUNDS, "--teacher-onnx", "text"), ("text", "onnxruntime cannot read it")),
        (("table4", "--archive", "text.tar.gz"), ("text.tar.gz", "MD5", "expected")),
        (("table4", "--archive", "text.tar.gz", "--no-checksum"), ("text.tar.gz: damaged archive",)),
        (("table4", "--archive", "nowhere"), ("no file nowhere", ARCHIVE)),
        (("table4",), (f"no {ARCHIVE}", "make data DATASET=cifar100")),
        (("ban", "--dataset", "cifar100"), (f"no {ARCHIVE}",)),
        (("verify", "--dataset", "cifar100", "--data", "text"), ("text",)),
        (
            ("data", "--dataset", "esc50", "--yes", "--url", "http://127.0.0.1:9/nothing"),
            ("http://127.0.0.1:9/nothing",),
        ),
        (("teacher", *SOUNDS, "--folds", "7"), ("fold 7 is not in sounds", "expected some of 1 2")),
        (("features", *SOUNDS, "--folds", "7"), ("fold 7: sounds has the folds 1, 2",)),
        (("distill", *SOUNDS), ("no finished teacher of fold 1", "make teacher")),
        (("teacher", *SOUNDS, "--layout", "diagonal"), ("'diagonal'", "expected")),
        (("teacher", *SOUNDS, "--backend", "dask", "--scheduler", "nonsense://x"), ("nonsense://x", "expected")),
        (("inspect", *SOUNDS, "--fold", "7"), ("fold 7",)),
        (("inspect", *SOUNDS, "--clip", "nothing.wav"), ("nothing.wav",)),
        (("teacher", *SOUNDS, "--set", "features.bins=9"), ("bins_per_octave", "expected a multiple of 9")),
        (("teacher", *SOUNDS, "--set", "teacher.lr=-1"), ("lr = -1", "expected")),
        (("teacher", *SOUNDS, "--set", "teacher.model=vgg"), ("'vgg'", "expected")),
        (("runs", "--corpus", "nothing"), ("'nothing'", "expected")),
        (("follow", "--corpus", "nothing"), ("'nothing'", "expected")),
        (("retrieval", *SOUNDS[:4]), ("sounds", "make")),
        (("report", *SOUNDS[:4]), ("sounds", "make")),
    ],
    ids=lambda v: " ".join(v),
)
def test_what_does_not_go_together(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between one attempt to fetch and the next
    assert_one_line(invoke(*arguments), *expected)


#: The commands that read runs alone, so quickly done that the test is about the corpus.
READERS = (
    ("report", "--no-page"),
    ("export", "--calibration", "4"),
    ("cost", "--repeats", "10"),
    ("retrieval",),
)


@pytest.fixture
def theirs(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with runs of the corpus tiny and its features; no data set is anywhere."""
    shutil.copytree(workplace / "trained", tmp_path / "runs")
    (tmp_path / "cache").symlink_to(workplace / "cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("arguments", READERS, ids=lambda v: v[0])
def test_the_only_corpus_with_runs_is_meant_and_none_is_made(theirs: Path, arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    assert "runs of tiny: no other corpus has any in runs/" in done.stderr
    assert not (theirs / "data").exists()


@pytest.mark.parametrize("arguments", READERS, ids=lambda v: v[0])
def test_whose_runs_is_asked_for_by_name(theirs: Path, arguments: tuple[str, ...]) -> None:
    """Of two corpora neither is taken; one that has no runs is said to have none; without any runs the way there is."""
    done = invoke(arguments[0], "--dataset", "synthetic")
    assert_one_line(done, "no finished run of synthetic", "there are runs of tiny")
    shutil.copytree(theirs / "runs" / "tiny", theirs / "runs" / "other")
    assert_one_line(invoke(*arguments), "there are runs of other, tiny; say which is meant: --dataset")
    shutil.rmtree(theirs / "runs")
    assert_one_line(invoke(*arguments), "no finished run in runs", "make teacher")
    assert not (theirs / "data").exists()


SHORT = (
    "--jobs",
    "1",
    "--pack",
    "1",
    "--layout",
    "loop",
    "--device",
    "cpu",
    "--folds",
    "1",
    "--set",
    "teacher.epochs=1",
    "--set",
    "student.epochs=1",
    "--set",
    "teacher.model=cnn2",
)


@pytest.fixture
def mine(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own that sees what was ``made``."""
    for name in ("run", "sounds", "sound.wav", "cache"):
        (tmp_path / name).symlink_to(workplace / name)
    variant(workplace / "run", tmp_path / "runs" / "sounds" / "student-x" / "ce1" / "fold1-seed0", corpus="sounds")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("blocked", "arguments"),
    [
        ("cache", ("features", *SOUNDS, "--backend", "sequential")),
        ("runs", ("teacher", *SOUNDS, *SHORT)),
        ("runs", ("table3", *SOUNDS, *SHORT)),
        ("runs", ("ban", *SOUNDS, *SHORT)),
        ("reports", ("report", *SOUNDS[:4])),
        ("reports", ("inspect", *SOUNDS, "--clip", "1000-0-0-0.wav")),
        ("reports", ("cost", "run", "--repeats", "10")),
        ("reports", ("follow", "--once", "--log", "tensorboard")),
        ("reports", ("teacher", *SOUNDS, *SHORT, "--log", "tensorboard")),
        ("exports", ("export", "run", "--calibration", "4")),
        ("data", ("data", "--dataset", "esc50", "--yes")),
        ("target", ("rerun", "run", "--to", "target/deeper")),
    ],
    ids=lambda v: v if isinstance(v, str) else v[0],
)
def test_a_place_that_cannot_be_written(mine: Path, blocked: str, arguments: tuple[str, ...]) -> None:
    path = mine / blocked
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.write_text("a file where a folder is expected")
    if "--log" in arguments:
        pytest.importorskip("tensorboard")
    assert_one_line(invoke(*arguments), blocked)


def files(place: Path) -> set[Path]:
    return {path for path in place.rglob("*") if path.is_file()}


LOG = ("--log", "tensorboard")
DASK = ("--backend", "dask")


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("torch.utils.tensorboard", "tensorboard", ("teacher", *SOUNDS, *LOG)),
        ("torch.utils.tensorboard", "tensorboard", ("distill", *SOUNDS, *LOG)),
        ("torch.utils.tensorboard", "tensorboard", ("table3", *SOUNDS, *LOG)),
        ("torch.utils.tensorboard", "tensorboard", ("ban", *SOUNDS, *LOG)),
        ("torch.utils.tensorboard", "tensorboard", ("table4", *LOG)),
        ("torch.utils.tensorboard", "tensorboard", ("follow", *LOG)),
        ("dask.distributed", "dask", ("features", *SOUNDS, *DASK, "--set", "features.noise_seed=1")),
        ("dask.distributed", "dask", ("teacher", *SOUNDS, *DASK)),
        ("dask.distributed", "dask", ("table3", *SOUNDS, *DASK)),
        ("dask.distributed", "dask", ("ban", *SOUNDS, *DASK)),
        ("matplotlib", "plots", ("inspect", *SOUNDS, "--clip", "1000-0-0-0.wav")),
        ("matplotlib", "plots", ("report", *SOUNDS[:4])),
        ("onnx", "export", ("export", "run")),
        ("onnxruntime", "export", ("export", "run")),
        ("sounddevice", "mic", ("predict", "run", "--microphone")),
    ],
    ids=lambda v: v if isinstance(v, str) else v[0],
)
def test_an_extra_that_is_not_installed(
    mine: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str, arguments: tuple[str, ...]
) -> None:
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    before = files(mine)
    assert_one_line(invoke(*arguments), f"audio-rkd[{extra}]", "pip install")
    if arguments[0] != "report":  # whose table does not need the extra
        assert files(mine) == before


@pytest.mark.parametrize(
    ("target", "unbuffered", "code", "said"),
    [("gone", "", 141, ""), ("gone", "1", 141, ""), ("/dev/full", "", 1, "No space left on device")],
)
def test_what_cannot_be_written_ends_once(target: str, unbuffered: str, code: int, said: str) -> None:
    """As SIGPIPE ends other tools; neither a second line by the interpreter nor its exit code 120."""
    if target == "gone":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(target, os.O_WRONLY)
    try:
        done = subprocess.run(
            [sys.executable, "cli.py", "settings"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    finally:
        os.close(writer)
    assert done.returncode == code
    assert said in done.stderr and len(done.stderr.splitlines()) == bool(said)


def test_a_pipe_to_a_process_that_died_is_no_reader_that_is_gone(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, clear_errors():
        raise BrokenPipeError(32, "Broken pipe")
    assert end.value.code == 1 and "Broken pipe" in capfd.readouterr().err


#: Each command in a process of its own that has all libraries already, with a reader that is gone before it writes.
PIPES = """
import os, sys
import cli, torch, pipeline.deploy.prediction, pipeline.features, pipeline.engine.missing, pipeline.report
torch.set_num_threads(1)
for line in sys.stdin.read().splitlines():
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, line, flush=True)
        continue
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    try:
        cli.main(line.split(), prog_name="audio-rkd")
    except SystemExit as end:  # what the interpreter does then, without the second in which it forgets its libraries
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)
"""


@pytest.mark.slow
def test_a_reader_that_is_gone(mine: Path) -> None:
    lines = [
        "--help",
        "teacher --help",
        f"status {' '.join(SOUNDS)}",
        "runs",
        "runs --json",
        "compare run run",
        "follow --once",
        f"inspect {' '.join(SOUNDS)}",
        "predict run sound.wav",
        "predict run sound.wav --json",
        "doctor --torch cpu",
        f"report {' '.join(SOUNDS[:4])} --no-page",
        f"verify {' '.join(SOUNDS[:4])}",
        "distill --explain",
        f"features {' '.join(SOUNDS)}",
        "experiment",
        "settings",
    ]
    done = subprocess.run(
        [sys.executable, "-c", PIPES],
        input="\n".join(lines),
        cwd=mine,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and done.stdout.splitlines() == [f"141 {line}" for line in lines], done.stdout
    read = ["runs/sounds/student-x/ce1/fold1-seed0"] * 3 + ["run"] + ["runs/sounds/student-x/ce1/fold1-seed0"]
    note = "note: {} was made before identities; not checked (docs/reliability.md)"
    assert done.stderr.splitlines() == [note.format(folder) for folder in read]
