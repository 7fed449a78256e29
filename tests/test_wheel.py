"""The wheel in a fresh environment, from another folder: all files, both modules, the console script; without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.extracting import write_corpus
from tests.tiny import ROOT

pytestmark = pytest.mark.slow

OFFLINE = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")


def run(*command: str | Path, where: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(list(map(str, command)), cwd=where, env=clean, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what is of the project alone, so that no earlier build is in it."""
    where = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "pipeline", where / "source" / "pipeline", ignore=ignored)
    for name in ("audio_rkd.py", "cli.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, where / "source" / name)
    pip = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        *OFFLINE,
        "-w",
        where / "made",
        where / "source",
    )
    run(*pip, where=where)
    (built,) = (where / "made").glob("audio_rkd-*.whl")
    return built


def test_every_file_of_the_project_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pipeline").rglob("*") if path.is_file()}
    expected = {name for name in files if "__pycache__" not in name and not name.endswith(".pyc")}
    assert names == expected | {"audio_rkd.py", "cli.py"}


def test_it_works_in_a_fresh_environment_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    fresh, elsewhere = tmp_path / "fresh", tmp_path / "elsewhere"
    venv.create(fresh, system_site_packages=True, with_pip=False)
    python, program = fresh / "bin" / "python", fresh / "bin" / "audio-rkd"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        *OFFLINE,
        "--ignore-installed",
        wheel,
        where=tmp_path,
    )
    (own,) = fresh.glob("lib/python*/site-packages")
    # The libraries of the environment that runs the tests, which is one itself; not its .pth files, which lead to this project.
    (own / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere.mkdir()
    write_corpus(elsewhere / "sounds")
    assert "audio-rkd, version" in run(program, "--version", where=elsewhere).stdout
    assert "[student]" in run(program, "settings", "--preset", "small", where=elsewhere).stdout
    code = """
import audio_rkd as rkd, cli, numpy, pipeline
how = rkd.settings("demo", "features.use=melspectrogram", "student.epochs=1")
clips = rkd.corpus("urbansound8k", "sounds").clips
values = numpy.stack([rkd.features(clip.path, how.features) for clip in clips])
labels = numpy.arange(len(clips)) % 2
model = rkd.fit(rkd.fold_of(values[2:], labels[2:], values[:2], labels[:2]), "ce", how.student)
print(rkd.__file__, cli.__file__, pipeline.__file__, rkd.save(model, "kept.pt"))
print(rkd.settings("tiny").student.model, len(rkd.losses()))
"""
    files, told = run(python, "-c", code, where=elsewhere).stdout.splitlines()
    assert all(Path(path).is_relative_to(own) for path in files.split()[:3])
    assert told.split()[0] == "tiny" and int(told.split()[1]) > 30
    assert sorted(path.name for path in elsewhere.iterdir()) == ["kept.pt", "sounds"]
