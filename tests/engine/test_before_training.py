"""What cannot be trained is refused before the teachers of those runs are, hours earlier."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny

EXPERIMENT = """
[[step]]
name = "learner"
mix = "{mix}"
teacher = "teacher"
"""


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    tiny.write_corpus(folder / "clips", clips=2)
    assert (
        tiny.audio_rkd(folder, "features", "--dataset", "urbansound8k", "--data", "clips", *tiny.QUICK).returncode == 0
    )
    return folder


@pytest.mark.parametrize(
    ("mix", "more", "words"),
    [
        (
            "angle@rows=unlabelled",
            (),
            "mix angle:20@rows=unlabelled,soft:1: rows=unlabelled, and every clip has a label; expected a mix without it",
        ),
        ("margin", (), "margin reads cosines of the student, and cnn2 has embedding, hidden, logits, map1, map2"),
        (
            "triplet",
            ("--set", "student.sampler=classes:1", "--set", "student.batch=16"),
            "there are 10; expected 'classes:2', or a batch of at most 10",  # of the data set's classes; later of those at hand
        ),
        (
            "soft",
            ("--set", "student.batch=64"),
            "student.batch = 64: fold 1 trains on 8 samples of 4 clips, no whole batch; expected a smaller one, for example --set "
            "student.batch=8",
        ),
        ("soft", ("--set", "teacher.batch=9"), "teacher.batch = 9: fold 1 trains on 8 samples"),
        (
            "soft",
            ("--set", "teacher.views=random", "--set", "teacher.batch=8"),
            "teacher.batch = 8: fold 1 trains on 4 samples of 4 clips, no whole batch",
        ),
        (
            "triplet,ce",
            ("--set", "student.mixup=0.4"),
            "needs one label of each clip, and a mixed input has two; expected 0, or terms such as ce, hinton, soft without wrong",
        ),
        (
            "proto,soft:0",
            ("--set", "student.sampler=episode:2,1,3", "--set", "student.batch=8"),
            "fold 1: 0 classes have recordings for 1 clip that is shown and 3 of others that are asked for; expected 2",
        ),
        ("soft", ("--set", "student.model=resnet81"), "no model 'resnet81'; expected one of cnn2"),
        ("soft", ("--set", "student.model=../cnn2"), "no model '../cnn2'; expected one of cnn2"),
    ],
)
def test_one_line_and_no_run(where: Path, mix: str, more: tuple[str, ...], words: str) -> None:
    (where / "own.toml").write_text(EXPERIMENT.format(mix=mix))
    here = ("--dataset", "urbansound8k", "--data", "clips", *tiny.QUICK, "--jobs", "1")
    done = tiny.audio_rkd(where, "experiment", "own.toml", *here, *more)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
    assert not (where / "runs").exists() or not list((where / "runs").rglob("config.json"))
    assert "model" not in words or not list(where.glob("runs/*/*"))
