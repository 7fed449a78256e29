"""A file in the working folder that has the name of a module is named, or does no harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.processes import shadowing
from tests.tiny import ROOT


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name in ("cli.py", "pipeline"):
        source = ROOT / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder)
    return folder


@pytest.mark.parametrize(
    "name", ["random.py", "queue.py", "numpy.py", "types.py", "h5py.py", "copy.py", "click/__init__.py"]
)
def test_it_is_named_before_anything_fails(project: Path, name: str) -> None:
    path = project / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("raise RuntimeError('mine')\n")
    try:
        done = subprocess.run([sys.executable, "cli.py", "--help"], cwd=project, capture_output=True, text=True)
    finally:
        shutil.rmtree(path.parent) if path.parent != project else path.unlink()
    named = path.parent if path.parent != project else path
    assert done.returncode == 1 and done.stderr.startswith(f"error: {named} is taken for the module ")
    assert len(done.stderr.splitlines()) == 1 and "rename it" in done.stderr


def test_other_files_are_nobodys_business(tmp_path: Path) -> None:
    for name in ("cluster.py", "my_random.py", "random.txt", "numpy.npz", "notes.queue.md"):
        (tmp_path / name).write_text("")
    (tmp_path / "random").mkdir()  # without __init__.py Python prefers its own
    assert shadowing.hiding(tmp_path) == []
    (tmp_path / "h5py.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    assert shadowing.hiding(tmp_path) == [str(tmp_path / "h5py.cpython-311-x86_64-linux-gnu.so")]
    assert shadowing.hiding(ROOT) == [] == shadowing.hiding(tmp_path / "nowhere")


def test_worker_processes_do_not_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """Elsewhere than in its own folder the program goes on; it says so once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shadowing.OwnFolderHidden, "told", False)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    (tmp_path / "random.py").write_text("raise RuntimeError('mine')\n")
    code = [sys.executable, "-c", "import random; print(random.__file__)"]
    assert "mine" in subprocess.run(code, capture_output=True, text=True).stderr
    for _ in range(2):
        with shadowing.OwnFolderHidden():
            assert str(tmp_path) not in subprocess.run(code, capture_output=True, text=True, check=True).stdout
    assert "PYTHONSAFEPATH" not in os.environ
    assert capfd.readouterr().err.splitlines() == [
        f"note: {tmp_path}/random.py has the name of the module random; it is not taken for it here, but rename it: "
        "other programs will"
    ]


@pytest.mark.slow
def test_stage_one_goes_on_beside_such_files(root: Path) -> None:
    for name in ("random.py", "queue.py", "types.py", "numpy.py"):
        (root.parent / name).write_text("raise RuntimeError('mine')\n")
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            ROOT / "cli.py",
            "features",
            "--dataset",
            "urbansound8k",
            "--data",
            "toy",
            "--jobs",
            "2",
        ],
        cwd=root.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "numpy.py has the name of the module numpy" in done.stderr and "memory" not in done.stderr
