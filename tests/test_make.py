"""The Makefile: every door is there, ``make -n`` is what would run, and make passes on what it is given."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tiny import ROOT

DOORS = [
    "help",
    "setup",
    "demo",
    "doctor",
    "data",
    "verify",
    "features",
    "teacher",
    "distill",
    "search",
    "table3",
    "ban",
    "table4",
    "strong",
    "small",
    "tiny",
    "final",
    "report",
    "settings",
    "runs",
    "compare",
    "ensemble",
    "archive",
    "prune",
    "follow",
    "inspect",
    "retrieval",
    "explain",
    "rerun",
    "predict",
    "teacher-file",
    "export",
    "web",
    "cost",
    "test",
    "test-all",
    "lint",
    "bench",
    "reference",
    "clean",
]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def run_make(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Not the variables of a make that runs these tests.
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")}
    return subprocess.run(["make", *arguments], cwd=where, env=clean, capture_output=True, text=True, timeout=60)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """What a fresh clone has: no virtual environment, no data."""
    for name in ("Makefile", "setup.cfg", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_make_alone_is_help_and_changes_nothing(fresh: Path) -> None:
    before = sorted(fresh.rglob("*"))
    done = run_make(fresh)
    assert done.returncode == 0, done.stderr
    for door in DOORS:
        assert any(line.strip().startswith(f"{door} ") for line in done.stdout.splitlines()), door
    assert "make demo" in done.stdout
    assert sorted(fresh.rglob("*")) == before


def test_dry_run_of_a_fresh_clone_sets_up_first_and_does_nothing(fresh: Path) -> None:
    before = sorted(fresh.rglob("*"))
    lines = run_make(fresh, "-n", "demo").stdout.splitlines()
    place = [
        next(i for i, line in enumerate(lines) if word in line)
        for word in ("-m venv", "pip install", "cli.py features", "cli.py teacher", "cli.py distill", "cli.py report")
    ]
    assert place == sorted(place)
    assert "--losses soft --losses angle,area" in lines[place[4]]
    assert sorted(fresh.rglob("*")) == before


def test_variables_become_options(fresh: Path) -> None:
    done = run_make(
        fresh,
        "-n",
        "distill",
        "LOSSES=soft angle:40,area:20,hinton@T=1.5",
        "FOLDS=1 2",
        "SEEDS=0 1",
        "DEVICE=cpu",
        "DATASET=esc50",
        "DATA=/a b",
        "PRESET=paper",
        "SET=student.lr=0.002 teacher.epochs=3",
        "JOBS=3",
        "ARGS=--pack 2",
    )
    commands = [line for line in done.stdout.splitlines() if "cli.py" in line]
    assert [line.split("cli.py ")[1].split()[0] for line in commands] == ["features", "teacher", "distill"]
    common = "--dataset 'esc50' --data '/a b' --preset 'paper' --set 'student.lr=0.002' --set 'teacher.epochs=3'"
    assert all(common in " ".join(line.split()) for line in commands)
    assert "--jobs 3" in commands[0]
    assert "--folds '1 2' --seeds '0 1' --device cpu" in commands[2]
    assert "--losses 'soft' --losses 'angle:40,area:20,hinton@T=1.5'" in commands[2]
    # ARGS is for the goal that was asked for.
    assert ["--pack 2" in line for line in commands] == [False, False, True]


def test_students_worth_shipping_go_from_features_to_export(fresh: Path) -> None:
    """Of one preset each, also where several goals are asked for at once; a mix of one's own goes before theirs."""
    done = run_make(fresh, "-n", "small", "strong", "DATASET=esc50", "FOLDS=1 2", "SEEDS=0 1", "ARGS=--half")
    assert done.returncode == 0, done.stderr
    commands = [" ".join(line.split("cli.py ")[1].split()) for line in done.stdout.splitlines() if "cli.py" in line]
    small, strong = commands[:5], commands[5:]
    assert [line.split()[0] for line in small] == ["features", "teacher", "distill", "report", "export"]
    # Two teachers of strong hear other features than its student.
    assert [line.split()[0] for line in strong] == ["features", "features", "teacher", "distill", "report", "export"]
    for lines, preset in ((small, "small"), (strong, "strong")):
        where = f"--dataset 'esc50' --preset '{preset}'"
        assert all(where in line for line in (*lines[:-2], lines[-1]))
        assert "--folds '1 2' --seeds '0 1' --losses 'ce:0.3,hinton:0.7@T=2'" in lines[-3]
        assert lines[-1].endswith(" --half") and "--half" not in " ".join(lines[:-1])
    mel = "--set features.use=melspectrogram --set features.bins=64"
    assert small[1].endswith("--folds '1 2' --seeds '0 1'") and small[2].endswith("hinton:0.7@T=2'")
    assert strong[1].endswith(mel) and strong[2].endswith(f"{mel} --folds '1 2' --seeds 0-1")
    assert strong[3].endswith(f"--teacher-seeds 0-1 {mel.replace('--set', '--teacher-set')}")
    mine = run_make(fresh, "-n", "tiny", "LOSSES=ce soft", "SET=student.epochs=3").stdout
    assert "--preset 'tiny' --set 'student.epochs=3' --losses 'ce' --losses 'soft'" in " ".join(mine.split())


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("runs", "ARGS=--status trained"), "runs --status trained"),
        (("compare", "A=soft", "B=angle:40,area"), "compare 'soft' 'angle:40,area'"),
        (("rerun", "RUN=runs/a b/fold1-seed0", "DEVICE=cpu"), "rerun 'runs/a b/fold1-seed0' --device cpu"),
        (("follow", "ARGS=--once"), "follow --once"),
        (("predict", "RUN=runs/x runs/y", "FILES=a.wav sounds/*.wav"), "predict runs/x runs/y a.wav sounds/*.wav"),
        (("export", "RUN=runs/x"), "export runs/x"),
        (("export", "ARGS=--half"), "export --half"),
        (
            ("experiment", "NAME=mine.toml", "FOLDS=1 2", "ARGS=--explain"),
            "experiment 'mine.toml' --folds '1 2' --explain",
        ),
        (("cost", "DATASET=esc50"), "cost --dataset 'esc50'"),
        (
            ("table4", "SEEDS=0 1", "JOBS=2", "LOSSES=none angle"),
            "table4 --seeds '0 1' --jobs 2 --losses 'none' --losses 'angle'",
        ),
    ],
)
def test_what_is_named_is_passed_on(fresh: Path, arguments: tuple[str, ...], command: str) -> None:
    done = run_make(fresh, "-n", *arguments)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.replace("\\\n", "").splitlines() if "cli.py" in line]
    assert " ".join(line.split()) == f".venv/bin/python cli.py {command}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "A=soft"), "B is missing: say make compare A=soft B=angle,area"),
        (("experiment",), "NAME is missing: say make experiment NAME=table3"),
        (("ensemble",), "RUN is missing: say make ensemble RUN=runs/"),
        (("rerun",), "RUN is missing: say make rerun RUN=runs/"),
        (("predict", "FILES=a.wav"), "RUN is missing: say make predict"),
        (("setup", "TORCH=gpu"), "TORCH=gpu: expected auto, cpu or cuda"),
        (("setup", "TORCH_INDEX=address"), "say which, TORCH=cpu or TORCH=cuda"),
    ],
)
def test_what_is_missing_or_unknown_is_one_line(fresh: Path, arguments: tuple[str, ...], message: str) -> None:
    stand_in(fresh, "")
    done = run_make(fresh, "VENV=.", *arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (fresh / "log").exists()


def stand_in(fresh: Path, script: str) -> None:
    """A Python that only does what ``script`` says, in a virtual environment (.) that is set up."""
    (fresh / "bin").mkdir()
    fake = fresh / "bin" / "python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    (fresh / ".ready").touch()


def test_the_build_of_torch_is_asked_for_and_looked_at(fresh: Path) -> None:
    """A Python whose torch is always the CPU build: asking for the other one is never passed over."""
    stand_in(fresh, 'echo "$@" >> log; [ "$*" != "cli.py doctor --torch cuda" ]')

    def set_up(*arguments: str) -> tuple[int, list[str]]:
        (fresh / "log").unlink(missing_ok=True)
        code = run_make(fresh, "VENV=.", "setup", *arguments).returncode
        return code, (fresh / "log").read_text().splitlines() if (fresh / "log").exists() else []

    assert set_up() == set_up("TORCH=auto") == (0, [])  # it is ready, with whatever build
    code, lines = set_up("TORCH=cpu", "TORCH_INDEX=file:///wheels")
    first, second, last = lines
    assert code == 0 and "--index-url file:///wheels torch" in first and "-c constraints.txt" in first
    assert second.endswith("-e .[plots,export,media]") and last == "cli.py doctor --torch cpu"
    assert set_up("TORCH=cpu") == set_up() == (0, [])  # nothing changed
    for _ in range(2):
        code, lines = set_up("TORCH=cuda")
        assert code == 2 and lines[-1] == "cli.py doctor --torch cuda" and "--index-url" not in " ".join(lines)
    assert set_up("TORCH=cpu")[1][-1] == "cli.py doctor --torch cpu"  # it may have been changed meanwhile


def test_side_by_side_the_chain_stays_a_chain(fresh: Path) -> None:
    """``make -j4 features teacher distill`` runs each command once, in order."""
    stand_in(fresh, 'echo "$2 start" >> log\nsleep 0.2\necho "$2 end" >> log')
    done = run_make(fresh, "-j4", "VENV=.", "features", "teacher", "distill")
    assert done.returncode == 0, done.stderr
    words = [line.split() for line in (fresh / "log").read_text().splitlines()]
    expected = [[name, when] for name in ("features", "teacher", "distill") for when in ("start", "end")]
    assert words == expected


def test_a_step_that_fails_stops_the_chain(fresh: Path) -> None:
    stand_in(fresh, 'echo "$2" >> log\n[ "$2" != teacher ]')
    assert run_make(fresh, "VENV=.", "distill").returncode != 0
    assert (fresh / "log").read_text().split() == ["features", "teacher"]


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [((), "--preset 'device'"), (("PRESET=mine.toml",), "--preset 'mine.toml'"), (("RUN=runs/x",), "")],
)
def test_the_page_is_of_a_device_student_exported_for_common_rates(
    fresh: Path, arguments: tuple[str, ...], chosen: str
) -> None:
    done = run_make(fresh, "-n", "web", "ARGS=--examples 3", *arguments)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines() if "cli.py" in line]
    run = "runs/x" if not chosen else ""
    expected = [f"export {run} {chosen} --rate 44100 --rate 48000", f"web {run} {chosen} --examples 3"]
    assert lines == [" ".join(f".venv/bin/python cli.py {line}".split()) for line in expected]


