"""The Makefile: every door is there, ``make -n`` is what would run, and make passes on what it is given."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tiny import ROOT

DOORS = [
    "help",
    "setup",
    "demo",
    "data",
    "features",
    "teacher",
    "distill",
    "inspect",
    "table3",
    "report",
    "verify",
    "export",
    "cost",
    "test",
    "lint",
    "bench",
]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def made(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Not the variables of a make that runs these tests.
    clean = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    }
    return subprocess.run(
        ["make", *arguments], cwd=where, env=clean, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """What a fresh clone has: no virtual environment, no data."""
    for name in ("Makefile", "setup.cfg", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_make_alone_is_help_and_changes_nothing(fresh: Path) -> None:
    before = sorted(fresh.rglob("*"))
    done = made(fresh)
    assert done.returncode == 0, done.stderr
    for door in DOORS:
        assert any(line.strip().startswith(f"{door} ") for line in done.stdout.splitlines()), door
    assert "make demo" in done.stdout
    assert sorted(fresh.rglob("*")) == before


def test_dry_run_of_a_fresh_clone_sets_up_first_and_does_nothing(fresh: Path) -> None:
    before = sorted(fresh.rglob("*"))
    lines = made(fresh, "-n", "demo").stdout.splitlines()
    place = [next(i for i, line in enumerate(lines) if word in line) for word in
             ("-m venv", "pip install", "cli.py features", "cli.py teacher", "cli.py distill", "cli.py report")]  # fmt: skip
    assert place == sorted(place)
    assert "--losses soft --losses angle,area" in lines[place[4]]
    assert sorted(fresh.rglob("*")) == before


def test_variables_become_options(fresh: Path) -> None:
    done = made(fresh, "-n", "distill", "LOSSES=soft angle:40,area:20,hinton@T=1.5", "FOLDS=1 2", "SEEDS=0 1", "DEVICE=cpu",
                "DATASET=esc50", "DATA=/a b", "PRESET=paper", "SET=student.lr=0.002 teacher.epochs=3", "JOBS=3", "ARGS=--pack 2")  # fmt: skip
    commands = [line for line in done.stdout.splitlines() if "cli.py" in line]
    assert [line.split("cli.py ")[1].split()[0] for line in commands] == ["features", "teacher", "distill"]
    common = (
        "--dataset 'esc50' --data '/a b' --preset 'paper' --set 'student.lr=0.002' --set 'teacher.epochs=3'"
    )
    assert all(common in " ".join(line.split()) for line in commands)
    assert "--jobs 3" in commands[0]
    assert "--folds '1 2' --seeds '0 1' --device cpu" in commands[2]
    assert "--losses 'soft' --losses 'angle:40,area:20,hinton@T=1.5'" in commands[2]
    # ARGS is for the goal that was asked for.
    assert ["--pack 2" in line for line in commands] == [False, False, True]


def test_side_by_side_the_chain_stays_a_chain(fresh: Path) -> None:
    """``make -j4 features teacher distill`` runs each command once, in order."""
    (fresh / "bin").mkdir()
    fake = fresh / "bin" / "python"
    fake.write_text('#!/bin/sh\necho "$2 start" >> log\nsleep 0.2\necho "$2 end" >> log\n')
    fake.chmod(0o755)
    (fresh / ".ready").touch()
    done = made(fresh, "-j4", "VENV=.", "features", "teacher", "distill")
    assert done.returncode == 0, done.stderr
    words = [line.split() for line in (fresh / "log").read_text().splitlines()]
    expected = [[name, when] for name in ("features", "teacher", "distill") for when in ("start", "end")]
    assert words == expected


def test_a_step_that_fails_stops_the_chain(fresh: Path) -> None:
    (fresh / "bin").mkdir()
    fake = fresh / "bin" / "python"
    fake.write_text('#!/bin/sh\necho "$2" >> log\n[ "$2" != teacher ]\n')
    fake.chmod(0o755)
    (fresh / ".ready").touch()
    assert made(fresh, "VENV=.", "distill").returncode != 0
    assert (fresh / "log").read_text().split() == ["features", "teacher"]
