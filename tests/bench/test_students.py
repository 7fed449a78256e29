"""``bench.students``: rows of the runs that were asked for, differences by fold, the time from sound to class; a stop reaches the command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import sound_to_class, student_document, student_rows, student_table, students
from pipeline import config, runs
from pipeline.config import InputError
from pipeline.figures import bootstrap, statistics
from pipeline.report import recordings
from pipeline.report.table import interval, signed
from tests.tiny import ROOT, audio_rkd, write_corpus

SMALLER = tuple(
    word
    for each in ("student.epochs=1", "teacher.epochs=1", "student.batch=8", "teacher.batch=8")
    for word in ("--set", each)
)


def test_tiny_is_small_with_another_student() -> None:
    """Else its row of the table would be of other settings than the preset's."""
    of_small, of_tiny = config.read("small", student_rows.TINY), config.read("tiny")
    assert (of_small.features, of_small.teacher, of_small.student) == (
        of_tiny.features,
        of_tiny.teacher,
        of_tiny.student,
    )


def test_a_file_of_text_keeps_it(tmp_path: Path) -> None:
    """And each part has its own place there."""
    file = tmp_path / "students.md"
    file.write_text(first := student_document.placed("one\n", file, "presets"))
    file.write_text(f"before\n{first}after\n")
    file.write_text(student_document.placed("beside\n", file, "table3"))
    whole = file.read_text()
    assert student_document.placed("two\n", file, "presets") == whole.replace("one", "two")
    assert student_document.placed("two\n", file, "table3") == whole.replace("beside", "two")
    file.write_text("prose alone\n")
    with pytest.raises(InputError, match="expected that mark"):
        student_document.placed("three\n", file, "presets")


def test_marks_that_would_cost_another_table_are_refused(tmp_path: Path) -> None:
    """And so is what is no text: a part is trained for hours before its table is written."""
    file = tmp_path / "students.md"
    (begin, end), (other, other_end) = student_document.marks("presets"), student_document.marks("table3")
    for text in (
        f"{begin}\n{other}\ndear\n{other_end}\n{end}\n",  # its end was moved behind another part
        f"{begin}\n{end}\n{begin}\n{end}\n",
        f"{end}\n{begin}\n",
        f"{begin}\n",
    ):
        file.write_text(text)
        with pytest.raises(InputError, match="expected"):
            student_document.placed("three\n", file, "presets")
    file.write_bytes(b"\xff\xfe")
    for wrong in (file, tmp_path):
        with pytest.raises(InputError, match="expected a Markdown file"):
            student_document.placed("three\n", wrong, "presets")
    for part in student_rows.PARTS:
        assert "three\n" in student_document.placed("three\n", ROOT / "docs" / "students.md", part.name)


