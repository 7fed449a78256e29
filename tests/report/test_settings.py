"""``audio-rkd settings``: every setting with its value, unit, source and meaning, as a preset that reads back to the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline import config, presets
from pipeline.report.settings import commented, lines
from tests.recorded import write_run
from tests.tiny import invoke


@pytest.mark.parametrize("preset", sorted(path.stem for path in presets.FOLDER.glob("*.toml")))
def test_what_is_printed_is_the_preset(preset: str, tmp_path: Path) -> None:
    done = invoke("settings", "--preset", preset, "--set", "student.lr=0.125")
    assert done.exit_code == 0, done.stderr
    (tmp_path / "mine.toml").write_text(done.stdout, encoding="utf-8")
    mine, theirs = config.read(str(tmp_path / "mine.toml")), config.read(preset, ["student.lr=0.125"])
    for table in config.KINDS:
        assert getattr(mine, table) == getattr(theirs, table)
    assert mine.chosen == theirs.chosen
    assert "lr = 0.125  # per step; [--set]" in done.stdout


def test_every_setting_has_words_a_unit_and_a_source() -> None:
    for line in lines("strong"):
        assert len(line.words) > 10 and line.origin.endswith("]") and line.origin.split(":")[0], line
        number = isinstance(line.value, float) or (isinstance(line.value, int) and not isinstance(line.value, bool))
        assert line.unit or not number or line.key in ("noise_seed", "teacher_seed"), line
    origins = {(line.table, line.key): line.origin for line in lines("strong")}
    assert origins["teacher", "batch"] == "ours: published is 8 [strong]"
    assert origins["student", "gamma"] == "published [default]"
    keys = {(line.table, line.key) for line in lines("default")}
    assert keys == {
        (table, field.name) for table, kind in config.KINDS.items() for field in dataclasses.fields(kind)
    } - {("features", "version")}


def test_a_comment_begins_behind_the_value() -> None:
    text = "[a]\nx = \"#1\"  # one\ny = 2\nz = 1e-4# three\n[b]\nx = '#' # four # five\n"
    assert dict(commented(text)) == {("a", "x"): "one", ("a", "z"): "three", ("b", "x"): "four # five"}


def test_what_differs_between_presets(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "paper"\n[student]\nlr = 0.5\n')
    done = invoke("settings", "--diff", "paper", str(tmp_path / "mine.toml"))
    assert done.stdout.splitlines()[0].endswith("1 setting differs")
    assert done.stdout.splitlines()[1].split() == ["student.lr", "0.1", "→", "0.5"]
    rows = json.loads(invoke("settings", "--diff", "default", "strong", "--json").stdout)["differences"]
    assert {"setting": "teacher.batch", "a": 8, "b": 64} in rows
    assert invoke("settings", "--diff", "demo", "demo").stdout.endswith("0 settings differ\n")


def test_a_folder_of_runs_is_taken_as_a_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one run or several, as long as all have the same settings."""
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path, 8, lr=0.5)
    alone = invoke("settings", "--diff", str(run), "default").stdout.splitlines()
    of_mix = invoke("settings", "--diff", str(run.parent), "default")
    assert of_mix.exit_code == 0 and of_mix.stdout.splitlines()[1:] == alone[1:]
    assert len(alone) == 4 and alone[-1].split() == ["student.lr", "0.5", "→", "0.002"]
    write_run(tmp_path, 8, fold=2, lr=0.5)
    assert invoke("settings", "--diff", str(run.parent), str(run)).stdout.endswith("0 settings differ\n")
    other = write_run(tmp_path, 8, lr=0.25)
    done = invoke("settings", "--diff", "runs", "default")
    line = done.stderr.splitlines()[-1]
    assert done.exit_code == 1 and line.startswith("error: runs: its runs have several settings, ")
    assert str(other.relative_to(tmp_path)) in line and str(run.relative_to(tmp_path)) in line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--preset", "nosuch"), 1, "no preset 'nosuch'"),
        (("--diff", "default", "nosuch"), 1, "no preset 'nosuch'"),
        (("--diff", "default", "."), 1, ".: no finished run; expected the folder of one"),
        (("--diff", "a", "b", "--preset", "demo"), 2, "expected neither --preset nor --set"),
        (("--set", "student.lrr=1"), 1, "did you mean lr?"),
    ],
)
def test_wrong_input_is_one_line(arguments: tuple[str, ...], code: int, message: str) -> None:
    done = invoke("settings", *arguments)
    assert done.exit_code == code and message in done.stderr
