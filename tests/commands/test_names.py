"""One name for one thing in every command, older ones beside it; what a shell completes."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

import cli
from pipeline import commands
from pipeline.report import listing
from tests.recorded import write_run
from tests.tiny import audio_rkd

OLDER = {"--corpus": "--dataset", "--mix": "--losses", "--fold": "--folds", "--seed": "--seeds"}


@pytest.mark.parametrize("name", commands.names())
def test_older_names_are_taken_and_not_shown(name: str) -> None:
    command = commands.load(name)
    help_text = command.get_help(click.Context(command, info_name=name))
    for option in [option for parameter in command.params for option in parameter.opts]:
        if option in OLDER:
            assert any({option, OLDER[option]} <= set(p.opts) for p in command.params), (name, option)
            assert f"{option} " not in help_text and f"{option}," not in help_text and OLDER[option] in help_text


def test_both_names_choose_the_same(tmp_path: Path) -> None:
    for fold in (1, 2):
        write_run(tmp_path, 5 + fold, fold=fold, corpus="ESC-50")
        write_run(tmp_path, 6 + fold, fold=fold, corpus="tiny", mix="angle:50,soft:1")
    for new, old in (
        (("--losses", "soft", "--folds", "1"), ("--mix", "soft", "--fold", "1")),
        (("--seeds", "0", "--dataset", "tiny"), ("--seed", "0", "--corpus", "tiny")),
        (("--dataset", "esc50"), ("--corpus", "ESC-50")),
    ):
        first, second = (audio_rkd(tmp_path, "runs", *call) for call in (new, old))
        assert first.returncode == 0 and first.stdout == second.stdout


def test_lines_of_runs_fit_a_terminal(tmp_path: Path) -> None:
    write_run(tmp_path, 6)
    listed = listing.listing(tmp_path / "runs")
    whole = listing.listing_text(listed)
    assert listing.listing_text(listed, 10_000) == whole
    for width in (20, 70, 110, 140):
        lines = listing.listing_text(listed, width).splitlines()
        assert max(map(len, lines)) <= width and len(lines) == len(whole.splitlines())
    assert listing.listing_text(listed, 110).splitlines()[-2].endswith("fold1-seed0")


@pytest.mark.parametrize(
    ("words", "typed", "expected"),
    [
        (["distill", "--losses"], "ang", ["angle"]),
        (["distill", "--losses"], "soft,ang", ["soft,angle"]),
        (["distill", "--preset"], "dem", ["demo"]),
        (["experiment"], "table", ["table3"]),
        (["features", "--dataset"], "esc", ["esc10", "esc50"]),
        ([], "ret", ["retrieval"]),
    ],
)
def test_a_shell_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], typed: str, expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rkd.toml").write_text("not toml")  # whoever completes is told nothing of it
    complete = ShellComplete(cli.main, {}, "audio-rkd", "_AUDIO_RKD_COMPLETE")
    offered = [item.value for item in complete.get_completions(words, typed)]
    assert set(expected) <= set(offered) and all(word.startswith(typed) for word in offered)


def test_nothing_is_coloured() -> None:
    """So NO_COLOR has nothing to take away."""
    text = "".join(path.read_text(encoding="utf-8") for path in Path(commands.__file__).parents[1].rglob("*.py"))
    assert "click.style" not in text and "secho" not in text and "\\x1b[3" not in text and "\\033[" not in text