def test_what_would_end_it_after_hours_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "us", folds=(1, 2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(students, "called", lambda *_: pytest.fail("trained"))
    Path("prose.md").write_text("prose\n")
    with pytest.raises(InputError, match="expected that mark"):
        students.main(["--data", "us", "--only", "table3", "--to", "prose.md"])
    for wrong in ("x", "0,0"):
        with pytest.raises(SystemExit):
            students.main(["--data", "us", "--only", "table3", "--seeds", wrong])
        assert f"--seeds: '{wrong}'" in capsys.readouterr().err
    with pytest.raises(InputError, match="trials = 0"):  # of the second part
        students.main(["--data", "us", "--only", "table3,nested-small", "--trials", "0"])
    assert not Path("runs").exists()


@pytest.mark.parametrize("teachers", [1, 3])
@pytest.mark.parametrize("turned", [False, True], ids=["student less teacher", "teacher less student"])
def test_a_teacher_and_a_student_differ_by_the_means_of_all_their_seeds(
    teachers: int, turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by those of one seed, nor of seeds of one number alone: a plain loop over folds, seeds and clips."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 30)
    clips, sources = (
        np.array([f"{place}.wav" for place in range(30)]),
        np.array([f"{place // 2}" for place in range(30)]),
    )
    told: dict[Path, runs.Predictions] = {}

    def run(role: str, fold: int, seed: int) -> Any:
        folder = Path(f"{role}/fold{fold}-seed{seed}")
        told[folder] = runs.Predictions(clips, labels, rng.normal(size=(30, 3)), sources)
        right = float((told[folder].logits.argmax(1) == labels).mean())
        data = dict.fromkeys(("1", "2", "3"))
        result = SimpleNamespace(counts=True, accuracy=right)
        return SimpleNamespace(
            fold=fold, seed=seed, folder=folder, is_teacher=role == "teacher", data=data, result=result
        )

    sides = [
        [run(role, fold, seed) for fold in (1, 2, 3) for seed in range(count)]
        for role, count in (("student", 2), ("teacher", teachers))
    ]
    if turned:
        sides.reverse()
    monkeypatch.setattr(recordings, "predictions", lambda folders: told[folders[0]])
    shown = student_table.difference(*sides)
    means, hits = [], {}
    for fold in (1, 2, 3):
        own = [[told[one.folder] for one in side if one.fold == fold] for side in sides]
        right = [np.mean([one.logits.argmax(1) == labels for one in side], axis=0) for side in own]
        hits[fold] = 100 * (right[0] - right[1])
        means.append(hits[fold].mean())
    drawn = bootstrap.by_recording(hits, dict.fromkeys(hits, sources))
    test = statistics.corrected_t_test(means, 1 / 2)
    assert shown == (
        signed(np.mean(means)),
        interval((test.low, test.high)),
        interval((drawn.low, drawn.high)),
        str(3 * 2 * teachers),
    )


def test_shares_are_of_the_papers_student_and_of_the_same_student_in_python() -> None:
    """What it costs on this machine is for ``python -m bench.sound_to_class`` to say: no test can hold a time."""
    python, one_file = sound_to_class.PYTHON, sound_to_class.ONE_FILE
    medians = {("default", python): 6.0, ("device", python): 5.0, ("device", one_file): 8.0, ("small", one_file): 2.0}
    times = {key: sound_to_class.Times(value, value / 2) for key, value in medians.items()}
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in sound_to_class.table(times).splitlines()]
    assert [line[4:] for line in cells[2:]] == [
        ["1.00", "–", "–"],
        ["0.83", "–", "–"],
        ["1.00", "1.60", "1.5 of Python"],
        ["0.25", "–", "0.7"],
    ]


@pytest.mark.slow
def test_the_rows_are_the_runs_that_were_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "us")
    commands: list[str] = []

    def in_this_process(words: list[str], held: int | None = None) -> int:
        commands.append(words[0])
        return audio_rkd(tmp_path, *words).returncode

    monkeypatch.setattr(students, "called", in_this_process)
    monkeypatch.chdir(tmp_path)
    chosen = ["--data", "us", "--folds", "1-2", "--seeds", "0", "--only", "tiny", "--to", "students.md", *SMALLER]
    for _ in range(2):
        students.main(chosen)
        text = Path("students.md").read_text()
    assert commands == ["features", "teacher", "distill", "distill"]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rows = {line[0]: line for line in lines}
    finished = [record for record in runs.find(Path("runs"), "us") if record.model == "tiny"]
    assert rows["tiny, labels alone"][4] == "2" and rows["tiny, labels alone"][6] == "22,754"
    mean = sum(100 * record.result.accuracy for record in finished if record.recorded_mix == "ce:1") / 2
    assert float(rows["tiny, labels alone"][1]) == pytest.approx(mean, abs=0.006)
    assert float(rows["tiny, labels alone"][8]) > 0 and float(rows["tiny, labels alone"][9]) > 0
    assert student_table.CAPTION in text and "SYNTHETIC" not in text


def test_a_stop_is_handed_to_the_command_and_waited_for(tmp_path: Path) -> None:
    """The command says when it has saved what it trains; only then does the bench end, with a shell's code of Ctrl-C."""
    (tmp_path / "cli.py").write_text(
        "import signal, sys, time\n"
        "def stop(*_):\n    time.sleep(0.5); open('saved', 'w').close(); sys.exit(130)\n"
        "signal.signal(signal.SIGINT, stop)\nopen('begun', 'w').close()\ntime.sleep(30)\n"
    )
    script = "from bench.commands import called\ncalled(['teacher'])"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    bench = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    with contextlib.ExitStack() as stack:
        stack.callback(bench.kill)
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        bench.send_signal(signal.SIGINT)
        assert bench.wait(60) == 130
    assert (tmp_path / "saved").exists()
