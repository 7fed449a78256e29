"""From WAVs to the table without one network call, by Python's own audit of what a process does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import QUICK, ROOT, write_corpus

#: Loaded by every Python process of the command, the children too. Audit hooks see C code as well.
BLOCKED = """
import os, sys
EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind", "urllib.Request")
def refuse(event, arguments):
    if event in EVENTS:
        with open(os.environ["CALLS"], "a") as file:
            file.write(f"{event} {arguments}\\n")
        raise PermissionError(f"network call: {event}")
sys.addaudithook(refuse)
"""

STEPS = """
import sys, cli
from click.testing import CliRunner
corpus = ["--dataset", "urbansound8k", "--data", "tiny"]
settings = sys.argv[1:]
for command in (
    ["features", *corpus, *settings, "--backend", "sequential"],
    ["teacher", *corpus, *settings, "--jobs", "1"],
    ["distill", *corpus, *settings, "--jobs", "1", "--losses", "soft", "--losses", "angle,area"],
    ["report", *corpus],
):
    done = CliRunner().invoke(cli.main, command)
    assert done.exit_code == 0, (command, done.output, done.exception)
print(done.output)
"""


def python(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (where / "hook").mkdir(exist_ok=True)
    (where / "hook" / "sitecustomize.py").write_text(BLOCKED)
    environment = {**os.environ, "PYTHONPATH": f"{where / 'hook'}:{ROOT}", "CALLS": str(where / "calls.txt")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=where, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_hook_sees_a_connection(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')")
    assert done.returncode != 0 and "network call" in done.stderr
    assert (tmp_path / "calls.txt").read_text()


@pytest.mark.slow
def test_the_core_makes_no_network_call(tmp_path: Path) -> None:
    write_corpus(tmp_path / "tiny", folds=(1, 2), clips=4)
    done = python(tmp_path, "-c", STEPS, *QUICK)
    assert done.returncode == 0, done.stderr
    assert "resnet18 (teacher)" in done.stdout
    calls = tmp_path / "calls.txt"
    assert not calls.exists(), calls.read_text()
