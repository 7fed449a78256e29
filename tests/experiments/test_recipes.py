"""Every recipe that comes with the project: its first lines, its plan, a training in small, and the same after kills."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import experiments, runs
from pipeline.experiments import files, reading
from tests import recipes
from tests.tiny import ROOT

FOLDER = Path(experiments.__file__).parent


@pytest.mark.parametrize("name", [*recipes.names(), "survey"])
def test_the_first_lines_say_what_whose_and_with_what_to_compare(name: str) -> None:
    lines = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    about = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert len(about) >= 2 and any(word in " ".join(about).lower() for word in ("published", "figures")), name
    assert reading.read(name).title


def test_a_recipe_has_its_row() -> None:
    """In docs/recipes.md, with its title's words, and each is one that can be planned as it stands."""
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert {name for name in files.names() if f"| `{name}`" in text} >= {
        *recipes.names(),
        "survey",
        "terms",
        "table3",
        "table4",
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All recipes, trained without a stop."""
    root = tmp_path_factory.mktemp("whole")
    here = Path.cwd()
    try:
        recipes.go(root, recipes.names())
    finally:
        os.chdir(here)
    return root


@pytest.mark.slow
def test_every_recipe_comes_to_its_end(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole)
    for name in recipes.names():
        for row, folders in recipes.planned(name)[1].items():
            for folder in folders:
                record = runs.read(folder / "fold1-seed0")
                assert record.result.epochs and not record.result.stopped, (row, record.result)


@pytest.mark.slow
def test_killed_at_random_moments_it_comes_out_the_same(whole: Path, tmp_path: Path) -> None:
    """kill -9 at three moments, wherever that is; the same command goes on, and every bit is that of a training without a stop."""
    command = [sys.executable, "-m", "tests.recipes", str(tmp_path), *recipes.names()]
    moments = random.Random()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for _ in range(3):
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        before = len(list(tmp_path.rglob("result.json")))
        deadline = time.monotonic() + 60
        more = moments.randrange(2, 12)
        while time.monotonic() < deadline and len(list(tmp_path.rglob("result.json"))) < before + more:
            assert process.poll() is None or process.returncode == 0
            time.sleep(0.02)
        time.sleep(moments.random())
        process.kill()
        process.wait()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL)
    expected, found = recipes.digests(whole), recipes.digests(tmp_path)
    assert found.keys() == expected.keys()
    assert [folder for folder in found if found[folder] != expected[folder]] == []
