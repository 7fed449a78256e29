"""Tests that were started in the background can still press Ctrl-C, and their children find the project compiled."""

from __future__ import annotations

import os
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

COMPILED = """
import subprocess, sys
assert sys.dont_write_bytecode
import tests.conftest
assert not sys.dont_write_bytecode
subprocess.run([sys.executable, "-c", "import sys; assert not sys.dont_write_bytecode"], check=True)
"""


def test_children_see_ctrl_c_where_the_tests_are_told_to_ignore_it() -> None:
    subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, check=True)


def test_children_keep_the_compiled_project_where_this_process_is_told_not_to() -> None:
    told = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", COMPILED], cwd=ROOT, env=told, check=True)