#: What a value has to look like where make itself looks into it.
VALUES = {"TEACHER": "of-TEACHER.npz"}


def test_a_goal_uses_each_variable_that_it_takes(fresh: Path) -> None:
    for name in (".ready", ".ready-dev", ".ready-search"):
        (fresh / name).touch()
    goals = [door for door in DOORS if door not in ("setup", "lint", "bench", "reference", "clean")]
    (fresh / "table.mk").write_text("".join(f"$(info {goal} $(of-{goal}))\n" for goal in goals))
    table = run_make(fresh, "-n", "-f", "Makefile", "-f", "table.mk").stdout.splitlines()
    for goal, *taken in (line.split() for line in table[: len(goals)]):
        assert goal in goals and taken
        given = [f"{name}={VALUES.get(name, f'of-{name}')}" for name in taken]
        done = run_make(fresh, "-n", "VENV=.", goal, *given)
        assert done.returncode == 0, done.stderr
        assert [name for name in taken if f"of-{name}" not in done.stdout] == [], goal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("verify", "DATSET=esc50"),
            "DATSET: make verify does not use it; did you mean DATASET? expected some of DATASET",
        ),
        (("distill", "losses=angle"), "losses: make distill does not use it; did you mean LOSSES?"),
        (("table3", "LOSSES=soft"), "LOSSES: make table3 does not use it; expected some of DATASET DATA PRESET"),
        (("demo", "FOLDS=1"), "FOLDS: make demo does not use it"),
        (("LOSES=soft",), "LOSES: make help does not use it"),
        (("lint", "features", "SEEDS=1"), "SEEDS: make lint features does not use it"),
    ],
)
def test_a_variable_that_nothing_uses_is_refused(fresh: Path, arguments: tuple[str, ...], message: str) -> None:
    stand_in(fresh, 'echo "$@" >> log')
    done = run_make(fresh, "VENV=.", *arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (fresh / "log").exists()


@pytest.mark.parametrize(
    ("losses", "mixes"),
    [
        ("angle, area", ["angle,area"]),
        ("  angle ,\tarea  soft ", ["angle,area", "soft"]),
        ("angle : 40 , hinton @ T = 4  ce", ["angle:40,hinton@T=4", "ce"]),
        ("it's", ["it's"]),
    ],
)
def test_spaces_beside_the_signs_of_a_mix_part_nothing(fresh: Path, losses: str, mixes: list[str]) -> None:
    lines = run_make(fresh, "-n", "distill", f"LOSSES={losses}", "SET=student.lr = 0.1 teacher.keep=1, 2").stdout
    words = shlex.split(next(line for line in lines.splitlines() if "cli.py distill" in line))
    assert [words[i + 1] for i, word in enumerate(words) if word == "--losses"] == mixes
    sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert sets == ["student.lr=0.1", "teacher.keep=1,2"]


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (("distill", "LOSSES=a'b", "ARGS=--pack 2"), "distill --losses 'a'\\''b' --pack 2"),
        (("features", "ban", "GENERATIONS=2"), "ban --generations 2"),
        (("small", "SET=x.y=1", "ARGS=--half"), "export --preset 'small' --half"),
        (("search", "SPACE=mine.toml", "SEEDS=1"), "search 'mine.toml' --train --seeds '1'"),
    ],
)
def test_every_step_hears_what_the_goals_are_given(fresh: Path, arguments: tuple[str, ...], call: str) -> None:
    """So that it can be parsed before the first of them."""
    stand_in(fresh, 'echo "$2: $AUDIO_RKD_GOALS" >> log')
    (fresh / ".ready-search").touch()
    assert run_make(fresh, "VENV=.", *arguments).returncode == 0
    steps = (fresh / "log").read_text().split("features: ")[1]
    assert call in [" ".join(line.split()) for line in steps.splitlines()]


