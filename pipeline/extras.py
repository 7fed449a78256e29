"""How an extra of this project is installed: one line, for whichever Python runs now."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from pathlib import Path


def install_line(*extras: str) -> str:
    """The command that installs ``extras`` beside this very project.

    By the Python that runs, for a bare ``pip`` may be another environment's. Where the project is installed (editable
    too) pip takes it as it is and adds what the extras name; where it is run from its folder alone, that is named, for
    no index has it.
    """
    names = ",".join(extras)
    try:
        importlib.metadata.version("audio-rkd")
        requirement = f"'audio-rkd[{names}]'"
    except importlib.metadata.PackageNotFoundError:
        requirement = "-e " + shlex.quote(f"{Path(__file__).resolve().parents[1]}[{names}]")
    return f"{shlex.quote(sys.executable)} -m pip install {requirement}"
