"""Command line > environment > rkd.toml > default; the root; how much is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from pipeline import commands, config, places, working_folder
from tests.tiny import audio_rkd, write_corpus


@pytest.mark.parametrize(
    ("file", "variable", "given", "expected"),
    [
        ("", "", [], "default"),
        ('preset = "small"', "", [], "small"),
        ('preset = "small"', "tiny", [], "tiny"),
        ('preset = "small"', "tiny", ["--preset", "paper"], "paper"),
        ("", "tiny", [], "tiny"),
        ('preset = "mine.toml"', "", [], "mine"),
    ],
)
def test_the_nearest_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, variable: str, given: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDIO_RKD_PRESET", variable)
    (tmp_path / "rkd.toml").write_text(file)
    (tmp_path / "mine.toml").write_text("")
    presets: list[str] = []
    read = config.read
    monkeypatch.setattr(config, "read", lambda *a: presets.append(read(*a).preset) or read(*a))
    done = CliRunner().invoke(cli.main, ["status", *given])
    assert done.exit_code == 0 and presets == [expected], done.output


@pytest.mark.parametrize(
    ("given", "corpus"),
    [
        ([], "mine"),
        (["--dataset", "folder"], "mine"),
        (["--data", "other"], "other"),
        (["--dataset", "esc50"], "data/ESC-50"),
        (["--dataset", "synthetic"], "data/synthetic"),
    ],
)
def test_a_folder_is_of_the_data_set_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], corpus: str
) -> None:
    for name in ("mine", "other"):
        for kind in ("a", "b"):
            (tmp_path / name / kind).mkdir(parents=True)
    (tmp_path / "rkd.toml").write_text('dataset = "folder"\ndata = "mine"\n')
    done = audio_rkd(tmp_path, "status", *given)
    told = done.stdout + done.stderr
    assert corpus in told.replace("data = mine", "") and done.stdout.startswith(
        "defaults  rkd.toml: dataset = folder; data = mine\n" if done.returncode == 0 else ""
    )
    monkeypatch.setenv("AUDIO_RKD_DATASET", "esc50")
    assert "data/ESC-50" in audio_rkd(tmp_path, "status").stdout, "the file's folder is of another data set"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('datset = "folder"', "rkd.toml: unknown key 'datset', did you mean 'dataset'? expected some of dataset, data"),
        ('dataset = "foldr"', "rkd.toml: dataset = 'foldr', did you mean 'folder'? expected one of auto"),
        ('preset = "smal"', "did you mean 'small'?"),
        ("dataset = 3", "rkd.toml: dataset = 3: expected for example dataset ="),
        ('root = ""', "rkd.toml: root = '': expected for example root ="),
        (r'data = "a\u0000b"', "expected for example data ="),
        ('root = "rkd.toml"', "rkd.toml: root rkd.toml is a file; expected a folder"),
        ("dataset folder", "rkd.toml: not a TOML file"),
        ("[features]\nbins = 3", "rkd.toml: unknown key 'features'"),
    ],
)
def test_what_a_file_may_not_say(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "rkd.toml").write_text(text)
    for command in ("status", "runs", "doctor"):
        done = audio_rkd(tmp_path, command)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and line in done.stderr, done.stderr


def test_the_root_of_a_command_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "rkd.toml").write_text('root = "a"\n')
    assert "a/runs" in audio_rkd(tmp_path, "doctor").stdout
    for call in (("--root", "b", "doctor"), ("doctor", "--root", "b"), ("doctor", "--root=b")):
        told = audio_rkd(tmp_path, *call).stdout
        assert "b/cache/" in told and "b/reports/" in told and "a/runs" not in told and "--root: root = b" in told
    assert places.root() == Path() and not working_folder.set_by


@pytest.mark.parametrize("root", ["out", "/somewhere/else"])
def test_records_name_what_lies_in_the_root_from_there(monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    kept = ("runs/toy/a/fold1-seed0", "/elsewhere/runs/a", "teacher.npz")
    assert [places.recorded(path) for path in kept] == list(kept)
    monkeypatch.setenv("AUDIO_RKD_ROOT", root)
    assert places.recorded(places.runs() / "toy" / "a" / "fold1-seed0") == kept[0]
    assert [places.recorded(path) for path in kept] == list(kept)
    assert places.located(kept[0]) == Path(root) / kept[0] and [str(places.located(k)) for k in kept[1:]] == [*kept[1:]]


def test_quiet_and_verbose(tmp_path: Path) -> None:
    write_corpus(tmp_path / "toy", folds=(1, 2), clips=2)
    bins = ("--set", "features.bins=8", "--set", "features.bins_per_octave=24", "--jobs", "1")
    call = ("features", "--dataset", "urbansound8k", "--data", "toy", *bins)
    loud = audio_rkd(tmp_path, "-v", *call, "--root", "one")
    silent = audio_rkd(tmp_path, "-q", *call, "--root", "two")
    assert loud.returncode == silent.returncode == 0
    assert silent.stderr == ""
    told = [re.sub(r"[\d.]+ s; \w+/cache", "", done.stdout) for done in (silent, loud)]
    assert told[0] == told[1]
    assert loud.stderr.startswith("audio-rkd ") and re.search(r"^took [\d.]+ s$", loud.stderr, re.MULTILINE)
    wrong = audio_rkd(tmp_path, "-q", "distill", "--losses", "angel")
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: unknown loss 'angel'")
    traced = audio_rkd(tmp_path, "distill", "-v", "--losses", "angel")
    assert traced.returncode == 1 and "error: unknown loss 'angel'" in traced.stderr and "Traceback" in traced.stderr
    assert "Traceback" not in audio_rkd(tmp_path, "distill", "--losses", "angel").stderr
    assert audio_rkd(tmp_path, "-q", "-v", "runs").returncode == 2
    assert audio_rkd(tmp_path, "-q", "runs", "--sttus", "x").stderr.count("No such option") == 1


def test_every_command_takes_the_options_of_the_group() -> None:
    group = {option for parameter in cli.main.params for option in parameter.opts} - {"--version"}
    assert {"--root", "-q", "-v"} <= group
    for name in commands.names():
        own = [option for parameter in commands.load(name).params for option in parameter.opts]
        assert group <= set(own) and len(own) == len(set(own)), name
