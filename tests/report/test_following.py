"""The one-line view from run folders with known lines; the log read back by TensorBoard itself."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pipeline import locks, runs
from pipeline.commands import follow
from pipeline.config import InputError
from pipeline.report import following, tensorboard
from tests.recorded import write_run
from tests.tiny import QUICK, ROOT, invoke, write_corpus

if TYPE_CHECKING:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def write_epochs(folder: Path, accuracies: list[float], seconds: float = 3.0) -> None:
    for epoch, accuracy in enumerate(accuracies, 1):
        runs.append_metrics(
            folder,
            {
                "epoch": epoch,
                "lr": 0.1,
                "loss": 2 / epoch,
                "train_accuracy": 0.5,
                "accuracy": accuracy,
                "test_loss": 1.0,
                "terms": {"soft": {"raw": 1.0, "weighted": 1.0}, "hinton@T=4": {"raw": 0.5, "weighted": 20.0}},
                "seconds": seconds,
            },
        )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs under way of 40 epochs each, at epochs 2, 2 and 4; one finished; one that has not begun."""
    for fold, accuracies in enumerate(([0.2, 0.5], [0.3, 0.4], [0.1, 0.2, 0.3, 0.9]), 1):
        write_epochs(write_run(tmp_path, None, fold=fold), accuracies)
    done = write_run(tmp_path, 8, fold=1, seed=1)
    write_epochs(done, [0.8])
    (tmp_path / "runs" / "tiny" / "student-x" / "fold9-seed9").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_line_is_the_runs_last_records(place: Path) -> None:
    done = invoke("follow", "--once")
    assert done.exit_code == 0, done.output
    # 38 epochs of 3 s are left to the slowest.
    head, of_mix = done.stdout.strip().split("\n")
    assert head == (
        "3 runs, epoch 2–4 of 40, 1 min 54 s left, accuracy mean 60.0 %, worst 40.0 % (fold2-seed0); 1 finished"
    )
    # Their last losses are 1, 1 and 0.5.
    assert of_mix.strip().startswith(
        "soft:1  3 runs  accuracy 0.600 worst 0.400  loss 0.8333 = hinton@T=4 20 (raw 0.5)"
    )


def test_a_trusted_teacher_is_said_beside_the_line(place: Path) -> None:
    folders = sorted((place / "runs").rglob("fold*-seed0/config.json"))
    assert "trusted" not in invoke("follow", "--once").stdout
    for count, path in enumerate(folders[:3], 1):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"trusted": True}))
        head = invoke("follow", "--once").stdout.split("\n")[0]
        assert head.endswith(f", trusted teacher{f' of {count}' if count < 3 else ''}; 1 finished")
    data = json.loads(invoke("follow", "--once", "--json").stdout)
    assert [run["trusted"] for run in data["runs"]] == [True] * 3


def test_of_several_mixes_the_worst_is_named_with_its_own(place: Path) -> None:
    write_epochs(write_run(place, None, fold=1, mix="angle"), [0.1])
    text = invoke("follow", "--once").stdout
    assert "worst 10.0 % (angle50+soft1/fold1-seed0)" in text
    head, *each = text.strip().split("\n")
    assert "mean" not in head and len(each) == 2  # losses of different mixes do not compare
    assert sorted(line.split("  accuracy")[0].strip() for line in each) == ["angle:50,soft:1  1 run", "soft:1  3 runs"]
    assert "1 run  accuracy 0.100  loss 2 = " in text


def test_more_mixes_than_a_terminal_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((80, 5)))
    assert follow.seen_at_once(list("abcd")) == list("abcd")
    assert follow.seen_at_once(list("abcdef")) == ["a", "b", "c", "  … and 3 more"]
    assert follow.over(1) == "\r\x1b[K" and follow.over(3) == "\r\x1b[2A\x1b[J"


def test_in_a_terminal_the_line_is_drawn_over_and_never_wrapped(place: Path) -> None:
    """A real terminal of 60 columns, in which a run ends."""
    folder = next((place / "runs").rglob("fold3-seed0"))
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    code = "from pipeline.report import following; following.follow.__kwdefaults__['grace'] = 0; import cli; cli.main()"
    view = subprocess.Popen(
        [sys.executable, "-c", code, "follow", str(folder), "--every", "0.1"],
        cwd=place,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"PYTHONPATH": str(ROOT)},
    )
    os.close(terminal)
    drawn = b""
    with suppress(OSError):  # how a terminal says that its last process is gone
        while part := os.read(controller, 4096):
            drawn += part
            if b"1 run" in drawn and not runs.finished(folder):
                (folder / "result.json").write_text("{}")
    os.close(controller)
    assert view.wait(60) == 0
    text, last = (text.strip() for text in drawn.decode().removeprefix("\r\x1b[K").split("\r\x1b[1A\x1b[J"))
    first, of_mix = text.split("\r\n")
    assert first == "1 run, epoch 4 of 40, 1 min 48 s left, accuracy 90.0 %"
    assert of_mix.strip().startswith("soft:1  1 run  accuracy 0.900  loss 0.5 = ") and of_mix.endswith("…")
    assert last == "no run under way; 1 finished"
    assert all(len(line) < 60 for line in (first, of_mix, last))
    assert len(follow.fitting("x" * 200)) == shutil.get_terminal_size().columns - 1


