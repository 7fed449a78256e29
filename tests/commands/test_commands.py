"""A command is one file: it is listed, helps and works with no other line changed, and costs the others nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import commands
from tests.tiny import invoke

ROOT = Path(__file__).resolve().parents[2]

PLAIN = '''
"""Greets whoever is named."""
import click
from pipeline.config import InputError

@click.command()
@click.argument("name")
@click.option("--times", default=2, help="How often.")
def say_hello(name, times):
    """Greet NAME, politely."""
    if name == "nobody":
        raise InputError("nobody: expected a name")
    click.echo(f"hello {name} " * times)
'''

FULL = PLAIN.replace("say_hello", "greet") + 'SECTION: str = "Using a run"\nORDER = 41.5\nEXAMPLES = ["greet you"]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files are commands too."""
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("pipeline.commands."):
            del sys.modules[name]


def test_a_command_is_one_file(folder: Path) -> None:
    (folder / "say_hello.py").write_text(PLAIN)
    (folder / "notes.py").write_text('"""No command."""\n')
    assert "notes" not in commands.names() and commands.names()[-1] == "say-hello"
    listed = invoke("--help").output
    assert listed.endswith("Other commands:\n  say-hello  Greets whoever is named\n")
    done = invoke("say-hello", "you")
    assert (done.exit_code, done.stdout) == (0, "hello you hello you \n")
    printed = invoke("say-hello", "--help").stdout
    assert "Usage: main say-hello [OPTIONS] NAME" in printed and "Greet NAME, politely." in printed
    assert "How often.  [default: 2]" in printed
    done = invoke("say-hello", "nobody")
    assert (done.exit_code, done.stderr) == (1, "error: nobody: expected a name\n")
    assert invoke("say-hello", "you", "--times", "x").exit_code == 2
    assert "Did you mean 'say-hello'?" in invoke("say-helo").stderr


def test_section_order_and_examples_are_optional(folder: Path) -> None:
    (folder / "greet.py").write_text(FULL)
    section = invoke("--help").output.partition("Using a run:\n")[2]
    names = re.findall(r"^  (\S+)", section, re.MULTILINE)  # words that go on in a second line stand further in
    assert names == list(commands.sections()["Using a run"]) and names[:3] == ["predict", "greet", "export"]
    assert invoke("greet", "--help").stdout.endswith("Examples:\n    audio-rkd greet you\n")


@pytest.mark.parametrize("fault", ["def", "ORDER = 'first'\n", "EXAMPLES = tuple(range(3))\n"])
def test_a_file_that_cannot_be_read_says_so_and_costs_only_itself(folder: Path, fault: str) -> None:
    (folder / "say_hello.py").write_text(PLAIN + fault)
    done = invoke("--help")
    assert done.exit_code == 0 and "say-hello  (say_hello.py cannot be read: " in done.output
    assert re.search(r"teacher +Stage two", done.output)
    assert invoke("data", "--help").exit_code == 0


def test_help_imports_no_command(tmp_path: Path) -> None:
    """Nor what is heavy; a command's own help imports that command alone."""
    code = """
import sys, cli
try:
    cli.main(sys.argv[1:], prog_name="audio-rkd")
finally:
    heavy = {"numpy", "scipy", "torch", "librosa", "h5py", "soundfile", "matplotlib", "requests"} & set(sys.modules)
    commands = {name.rpartition(".")[2] for name in sys.modules if name.startswith("pipeline.commands.")}
    print("imported", *sorted(heavy), *sorted(commands - {"ahead", "chosen", "common", "completing", "defaults", "errors", "group", "options", "showing", "types"}), file=sys.stderr)
"""
    for arguments, expected in (
        (["--help"], []),
        (["report", "--help"], ["report"]),
        (["runs", "-x"], ["runs"]),
    ):
        done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.stderr.splitlines()[-1].split() == ["imported", *expected], done.stderr


@pytest.mark.parametrize("name", commands.names())
def test_help_of_each_command_imports_nothing_heavy(name: str) -> None:
    """In its file's own text: what a command imports at the top is light."""
    done = invoke(name, "--help")
    assert done.exit_code == 0 and "Examples:" in done.output


def test_streams_that_were_closed_lead_nowhere_and_lend_no_number_to_a_file(tmp_path: Path) -> None:
    """What a library writes to standard error by its number would go into the features."""
    code = (
        "import os, sys\n"
        "from pipeline.commands.group import open_closed_streams\n"
        "open_closed_streams()\n"
        f"with open({str(tmp_path / 'features')!r}, 'w') as file:\n"
        "    os.write(2, b'warning')\n"
        "    print('said')\n"
        "    print(file.fileno() > 2, repr(sys.stdin.read()), sys.stdout.isatty(), file=file)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, preexec_fn=lambda: os.closerange(0, 3), check=True)
    assert (tmp_path / "features").read_text() == "True '' False\n"
