"""Every command in the documents exists: its make target, its options, the values of its options.

Parsed only, for most: those that fetch a data set, set up an environment or train for minutes to hours are not run here.
Really run, on a tiny corpus with runs trained for it, are the commands of README and docs/ on what is there already
(``LOOKING``): the lines that make would say for them, in this process. The commands of the demo and of UrbanSound8K are run elsewhere,
on tiny corpora too: ``tests/test_stages.py`` (features, teacher, distill, table3, report), ``tests/test_offline.py`` (the same
without a network), ``tests/engine/test_cluster.py`` (``--backend dask``) and ``tests/corpus/test_synthetic.py`` (the demo's corpus).
"""

from __future__ import annotations

import argparse
import configparser
import importlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import cli
from pipeline import config
from pipeline.commands import sections
from pipeline.config import InputError
from pipeline.experiments.generations import chain_mix
from pipeline.losses import LossMix
from pipeline.report import tensorboard
from tests.tiny import ROOT, invoke, write_corpus

#: All that is written for people; what else lies in data/ and cache/ is somebody's own.
DOCUMENTS = [
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "data/README.md", "cache/README.md")
    for path in sorted(ROOT.glob(pattern))
]

#: What stands for something of the reader's own, where any text would not do: every other placeholder is a path or a name.
PLACEHOLDERS = {"HOST:PORT": "localhost:8786", "PORT": "8786", "N": "1", "…": "x"}

#: How a command begins. Others, such as ln and apt-get, are the reader's own system.
BEGINNINGS = ("make", "python", "audio-rkd", "pip", ".venv/bin/python", ".venv/bin/pip")

OPERATORS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "(", ")"}


def commands(text: str) -> list[str]:
    """The commands in a Markdown text: in indented and fenced blocks, line by line, and between backticks."""
    lines, fenced, prose = [], False, []
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip())
        else:
            prose.append(line)
    lines = "\n".join(lines).replace("\\\n", " ").split("\n")
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", "\n".join(prose))]
    return [part for line in lines for part in simple(line)]