def test_one_run_alone(place: Path) -> None:
    folder = next((place / "runs").rglob("fold3-seed0"))
    assert "1 run, epoch 4 of 40, 1 min 48 s left, accuracy 90.0 %\n" in invoke("follow", "--once", str(folder)).stdout


def test_half_a_line_is_not_read_and_silence_is_told(place: Path) -> None:
    folder = next((place / "runs").rglob("fold1-seed0"))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "accu')
    old = time.time() - 7200
    os.utime(folder / "metrics.jsonl", (old, old))
    text = invoke("follow", "--once").stdout
    assert "epoch 2–4 of 40" in text and "1 silent for 2 h 00 min: stopped?" in text


def test_the_view_ends_with_the_last_run(place: Path) -> None:
    shown: list[str] = []
    folders = sorted((place / "runs").rglob("fold*-seed0"))
    looks = iter(
        [
            (folders[:2], []),
            (folders[:2], []),
            (folders[:1], folders[1:2]),
            ([], folders[:2]),
            ([], folders[:2]),
        ]
    )
    following.follow(lambda: next(looks), shown.append, every=0.0, grace=0.0)
    assert [text.split(",")[0] for text in shown] == ["2 runs", "1 run", "no run under way; 2 finished"]


def test_the_view_ends_where_all_runs_were_stopped(place: Path) -> None:
    """Also those that were killed before their first epoch, whose files say nothing but when they began."""
    folders = sorted((place / "runs").rglob("fold*-seed0"))
    killed = write_run(place, None, fold=7)
    old = time.time() - 7200
    for path in (*(folder / "metrics.jsonl" for folder in folders), killed / "config.json"):
        os.utime(path, (old, old))
    shown: list[str] = []
    following.follow(lambda: ([*folders, killed], []), shown.append, every=0.0, grace=0.0)
    (text,) = shown
    assert text.startswith("4 runs, epoch 0–4 of 40, 4 silent for 2 h 00 min: stopped?")


def test_a_first_epoch_may_take_hours(place: Path) -> None:
    """As long as somebody trains: the lock of the training says so, wherever the run lies below it."""
    slow = write_run(place, None, fold=7)
    old = time.time() - 7200
    os.utime(slow / "config.json", (old, old))
    assert "1 silent for 2 h 00 min: stopped?" in following.line([slow])
    for above in slow.parents[1:4]:
        with locks.locked(above / "training", "runs"):
            assert following.line([slow]) == "1 run, epoch 0 of 40"
    with locks.locked(slow, "its repetition"):
        assert following.line([slow]) == "1 run, epoch 0 of 40"


def test_made_up_sounds_are_stamped(place: Path) -> None:
    folder = next((place / "runs").rglob("fold1-seed0"))
    record = json.loads((folder / "config.json").read_text()) | {"synthetic": True}
    (folder / "config.json").write_text(json.dumps(record))
    assert invoke("follow", "--once").stdout.startswith("SYNTHETIC 3 runs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere: no such folder"),
        (("empty",), "no run in it"),
        (("--corpus", "esc50"), "no runs of 'esc50'"),
    ],
)
def test_wrong_input_is_one_line(place: Path, arguments: tuple[str, ...], message: str) -> None:
    (place / "empty").mkdir()
    done = invoke("follow", "--once", *arguments)
    assert done.exit_code == 1 and message in done.stderr and done.stderr.count("error:") == 1


def test_without_the_extra_the_line_says_how_to_get_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for lacking, module in (("pillow", "PIL.Image"), ("tensorboard", "torch.utils.tensorboard")):
        monkeypatch.setitem(sys.modules, module, None)
        if lacking == "tensorboard":
            monkeypatch.setitem(sys.modules, "PIL.Image", ModuleType("PIL.Image"))
        done = invoke("follow", "--once", "--log", "tensorboard")
        assert done.exit_code == 1 and f"the package {lacking} is not installed" in done.stderr
        assert f"{sys.executable} -m pip install 'audio-rkd[tensorboard]'" in done.stderr
        with pytest.raises(InputError):
            tensorboard.summary_writer()


def test_tags_and_values_of_an_epoch() -> None:
    record = {
        "epoch": 1,
        "loss": 3.0,
        "accuracy": None,
        "terms": {"hinton@T=4": {"raw": 2.0, "weighted": 40.0}},
    }
    assert tensorboard.scalars(record) == {"loss": 3.0, "raw/hinton_T-4": 2.0, "weighted/hinton_T-4": 40.0}


