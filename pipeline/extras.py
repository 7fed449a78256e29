"""How an extra of this project is installed: one line, for whichever Python runs now."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import shlex
import sys
from pathlib import Path


@functools.cache
def is_installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


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


def media_remedy(name: str) -> str:
    """What to do with a file of this name whose format needs the extra ``media``: install it, or convert the file."""
    wav = f"{Path(name).stem}.wav"
    return f"{install_line('media')}; or convert it: ffmpeg -i {shlex.quote(Path(name).name)} -vn {shlex.quote(wav)}"
