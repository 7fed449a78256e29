"""Every block of docs/api.md, one after the other, in a process and folder of its own; and every cell of the notebook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import audio_rkd as rkd
from tests.tiny import ROOT

NOTEBOOK = ROOT / "examples" / "first_steps.ipynb"


def blocks() -> list[str]:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def write_sounds(where: Path) -> None:
    """A folder of two classes with eight short recordings each, a table of them in which every other has two labels, and a sound of
    six seconds."""
    time, rows = np.arange(8000) / 8000, ["path,label,fold"]
    for label, pitch in (("low", 250), ("high", 1500)):
        (where / "my-sounds" / label).mkdir(parents=True)
        for number in range(8):
            rng = np.random.default_rng((pitch, number))
            sound = 0.3 * np.sin(2 * np.pi * pitch * (1 + 0.1 * rng.random()) * time) + 0.05 * rng.standard_normal(8000)
            soundfile.write(where / "my-sounds" / label / f"{label}{number}.wav", sound, 8000)
            rows.append(f"my-sounds/{label}/{label}{number}.wav,{label}{';quiet' * (number % 2)},{1 + number // 4}")
    (where / "my-sounds" / "corpus.toml").write_text("seconds = 1.0\n")
    (where / "corpus.toml").write_text("seconds = 1.0\n")
    (where / "clips.csv").write_text("\n".join(rows) + "\n")
    soundfile.write(where / "a.wav", np.tile(sound, 6), 8000)


def run(code: str, where: Path) -> str:
    script = where / "blocks.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, str(script)], cwd=where, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_function_is_in_a_block_of_ten_to_twenty_lines() -> None:
    code = "\n".join(blocks())
    for name in rkd.__all__:
        if not name[0].isupper():
            assert f"rkd.{name}(" in code or f"rkd.{name}()" in code, name
    for block in blocks():
        assert 9 <= len(block.splitlines()) <= 20, block


@pytest.mark.slow
def test_the_blocks_run_and_say_what_they_say(tmp_path: Path) -> None:
    write_sounds(tmp_path)
    told = run("\n".join(blocks()), tmp_path)
    for words in (
        "(5, 20, 173) float32",
        "(1, 64, 173)",
        "unknown key 'bin'; did you mean bins?",
        "('high', 'low')",
        "angle:40,area:20,soft:1",
        "epoch 3: loss",
        "was trained on all but fold 1, so on the clips of fold 2",
        "(2, ",
        "True ('high', 'low', 'quiet') [1 0 0]",
        "mAP ",
        "it needs one label a clip, and the clips of clips have several",
    ):
        assert words in told, told


@pytest.mark.slow
def test_the_notebook_runs_from_clips_to_a_distilled_student(tmp_path: Path) -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    told = run("\n".join(cells), tmp_path)
    assert "student" in told and (tmp_path / "student.pt").is_file()


def test_the_notebook_is_small_plain_and_of_this_format() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and NOTEBOOK.stat().st_size < 20_000
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code") and cell["id"] and isinstance(cell["metadata"], dict)
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            compile("".join(cell["source"]), "cell", "exec")


@pytest.mark.slow
def test_the_reference_pages_have_every_name_and_say_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("pdoc")
    command = [sys.executable, str(ROOT / "docs" / "reference.py"), "pages"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "Warn" not in done.stderr, done.stderr
    page = (tmp_path / "pages" / "audio_rkd.html").read_text(encoding="utf-8")
    for name in rkd.__all__:
        assert f'id="{name}"' in page, name
    assert str(ROOT) not in page
    (tmp_path / "pdoc.py").write_text("raise ImportError")
    without = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=without)
    assert done.returncode == 1 and "pdoc is not installed" in done.stderr and done.stderr.count("\n") == 1
