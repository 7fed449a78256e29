"""``audio-rkd search`` and ``calibrate`` as commands: what they list, and what they refuse in one line before anything is trained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.search import proposing, space
from tests.tiny import invoke


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_alone_it_lists_the_spaces() -> None:
    done = invoke("search")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(space.names())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("strnog",), 1, "no space 'strnog', did you mean 'strong'"),
        (("nowhere.toml",), 1, "no space 'nowhere.toml'"),
        (("strong", "--seeds", "0-2"), 2, "--trial-seeds"),
        (("strong", "--trials", "0"), 2, "--trials"),
        (("strong", "--set", "student.lr=0.1"), 1, "space strong varies student.lr"),
        (("strong", "--preset", "nowhere"), 1, "no preset 'nowhere'"),
        (("strong", "--losses", "angel"), 1, "'angle'"),
        (("strong", "--losses", "ce:{weight}"), 1, "weight: in [mix] or in losses alone"),
        (("rates", "--trials", "25"), 1, "the grid has 24"),
        (("strong", "--set", "student.model=vgg"), 1, "'vgg'"),
        (("--data", "nowhere", "--dataset", "folder"), 1, "nowhere"),
    ],
)
def test_what_is_wrong_is_refused(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = invoke("search", *arguments)
    assert done.exit_code == code and words in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.output and not list(Path().iterdir())


def test_a_value_of_a_space_that_no_setting_takes_is_refused() -> None:
    Path("mine.toml").write_text("[student]\nlr = [0.1, -1.0]\n")
    done = invoke("search", "mine.toml")
    assert done.exit_code == 1 and "space mine: [student]: lr = -1.0: expected" in done.stderr
    Path("mine.toml").write_text("[student]\nmodel = ['cnn2', 'cnn3']\n")
    assert "'cnn3'" in invoke("search", "mine.toml").stderr


def test_without_optuna_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r"a search needs optuna, which is not installed; install it: .*\[search\]"):
        proposing.library()


def test_calibrate_refuses_what_is_no_run() -> None:
    done = invoke("calibrate", "nowhere")
    assert done.exit_code == 1 and "nowhere" in done.stderr and "expected" in done.stderr
