"""What of long recordings is left unused is said, where features are computed and where a corpus is verified."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.corpus import open_corpus
from pipeline.corpus.unused import left_unused, told
from tests.tiny import invoke


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, seconds in (("a/1.wav", 36), ("a/2.wav", 36), ("b/1.wav", 36), ("b/2.flac", 36.0), ("b/3.wav", 4.05)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros(round(4000 * seconds)), 4000)
    return tmp_path


def test_how_much_is_unused_is_one_line(root: Path) -> None:
    line = left_unused(open_corpus("folder", root))
    assert line.startswith("4 of 5 files are longer than a clip (4 s): of 2.5 min 2.1 min (86 %) are left unused")
    assert "\n" not in line
    done = invoke("verify", "--dataset", "folder", "--data", str(root))
    assert f"unused   {line}" in done.stdout.splitlines() and "0 problems" in done.stdout


def test_where_all_is_heard_nothing_is_said(root: Path) -> None:
    (root / "corpus.toml").write_text("seconds = 36.0\n")
    (root / "b" / "3.wav").write_bytes(b"no sound")
    assert left_unused(open_corpus("folder", root)) == ""
    assert told([], 4.0) == told([4.05, 1.0], 4.0) == ""
    assert "5.0 s (50 %)" in told([5.0, 5.0], 2.5)
