"""Embeddings of held-out clips: what is kept of them serves as long as run and features are as they were."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import InputError
from pipeline.figures import embeddings
from tests import shipped


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Path]]:
    root = tmp_path_factory.mktemp("world")
    paths = shipped.write_corpus(root)
    return root, shipped.write_run(root, paths), paths


def refused(*_: Any) -> None:
    raise AssertionError("computed again")


def test_they_are_computed_once_for_each_state(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, student, paths = world
    root = Path(shutil.copytree(root, tmp_path / "root"))
    student, fold = root / student.relative_to(world[0]), root / paths[0].relative_to(world[0])
    expected = embeddings.held_out(student, root / "cache")
    first = embeddings.remembered(student, root / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(embeddings, "held_out", refused)
        again = embeddings.remembered(student, root / "cache")
        for values in (first, again):
            assert np.array_equal(values[0], expected[0]) and values[0].dtype == np.float32
            assert np.array_equal(values[1], expected[1]) and values[2] == expected[2]
        (kept,) = (root / "cache" / shipped.CORPUS / embeddings.KEPT).iterdir()
        # another state of the run
        line = (student / "config.json").read_bytes()
        (student / "config.json").write_bytes(line + b"\n")
        with pytest.raises(AssertionError, match="computed again"):
            embeddings.remembered(student, root / "cache")
        (student / "config.json").write_bytes(line)
    kept.write_bytes(kept.read_bytes()[:100])  # damaged: computed and kept anew
    assert np.array_equal(embeddings.remembered(student, root / "cache")[0], expected[0])
    assert np.array_equal(np.load(kept)["values"], expected[0])
    # features of another state are refused, though embeddings of those before are kept
    other = shipped.write_corpus(tmp_path / "other", spec=shipped.SPEC)[1]
    fold.write_bytes(other.read_bytes())
    for function in (embeddings.held_out, embeddings.remembered):
        with pytest.raises(InputError):
            function(student, root / "cache")
    (student / "model.pt").unlink()
    with pytest.raises(InputError, match=r"model\.pt"):
        embeddings.remembered(student, root / "cache")
