"""The one-line view from run folders with known lines; the log read back by TensorBoard itself."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline import following, runs
from pipeline.config import InputError
from tests.test_comparison import write_run
from tests.test_retrieval import invoke


def write_epochs(folder: Path, accuracies: list[float], seconds: float = 3.0) -> None:
    for epoch, accuracy in enumerate(accuracies, 1):
        runs.append_metrics(folder, {
            "epoch": epoch, "lr": 0.1, "loss": 2 / epoch, "train_accuracy": 0.5, "accuracy": accuracy, "test_loss": 1.0,
            "terms": {"soft": {"raw": 1.0, "weighted": 1.0}, "hinton@T=4": {"raw": 0.5, "weighted": 20.0}}, "seconds": seconds,
        })  # fmt: skip


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
    assert done.stdout.strip() == (
        "3 runs, epoch 2–4 of 40, accuracy mean 60.0 %, worst 40.0 % (fold2-seed0), 1 min 54 s left; 1 finished"
    )


def test_one_run_alone(place: Path) -> None:
    folder = next((place / "runs").rglob("fold3-seed0"))
    assert "1 run, epoch 4 of 40, accuracy mean 90.0 %" in invoke("follow", "--once", str(folder)).stdout


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


def test_made_up_sounds_are_stamped(place: Path) -> None:
    folder = next((place / "runs").rglob("fold1-seed0"))
    record = json.loads((folder / "config.json").read_text()) | {"synthetic": True}
    (folder / "config.json").write_text(json.dumps(record))
    assert invoke("follow", "--once").stdout.startswith("SYNTHETIC 3 runs")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "nowhere: no such folder"),
        (("empty",), "no run in it"),
        (("--corpus", "esc50"), "no runs of 'esc50'"),
    ],
)
def test_wrong_input_is_one_line(place: Path, arguments: tuple[str, ...], said: str) -> None:
    (place / "empty").mkdir()
    done = invoke("follow", "--once", *arguments)
    assert done.exit_code == 1 and said in done.stderr and done.stderr.count("error:") == 1


def test_without_the_extra_the_line_says_how_to_get_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = invoke("follow", "--once", "--log", "tensorboard")
    assert done.exit_code == 1
    assert "pip install 'audio-rkd[tensorboard]'" in done.stderr
    with pytest.raises(InputError):
        following.summary_writer()


def test_tags_and_values_of_an_epoch() -> None:
    record = {
        "epoch": 1,
        "loss": 3.0,
        "accuracy": None,
        "terms": {"hinton@T=4": {"raw": 2.0, "weighted": 40.0}},
    }
    assert following.scalars(record) == {"loss": 3.0, "raw/hinton_T-4": 2.0, "weighted/hinton_T-4": 40.0}


def test_the_matrix_as_picture_and_text() -> None:
    counts = np.array([[3, 1], [0, 0]])
    drawn = following.picture(counts, side=2)
    assert drawn.shape == (4, 4, 3) and drawn.dtype == np.uint8
    assert drawn[3, 3].tolist() == [255, 255, 255]  # no clips, no share
    assert drawn[0, 0].tolist() == [round(255 - 0.75 * (255 - c)) for c in (8, 48, 107)]
    assert following.matrix_text(counts, ("a", "b")).splitlines()[2] == "| a | 3 | 1 |"


def test_the_log_holds_every_epoch_once(place: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # a second log over the first one
        assert invoke("follow", "--once", "--log", "tensorboard", "--to", "log").exit_code == 0
    found = {}
    for folder in {path.parent for path in (place / "log").rglob("events.out.tfevents.*")}:
        events = EventAccumulator(str(folder))
        events.Reload()
        found[folder.name] = events
    assert set(found) == {"fold1-seed0", "fold2-seed0", "fold3-seed0", "fold1-seed1"}
    events = found["fold3-seed0"]
    assert [(e.step, round(e.value, 6)) for e in events.Scalars("accuracy")] == [
        (1, 0.1),
        (2, 0.2),
        (3, 0.3),
        (4, 0.9),
    ]
    assert [e.value for e in events.Scalars("weighted/hinton_T-4")] == [20.0] * 4
    assert found["fold1-seed1"].Tags()["images"] == ["confusion"] and not events.Tags()["images"]
