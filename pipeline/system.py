"""Where this runs: Linux, where all tests run; macOS, where nobody has run them; not Windows itself.

Imported first of all: signals and locks are Unix's, and what fails without them would say so in a traceback.
"""

from __future__ import annotations

import os
import platform
import sys

WINDOWS = (
    "Windows has not the signals and locks that audio-rkd needs; use WSL (wsl --install), where it runs as on Linux"
)


def require_unix() -> None:
    """The end, with one line, where this is Windows."""
    if os.name == "nt":
        sys.exit(f"error: {WINDOWS}")


def words() -> str:
    """For people: the system, and what is known of it."""
    kind = f"{platform.system()} {platform.machine()}"
    if platform.system() == "Linux":
        return f"{kind}: all tests run here"
    return f"{kind}: nothing here is Linux's alone, but the tests were run on Linux only: make test-all says what holds"


require_unix()
