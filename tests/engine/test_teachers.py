"""Who may teach terms that read an ensemble's members."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config import InputError
from pipeline.engine import teachers
from pipeline.losses import LossMix
from tests import shipped


def taught(mix: str, *folders: Path) -> Any:
    return SimpleNamespace(mix=LossMix.parse(mix), teachers=folders)


def test_a_term_that_reads_members_needs_several_teachers() -> None:
    one, other = Path("runs/a/fold1-seed0"), Path("runs/a/fold1-seed1")
    teachers.require_members(taught("dirichlet:1@T=10..1,soft:0", one, other))
    teachers.require_members(taught("soft,angle", one))
    teachers.require_members(taught("ce"))
    with pytest.raises(
        InputError, match=r"^dirichlet@T=2 reads the members .* single run \(runs/a/fold1-seed0\)"
    ) as caught:
        teachers.require_members(taught("dirichlet:1@T=2,soft:0", one))
    assert "\n" not in str(caught.value) and "seeds = [0, 1, 2]" in str(caught.value)


def test_members_that_are_the_same_run_are_refused(tmp_path: Path) -> None:
    """The same folder twice, or a copy of it: there is no disagreement to learn, and no largest density."""
    sounds = shipped.write_corpus(tmp_path)
    one, other = (shipped.write_run(tmp_path, sounds, seed=seed) for seed in (0, 1))
    for folder in (one, other):
        result = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps({**result, "weights": f"digest of {folder.name}"}))
    shutil.copytree(one, copy := tmp_path / "copy" / "fold1-seed2")
    teachers.require_members(taught("dirichlet,soft:0", one, other))
    for twice in ((one, one), (one, other, copy)):
        with pytest.raises(InputError, match="two of them are the same run"):
            teachers.require_members(taught("dirichlet,soft:0", *twice))