def test_the_matrix_as_picture_and_text() -> None:
    counts = np.array([[3, 1], [0, 0]])
    drawn = tensorboard.picture(counts, side=2)
    assert drawn.shape == (4, 4, 3) and drawn.dtype == np.uint8
    assert drawn[3, 3].tolist() == [255, 255, 255]  # no clips, no share
    assert drawn[0, 0].tolist() == [round(255 - 0.75 * (255 - c)) for c in (8, 48, 107)]
    assert tensorboard.matrix_text(counts, ("a", "b")).splitlines()[2] == "| a | 3 | 1 |"


def events(log: Path) -> dict[str, EventAccumulator]:
    """Name of a run's folder → what TensorBoard itself reads there."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = {}
    for folder in {path.parent for path in log.rglob("events.out.tfevents.*")}:
        logs[str(folder.relative_to(log))] = EventAccumulator(str(folder))
        logs[str(folder.relative_to(log))].Reload()
    return logs


def test_the_log_holds_every_epoch_once(place: Path) -> None:
    pytest.importorskip("tensorboard")
    for _ in range(2):  # a second log over the first one
        assert invoke("follow", "--once", "--log", "tensorboard", "--to", "log").exit_code == 0
    logs = {Path(name).name: each for name, each in events(place / "log").items()}
    assert set(logs) == {"fold1-seed0", "fold2-seed0", "fold3-seed0", "fold1-seed1"}
    accuracy = [(e.step, round(e.value, 6)) for e in logs["fold3-seed0"].Scalars("accuracy")]
    assert accuracy == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.9)]
    assert [e.value for e in logs["fold3-seed0"].Scalars("weighted/hinton_T-4")] == [20.0] * 4
    assert logs["fold1-seed1"].Tags()["images"] == ["confusion"]
    assert not logs["fold3-seed0"].Tags()["images"]


def test_while_runs_are_trained_the_log_grows_and_others_are_left_out(place: Path) -> None:
    pytest.importorskip("tensorboard")
    log = tensorboard.TensorBoardLog(place / "log", Path("runs"))
    with tensorboard.logging(log, Path("runs/tiny"), every=0.05):
        folder = write_run(place, None, fold=4)
        write_epochs(folder, [0.25])
        until = time.monotonic() + 30
        while not any((place / "log").rglob("events.out.tfevents.*")) and time.monotonic() < until:
            time.sleep(0.02)
        assert any((place / "log").rglob("events.out.tfevents.*"))  # before the end
        runs.append_metrics(folder, {"epoch": 2, "accuracy": 0.5, "terms": {}})
    ((name, events_of_run),) = events(place / "log").items()
    assert Path("runs") / name == folder.relative_to(place)
    assert [(e.step, e.value) for e in events_of_run.Scalars("accuracy")] == [(1, 0.25), (2, 0.5)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny corpus in a folder in which the commands that train were really run, each with a log."""
    pytest.importorskip("tensorboard")
    where = tmp_path_factory.mktemp("log")
    write_corpus(where / "tiny", folds=(1, 2))
    tiny = (
        "--dataset",
        "urbansound8k",
        "--data",
        "tiny",
        *QUICK,
        "--set",
        "teacher.epochs=2",
        "--set",
        "student.epochs=2",
    )
    log = ("--log", "tensorboard", "--jobs", "1", "--pack", "2", "--layout", "loop", "--device", "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        for command in (
            ("features", "--backend", "sequential"),
            ("teacher", *log),
            ("distill", "--losses", "angle", "--folds", "1", *log),
            ("table3", "--folds", "2", *log),
            ("ban", "--model", "student", "--generations", "1", "--folds", "1", *log),
        ):
            done = invoke(*command, *tiny)
            assert done.exit_code == 0, done.output
            if command[0] != "features":
                assert "look at it with: tensorboard --logdir reports/tensorboard" in done.stderr
    return where


def test_every_command_that_trains_logs_its_runs(trained: Path) -> None:
    """Two teachers, a student, the eight rows of table 3, and two generations: what their JSON lines say, no more."""
    logs = events(trained / "reports" / "tensorboard")
    folders = {str(path.parent.relative_to(trained / "runs")) for path in (trained / "runs").rglob("result.json")}
    assert set(logs) == folders and len(folders) == 2 + 1 + 8 + 2
    for name, log in logs.items():
        lines = runs.read_metrics(trained / "runs" / name)
        assert len(lines) == 2 and log.Tags()["images"] == ["confusion"]
        for tag in ("loss", "accuracy", "lr"):
            expected = [(line["epoch"], pytest.approx(line[tag], rel=1e-6)) for line in lines]
            assert [(e.step, e.value) for e in log.Scalars(tag)] == expected
        tags = {
            f"{kind}/{term.replace('@', '_').replace('=', '-')}"
            for term in lines[0]["terms"]
            for kind in ("raw", "weighted")
        }
        assert tags <= set(log.Tags()["scalars"]) and tags
