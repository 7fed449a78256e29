"""The kernels that numba compiles, librosa's and this package's: once on a machine, by one process at a time.

Two processes that compile the same kernel for different types at once can leave an index in numba's cache that crashes
every later process, and some of librosa's are compiled while it is imported. So nobody imports librosa or computes
outside of the lock (``alone``) who does not know that all kernels are there. The stamp says that: it goes by all that
makes numba compile again, and lists the files of its cache, which must still be there. Where there is no stamp (an
installation that cannot be written, a cache in an unknown place) everybody goes through the lock.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from pipeline import locks

LIBRARIES = ("librosa", "numba", "llvmlite", "numpy", "scipy")
FOLDER = Path(__file__).parent


@cache
def version(name: str) -> str:
    """Of a library; a hundredth of a second each."""
    return metadata.version(name)


def compiled(plain: bool) -> bool:
    """Whether all kernels of a way of computing are in numba's cache, so that to warm up takes a second."""
    try:
        files = stamp_path(plain).read_text().splitlines()
    except OSError:
        return False
    return bool(files) and all(Path(name).is_file() for name in files)


def stamp(plain: bool) -> None:
    """Say that all kernels of a way of computing are compiled."""
    files = index_files()
    if not files:
        return
    with suppress(OSError):
        path = stamp_path(plain)
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        unfinished.write_text("\n".join(map(str, files)))
        unfinished.replace(path)


def stamp_path(plain: bool) -> Path:
    """Beside this package's own compiled kernels; another name where numba would compile them again."""
    sources = [*sorted(FOLDER.glob("*.py")), librosa_folder() / "__init__.py"]
    states = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sources]
    # The number of threads changes no kernel, and workers are given one of their own.
    names = (name for name in sorted(os.environ) if name.startswith("NUMBA_") and name != "NUMBA_NUM_THREADS")
    environment = [(name, os.environ[name]) for name in names]
    about = (
        plain,
        platform.python_version(),
        [version(name) for name in LIBRARIES],
        states,
        environment,
        processor(),
    )
    return FOLDER / "__pycache__" / f"kernels-{hashlib.sha256(repr(about).encode()).hexdigest()[:16]}"


def librosa_folder() -> Path:
    """Found without importing it."""
    module_spec = find_spec("librosa")
    assert module_spec is not None and module_spec.origin is not None
    return Path(module_spec.origin).parent


def processor() -> str:
    """What numba compiles for: the model and its abilities, where the system tells."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor() + platform.machine()


def index_files() -> list[Path]:
    """numba's indices of the kernels, where it was told to keep them or else beside the modules.

    None at all where librosa's are not there: then they are in a place that is not known here.
    """
    if elsewhere := os.environ.get("NUMBA_CACHE_DIR"):
        return sorted(Path(elsewhere).resolve().rglob("*.nbi"))
    theirs = sorted(librosa_folder().rglob("*.nbi"))
    return theirs and [*theirs, *sorted(FOLDER.rglob("*.nbi"))]


def lock_file() -> Path:
    return Path(tempfile.gettempdir()) / f"audio-rkd-kernels-{os.getuid()}.lock"


@contextmanager
def alone(quiet: bool) -> Iterator[None]:
    """Hold the lock; who has to wait for it says so on stderr, once, unless ``quiet``."""

    def say(holder: str) -> None:
        if not quiet:
            print(waiting(holder), file=sys.stderr, flush=True)

    with locks.held(lock_file(), say, quiet=quiet):
        yield


def compiling() -> str:
    """Who holds the lock now; empty where nobody does."""
    return locks.holder_now(lock_file())


def waiting(who: str) -> str:
    return f"waiting for {who}, which compiles librosa's kernels: once on this machine, about 20 s"
