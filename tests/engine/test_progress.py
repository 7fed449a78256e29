"""What training says: whom a line is about, each mix by itself, and how far the whole command is, from the files of its runs alone."""

from __future__ import annotations

import dataclasses
import io
import threading
from pathlib import Path

import pytest

from pipeline import progress, runs
from pipeline.config import Settings
from pipeline.engine import epochs, whole
from pipeline.engine.epochs import EpochLog, counted
from pipeline.engine.whole import Whole
from pipeline.losses import LossMix
from pipeline.runs.planned import PlannedRun


def planned(tmp_path: Path, mix: str, fold: int, seed: int = 0) -> PlannedRun:
    folder = tmp_path / mix.replace(":", "") / f"fold{fold}-seed{seed}"
    settings = Settings()
    settings = dataclasses.replace(settings, student=dataclasses.replace(settings.student, epochs=4))
    return PlannedRun("x", "x", "student", "toy", settings, fold, seed, LossMix.parse(mix), at=folder)


def record(epoch: int, accuracy: float, loss: float, term: str) -> dict:
    return {"epoch": epoch, "accuracy": accuracy, "loss": loss, "terms": {term: {"raw": loss, "weighted": loss}}}


def test_each_mix_has_its_own_figures(tmp_path: Path) -> None:
    """Losses of different mixes do not compare, so no mean is over several."""
    pack = [planned(tmp_path, mix, fold) for mix in ("soft", "ce") for fold in (1, 2)]
    lines: list[str] = []
    log = EpochLog(pack, lines.append)
    log.begin()
    for index, (accuracy, loss) in enumerate([(0.2, 1.0), (0.4, 2.0), (0.5, 30.0), (0.7, 50.0)]):
        log.keep(index, record(1, accuracy, loss, "soft" if index < 2 else "ce"))
    log.flush()
    first, head, soft, ce = lines
    assert "cnn2  4 runs  folds 1 2  seed 0: soft:1, ce:1; training, 4 epochs" in first
    assert head.split("  ")[1:] == ["cnn2", "4 runs", "folds 1 2", "seed 0", "epoch 1/4"]
    assert soft == "    soft:1  accuracy 0.300 worst 0.200  loss 1.5 = soft 1.5 (raw 1.5)"
    assert ce == "    ce:1  accuracy 0.600 worst 0.500  loss 40 = ce 40 (raw 40)"


def test_a_space_in_place_of_the_classes_has_no_accuracy(tmp_path: Path) -> None:
    """Its outputs are zeros, which name the first class alone."""
    run = planned(tmp_path, "proto:1,soft:0", 1)
    space = dataclasses.replace(run.settings.student, model="cnn2+16")
    run = dataclasses.replace(run, settings=dataclasses.replace(run.settings, student=space))
    (line,) = epochs.epoch_lines([(run, record(1, 0.2, 1.5, "proto"))], "")
    assert "accuracy" not in line and line.endswith("proto:1,soft:0  loss 1.5 = proto 1.5 (raw 1.5)"), line


def test_a_single_mix_stands_in_one_line_and_short_epochs_are_not_all_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(epochs.time, "monotonic", lambda: clock[0])
    lines: list[str] = []
    log = EpochLog([planned(tmp_path, "ce", 3, 7)], lines.append)
    for epoch in (1, 2, 3, 4):
        clock[0] += 0.2
        log.keep(0, record(epoch, 0.5, 1.0, "ce"))
    log.flush()
    assert [line.split("epoch ")[1][:3] for line in lines] == ["1/4", "4/4"]
    assert lines[0].startswith("  cnn2  1 run  fold 3  seed 7  epoch 1/4  ce:1  accuracy 0.500  loss 1 = ce 1 (raw 1)")


@pytest.mark.parametrize(
    ("numbers", "words"), [([3], "fold 3"), ([1, 2], "folds 1 2"), ([1, 2, 5], "folds 1 2 5"), ([2, 3, 4], "folds 2-4")]
)
def test_folds_in_words(numbers: list[int], words: str) -> None:
    assert counted("fold", numbers) == words


def test_how_far_a_command_is_follows_from_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what an epoch of each network costs: 4 epochs of cost 10 take as long as 40 of cost 1."""
    clock = [0.0]
    monkeypatch.setattr(whole.time, "monotonic", lambda: clock[0])
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    of = Whole(3, ((teacher, 4, 10.0), (student, 40, 1.0)))
    assert of.told() == "runs 1 of 3"
    for epoch in (1, 2):
        runs.append_metrics(teacher, {"epoch": epoch})
    clock[0] = 20.0
    assert of.told() == "runs 1 of 3, about 1 min 00 s left"  # 20 of 80 in 20 s
    (teacher / "result.json").write_text("{}")
    assert of.told() == "runs 1 of 3, about 1 min 00 s left"  # looked at a moment ago
    clock[0] = 40.0
    assert of.told() == "runs 2 of 3, about 40 s left"
    assert of.far() == (0.5, "runs 2 of 3, about 40 s left")  # 40 of 80
    assert Whole(1, ()).told() == ""


def test_a_teachers_epoch_costs_more_than_a_students() -> None:
    shape = (5, 20, 173)
    assert whole.multiplications("resnet18", shape, 10) > 3 * whole.multiplications("cnn2", shape, 10)
    assert whole.multiplications("cnn2", shape, 10) == (
        20 * 173 * 32 * 5 * 9 + 10 * 86 * 16 * 32 * 9 + 5 * 43 * 16 * 32 + 32 * 10
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_stands_at_the_foot_of_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.001)
    drawn = threading.Event()

    def far() -> tuple[float, str]:
        drawn.set()
        return 0.25, "runs 1 of 4, about 3 min left"

    for stream in (Terminal(), io.StringIO()):
        drawn.clear()
        with progress.foot(far, stream):
            if stream.isatty():
                assert drawn.wait(10)
        text = stream.getvalue()
        if stream.isatty():
            assert text.startswith("\r\x1b[K[######------------------] runs 1 of 4, about 3 min left")
            assert text.endswith("\r\x1b[K") and "\n" not in text
        else:
            assert text == "" and not drawn.is_set()
    assert progress.bar(1.2, "x" * 99, 40) == f"[{'#' * 24}] {'x' * 12}"
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    progress.say("a line")
    assert terminal.getvalue() == "\r\x1b[Ka line\n"
