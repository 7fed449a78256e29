"""Tests that were started in the background can still press Ctrl-C."""

from __future__ import annotations

import subprocess
import sys

from tests.tiny import ROOT

CODE = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what runs behind an ampersand
import tests.conftest
child = subprocess.run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"],
                       stderr=subprocess.DEVNULL)
assert child.returncode == -signal.SIGINT, child.returncode
"""


def test_children_see_ctrl_c_where_the_tests_are_told_to_ignore_it() -> None:
    subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, check=True)
