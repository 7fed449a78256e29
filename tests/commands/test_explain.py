"""``distill --explain`` is of the networks and features that would be trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import models
from pipeline.losses.adapting import adapter, shapes
from pipeline.losses.mix import Term
from tests.tiny import invoke


@pytest.mark.parametrize(
    ("options", "student", "teacher", "shape"),
    [
        ((), "cnn2", "resnet18", (5, 20, 173)),
        (("--preset", "small"), "small", "large", (1, 64, 173)),
        (("--set", 'features.use="mfcc,chroma_stft"', "--dataset", "esc50"), "cnn2", "resnet18", (2, 20, 216)),
        (("--preset", "strong", "--set", "student.model=tiny"), "tiny", "large", (5, 20, 173)),
    ],
)
def test_adapters_are_counted_for_the_presets_networks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    student: str,
    teacher: str,
    shape: tuple[int, int, int],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("distill", "--explain", "--losses", "hint", *options)
    assert done.exit_code == 0, done.output
    module = adapter(Term("hint", 1.0), "x", *(shapes(models.network(name, shape, 10)) for name in (student, teacher)))
    assert f"({student} from {teacher}, at {shape})" in done.stdout
    assert f"adapter  {models.parameters(module):,} weights" in done.stdout


def test_a_pair_that_a_term_cannot_train_says_so_in_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the other lines of the mix are still there; a preset that is none is refused."""
    monkeypatch.chdir(tmp_path)
    done = invoke("distill", "--explain", "--preset", "nothing")
    assert done.exit_code == 1 and "no preset 'nothing'" in done.stderr
    done = invoke(
        "distill", "--explain", "--losses", "overhaul", "--set", "teacher.model=cnn2", "--set", "student.model=resnet18"
    )
    assert done.exit_code == 0, done.output
    assert "(resnet18 from cnn2, at (5, 20, 173))" in done.stdout and "source" in done.stdout
