"""What make's goals are given is parsed before the first step: a wrong word of the last step costs no hour of the first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.commands import ahead
from tests.tiny import QUICK, invoke, write_corpus

SOUNDS = "--dataset urbansound8k --data toy"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a corpus of three folds and two classes."""
    monkeypatch.chdir(tmp_path)
    return write_corpus(tmp_path / "toy", clips=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("distill --losses angel", "unknown loss 'angel', did you mean 'angle'?"),
        ("distill --losses soft --losses hinton@TT=2", "unknown option 'TT' of hinton"),
        ("distill --losses triplet --set student.model=cnn3", "no model 'cnn3'"),
        ("distill --set student.batch=1 --losses area", "student.batch = 1"),
        ("distill --losses ce --set student.lr=x", "lr = 'x'"),
        ("teacher --preset nosuch", "no preset 'nosuch'"),
        ("distill --losses ce --pakc 2", "No such option '--pakc'"),
        ("table3 --seeds one", "'one'"),
        (f"teacher {SOUNDS} --folds 9", "fold 9 is not in toy; expected some of 1 2 3"),
        (f"distill {SOUNDS} --losses darkrank --set student.batch=2", "student.batch = 2"),
        ("distill --losses hint:1@layer=map9", "map9"),
        ("ban --losses angel", "unknown loss 'angel'"),
        ("ban --generations 0", "0"),
        ("search strogn", "no space 'strogn'"),
        ("final --losses ce --losses soft", "one student is shipped"),
        ("export --preset small --hafl", "No such option '--hafl'"),
        ("distill --losses 'ce", "No closing quotation"),
    ],
)
def test_the_first_step_refuses_what_a_later_one_could_not_take(
    toy: Path, monkeypatch: pytest.MonkeyPatch, call: str, message: str
) -> None:
    monkeypatch.setenv(ahead.VARIABLE, f"teacher\n{call}\n")
    before = sorted(toy.parent.rglob("*"))
    done = invoke("features", *SOUNDS.split(), *QUICK)
    assert done.exit_code in (1, 2) and message in done.stderr, done.stderr
    assert sorted(toy.parent.rglob("*")) == before


def test_what_is_right_is_passed_over_and_read_once(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also calls of commands that do not parse settings, and the running command's own, which reads them itself."""
    calls = (
        f"distill {SOUNDS} --losses angle,area --losses ce --folds '1 2'",
        "verify --data nowhere",
        "ban --losses none --dataset cifar100",
        "search small",
        "search",
        "table3 --help",
        "",
    )
    monkeypatch.setenv(ahead.VARIABLE, "\n".join(calls))
    done = invoke("verify", *SOUNDS.split())
    assert "toy" in done.stdout and not done.stderr
    assert ahead.VARIABLE not in os.environ  # processes that it starts have nothing to parse


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("distill {} --losses hinton", "needs one label a clip"),
        ("distill {} --losses angle", "soft of mix angle:50,soft:1: it needs one label a clip"),
        ("distill {} --losses ce --set student.sampler=classes:2", "student.sampler = 'classes:2'"),
        ("distill {} --losses ce --set teacher.label_noise=0.1", "teacher.label_noise = 0.1"),
        ("search strong {}", "hinton@T=1 of mix"),
        ("ban {} --losses hinton", "hinton of mix ce:1,hinton:1: it needs one label a clip"),
        ("ban {} --losses none", "nothing would be learned from the generation before"),
        ("table3 {}", "table3 takes clips of one label"),
        ("final {}", "hinton@T=2 of mix"),
        ("final {} --losses ce --unheard", "--unheard: a class is left out with its clips"),
    ],
)
def test_clips_of_several_labels_are_refused_in_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, message: str
) -> None:
    from tests.several import write_corpus as write_several

    monkeypatch.chdir(tmp_path)
    write_several(tmp_path / "tones")
    sounds = "--dataset csv --data tones/clips.csv"
    monkeypatch.setenv(ahead.VARIABLE, f"teacher {sounds}\n{call.format(sounds)}\n")
    before = sorted(tmp_path.rglob("*"))
    done = invoke("features", *sounds.split())
    assert done.exit_code == 1 and message in done.stderr, done.stderr
    assert sorted(tmp_path.rglob("*")) == before
