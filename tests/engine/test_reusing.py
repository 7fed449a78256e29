"""Students that answer by their teacher's output layer: what does not serve is refused before the teacher is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.config import InputError
from pipeline.engine import reusing
from pipeline.engine.missing import train
from pipeline.losses import LossMix
from tests import recipes


@pytest.mark.parametrize(
    ("teacher", "mix", "words"),
    [
        ("large", "", "fold1-seed0, a large, whose map4 is (256, 1, "),
        (
            "cnn2_cosine",
            "",
            "is a cnn2_cosine, which has no single linear output layer; expected a teacher such as resnet18",
        ),
        (
            "cnn2",
            "",
            "is a cnn2, which has an output layer that reads less than its embedding; expected a teacher",
        ),
        (
            "resnet18",
            "angle:1,soft:1",
            "cnn2_reuse answers by its teacher's output layer, which no term of mix angle:1,soft:1 gives it",
        ),
    ],
)
def test_nothing_is_trained_for_a_layer_that_does_not_serve(
    teacher: str, mix: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = dataclasses.replace(
        recipes.SETTINGS, teacher=dataclasses.replace(recipes.SETTINGS.teacher, model=teacher)
    )
    levels, _ = recipes.planned("simkd", settings)
    if mix:
        changed = [dataclasses.replace(run, mix=LossMix.parse(mix)) for run in levels[-1].runs]
        levels = [*levels[:-1], dataclasses.replace(levels[-1], runs=tuple(changed))]
    with pytest.raises(InputError) as caught:
        train(levels, recipes.source(tmp_path), **recipes.HOW)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_files_and_several_teachers_have_no_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    levels, _ = recipes.planned("simkd")
    data, (run,) = recipes.source(tmp_path), levels[-1].runs
    planned = {one.folder: one for level in levels for one in level.runs}
    reusing.check([run], planned, data)
    for teachers, words in (((Path("said.npz"),), "said.npz is a file"), (run.teachers * 2, "there are 2 of them")):
        with pytest.raises(InputError, match=f"reuse@form=simkd asks for the teacher's output layer, and {words}"):
            reusing.check([dataclasses.replace(run, teachers=teachers)], planned, data)