def simple(line: str) -> Iterator[str]:
    """The simple commands of a shell line that are ours, without what is set before them."""
    try:
        lexer = shlex.shlex(line, posix=False, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = [*lexer]
    except ValueError:  # no shell line: an apostrophe in a piece of Python
        return
    collected: list[str] = []
    for word in [*words, ";"]:
        if word not in OPERATORS:
            collected.append(word)
            continue
        while collected and re.fullmatch(r"[A-Z_]+=\S*", collected[0]):
            collected.pop(0)
        if len(collected) > 1 and collected[0] in BEGINNINGS:
            yield " ".join(collected)
        collected = []


def words_of(command: str) -> list[str]:
    words = shlex.split(command)
    for name, value in PLACEHOLDERS.items():
        words = [re.sub(rf"(?<![A-Z_]){re.escape(name)}(?![A-Z_=])", value, word) for word in words]
    return words


class Unknown(AssertionError):
    """A command that is written somewhere and does not exist."""


def check(command: str, place: Path) -> None:
    """``Unknown`` if the command could not be given like this. ``place``: as ``stand_in`` makes it."""
    program, *rest = words_of(command)
    program = program.removeprefix(".venv/bin/")
    if program == "python" and rest[:2] == ["-m", "pip"]:
        program, rest = "pip", rest[2:]
    if program == "make":
        check_make(rest, place)
    elif program == "audio-rkd" or (program == "python" and rest[0] == "cli.py"):
        check_click(rest if program == "audio-rkd" else rest[1:])
    elif program == "python" and rest[:1] == ["-m"] and rest[1].startswith("bench."):
        check_bench(rest[1], rest[2:])
    elif program == "pip":
        check_extras(rest)
    elif program == "python" and not rest[0].startswith("-") and not (ROOT / rest[0]).is_file():
        raise Unknown(f"no file {rest[0]}")


def check_make(words: list[str], place: Path) -> None:
    text = (place / "Makefile").read_text()
    for word in words:
        name, equals, _ = word.partition("=")
        if equals and not re.search(rf"^{re.escape(name)} \??=", text, re.MULTILINE):
            raise Unknown(f"no variable {name} in the Makefile")
    for program, *rest in lines_of_make(words, place):
        if program == "./bin/python" and rest[0] == "cli.py":
            check_click(rest[1:])
        elif program == "./bin/python" and rest[:1] == ["-m"] and rest[1].startswith("bench."):
            check_bench(rest[1], rest[2:])


def lines_of_make(words: list[str], place: Path) -> list[list[str]]:
    """What ``make`` would run, line by line, as words."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    done = subprocess.run(
        ["make", "-n", "VENV=.", *words], cwd=place, env=clean, capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise Unknown(done.stderr)
    return [shlex.split(line, comments=True) or [""] for line in done.stdout.replace("\\\n", "").splitlines()]


def check_click(words: list[str]) -> None:
    if words[0] in ("--help", "-h", "--version"):
        return
    command = cli.main.commands.get(words[0])
    if command is None:
        raise Unknown(f"no command {words[0]!r}; expected one of {', '.join(cli.main.commands)}")
    if {"--help", "-h"} & set(words[1:]):
        words = [word for word in words if word not in ("--help", "-h")]
        if len(words) == 1:
            return
    try:
        with command.make_context(words[0], words[1:]) as context:  # what options note is of this call alone
            check_values(words[0], context.params)
    except (click.UsageError, InputError) as error:
        raise Unknown(f"{' '.join(words)}: {error}") from None


def check_values(name: str, given: dict[str, Any]) -> None:
    """What click leaves to the command: settings and mixes."""
    if preset := given.get("preset"):
        of_images = name == "table4" and preset in ("paper", "strong")
        config.read(f"cifar-{preset}" if of_images else preset, given.get("overrides", ()))
    for text in given.get("losses") or ():
        chain_mix(text) if name in ("ban", "table4") else LossMix.parse(text)


class Parsed(Exception):
    """The benchmark has read its arguments, and would begin now."""


def check_bench(module: str, words: list[str]) -> None:
    try:
        main = importlib.import_module(module).main
        if isinstance(main, click.Command):
            main.make_context(module, list(words))
            return
    except (click.ClickException, ModuleNotFoundError) as error:
        raise Unknown(f"python -m {module} {' '.join(words)}: {error}") from None
    real = argparse.ArgumentParser.parse_args

    def parse(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        real(parser, words)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        try:
            main()
        except Parsed:
            return
        except SystemExit as error:
            raise Unknown(f"python -m {module} {' '.join(words)}: {error}") from None
    raise AssertionError(f"{module}.main reads no arguments")


def check_extras(words: list[str]) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for extra in ",".join(re.findall(r"(?:audio-rkd|\.)\[(.*?)\]", " ".join(words))).split(","):
        if extra and extra not in setup["options.extras_require"]:
            raise Unknown(f"no extra {extra!r} in setup.cfg")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which ``make`` takes everything for set up."""
    place = tmp_path_factory.mktemp("clone")
    for name in ("setup.cfg", "constraints.txt", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, place / name)
    for name in (".ready", ".ready-dev"):
        (place / name).touch()
    return place


@pytest.fixture(autouse=True)
def with_all_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "summary_writer", lambda: None)


FOUND = [(name, command) for name in DOCUMENTS for command in commands((ROOT / name).read_text(encoding="utf-8"))]


def test_commands_are_found_in_the_readme() -> None:
    """The reading itself: a README in which nothing is found would pass everything else."""
    in_readme = [command for name, command in FOUND if name == "README.md"]
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1500
    for expected in (
        "make demo",
        "make test",
        "make features",
        'make distill LOSSES="soft angle,area"',
        "make report",
    ):
        assert expected in in_readme
    assert commands(
        "    FOO=1 make a  # one\n```sh\ncat x | python cli.py b \\\n  -c && make 'd e'\n```\ntext `make f=1` x"
    ) == [
        "make a",
        "python cli.py b -c",
        "make 'd e'",
        "make f=1",
    ]


def test_every_command_and_option_says_what_it_is_for() -> None:
    """In the list of commands, with examples that work; and no option is left without a word."""
    listed = [name for names in sections().values() for name in names]
    assert sorted(listed) == sorted(cli.main.commands)
    for name, command in cli.main.commands.items():
        assert command.epilog and command.help
        for line in command.epilog.splitlines()[2:]:
            assert line.split()[:2] == ["audio-rkd", name]
            check_click(words_of(line)[1:])
        assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize(("name", "command"), FOUND, ids=[f"{name}: {command}" for name, command in FOUND])