def test_final_is_parsed_before_the_trainings(fresh: Path) -> None:
    """All of its steps are in what every step reads ahead, the last one too."""
    with (fresh / "Makefile").open("a") as file:
        file.write("final: ; @printenv AUDIO_RKD_GOALS\n")
    (fresh / ".venv").mkdir()
    (fresh / ".venv" / ".ready").touch()
    told = run_make(fresh, "final", "LOSSES=ce", "ARGS=--unhaerd", "-s").stdout.splitlines()
    assert [line.split()[0] for line in told if line.strip()] == ["distill", "final"]
    assert shlex.split(told[1]) == ["final", "--preset", "small", "--losses", "ce", "--unhaerd"]


def test_rates_reach_final_and_a_final_student_is_not_exported_again(fresh: Path) -> None:
    """Of ``web``: the runs of all folds are exported by ``final`` alone."""
    lines = [
        " ".join(line.split()) for line in run_make(fresh, "-n", "final", "RATES=--rate 44100").stdout.splitlines()
    ]
    assert lines[-1].endswith("--losses 'ce:0.3,hinton:0.7@T=2' --rate 44100") and "cli.py final" in lines[-1]
    for run, exported in (("finals/c/a/fold0-seed0", 0), ("/b/finals/c/fold0-seed0", 0), ("runs/finals-of-mine/a", 1)):
        lines = run_make(fresh, "-n", "web", f"RUN={run}").stdout.splitlines()
        assert sum("cli.py export" in line for line in lines) == exported, run
        assert lines[-1].split()[1:4] == ["cli.py", "web", run]