def test_every_command_exists(name: str, command: str, stand_in: Path) -> None:
    check(command, stand_in)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize(
    "command",
    [
        "make demoo",
        "make distill LOSES=soft",
        "make distill LOSSES=soft,angel",
        "make teacher SET=teacher.epoch=3",
        "make teacher PRESET=defualt",
        "make features DATASET=urbansound",
        "make teacher SEEDS=zero",
        "make compare A=soft",
        "make inspect ARGS=--clips",
        "make setup TORCH=gpu",
        "python cli.py distil --losses soft",
        "python cli.py teacher --fold 1",
        "audio-rkd predict --best RUN sound.wav",
        "audio-rkd compare soft",
        "python cli.py ban --generations 0",
        "python cli.py ban --losses nothing",
        "python cli.py table3 --log wandb",
        "python -m bench.feature --clips 1",
        "python -m bench.training --clips 1",
        "python -m bench.gpu --hours 1",
        "pip install 'audio-rkd[gpu]'",
        "python -m pip install -e '.[plots,onnx]'",
        "python examples/student.py EXPORT sound.wav",
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str, stand_in: Path) -> None:
    with pytest.raises(Unknown):
        check(command, stand_in)


#: The goals that look at, or use, what there is already.
LOOKING = (
    "report",
    "follow",
    "runs",
    "compare",
    "ensemble",
    "rerun",
    "predict",
    "export",
    "cost",
    "doctor",
    "inspect",
    "retrieval",
)

#: What is printed by each where it did what it says.
SAID = {
    "report": "page: reports/urbansound8k/index.html",
    "follow": "finished",
    "runs": "6 runs",
    "compare": "B less A: ",
    "rerun": "weights: the same bit for bit",
    "ensemble": "mean of class probabilities",
    "predict": " %",
    "doctor": "all well",
    "export": "torch against ONNX",
    "cost": "what a device pays for",
    "inspect": "urbansound8k",
    "retrieval": "angle",
}

LOOKED = [
    command
    for command in dict.fromkeys(command for name, command in FOUND if name == "README.md" or name.startswith("docs/"))
    if command.startswith("make ")
    and command.split()[1] in LOOKING
    # Of a preset's students: none is trained here; tests/deploy/test_one_file.py exports some.
    and "PRESET=" not in command
]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, stand_in: Path) -> Path:
    """A clone's folder in which a teacher and two mixes were trained on two folds, on features of the usual settings."""
    place = tmp_path_factory.mktemp("used")
    write_corpus(place / "data" / "UrbanSound8K", folds=(1, 2), clips=16)
    (place / "folder").mkdir()
    (sound, other, *_) = sorted((place / "data").rglob("*.wav"))
    shutil.copy(sound, place / "a.wav")
    shutil.copy(other, place / "folder" / "b.wav")
    quick = [
        "--set=teacher.epochs=6",
        "--set=teacher.lr=0.02",
        "--set=student.epochs=10",
        "--set=student.lr=0.01",
    ]
    how = (*quick, "--jobs", "1", "--pack", "9", "--layout", "loop", "--device", "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for arguments in (
            ("features", "--backend", "sequential"),
            ("teacher", *how),
            ("distill", *how, "--losses", "soft", "--losses", "angle,area"),
        ):
            done = invoke(*arguments)
            assert done.exit_code == 0, done.output
    return place


def readers_own(word: str, place: Path) -> str:
    """A word of the documents with the reader's own things in place of what stands for them."""
    run = next(path for path in sorted((place / "runs").rglob("fold1-seed0")) if "student" in str(path))
    word = re.sub(r"(runs/)?…/fold1-seed0", str(run.relative_to(place)), word)
    word = re.sub(r"(runs/)?…/(angle40\+area20\+soft1)", rf"{run.parents[1].relative_to(place)}/\2", word)
    word = re.sub(r"^DATASET=\S+$", "DATASET=urbansound8k", word)
    word = re.sub(r"^DATA=\S+$", "DATA=data/UrbanSound8K", word)
    return word.replace("NAME", sorted((place / "data").rglob("fold1/*.wav"))[0].name)


def test_every_goal_that_looks_at_what_there_is_is_run() -> None:
    assert {command.split()[1] for command in LOOKED} == set(LOOKING)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize("command", LOOKED)
def test_a_command_on_what_there_is_does_what_it_says(
    used: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("matplotlib")
    words = [readers_own(word, used) for word in shlex.split(command)[1:]]
    # Live until nothing has been under way for 15 seconds: one look is enough here.
    words += ["ARGS=--once"] if words == ["follow"] else []
    monkeypatch.chdir(used)
    ((_, _, *arguments),) = lines_of_make(words, stand_in)
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    assert SAID[words[0]] in done.stdout
