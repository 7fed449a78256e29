"""How a command ends that cannot go on: one line for whatever went wrong, and the exit code."""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from pipeline import signals
from pipeline.config import InputError
from pipeline.processes.variables import OF_LLVM, numba_is_strict, refused_by_llvm
from pipeline.spelling import one_line

#: The exit code of what nobody reads any more: the one that a shell gives to programs that SIGPIPE ends.
UNREAD = 128 + signal.SIGPIPE

#: How many messages there are, in ``Context.meta``: "quiet", "verbose", or nothing.
LEVEL = "pipeline.commands.level"

#: How an error that lists several things begins each line but the first.
INDENT = "\n       "

AGAIN = "then the same command again: what was finished is kept"
ROOM = f"Make room, or choose a folder that can be written, {AGAIN}."
RIGHTS = f"Change its permissions, or choose a place that can be read and written, {AGAIN}."
SIZE = f"Raise the limit on the size of a file (ulimit -f), or choose a disk that takes large files, {AGAIN}."
PLACE = "Expected a folder that can be written; move what is there out of the way, or work in another folder."
GONE = f"Expected it to stay where it was: put it back if it was moved or removed, {AGAIN}."
LOOP = "It is a link that leads to itself: remove it, or let it lead to a file."
MEMORY = f"Give it more memory, or take less: fewer --jobs, a smaller --pack or batch, {AGAIN}."
OPEN = f"Raise the limit on open files (ulimit -n), or give fewer --jobs, {AGAIN}."
NAME = "Choose a shorter name."
DISK = f"See to the disk or the connection to it, {AGAIN}."

#: What the system may say, and what helps.
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EROFS), ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM), RIGHTS),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY), PLACE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), OPEN),
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN), MEMORY),
    errno.EFBIG: SIZE,
    errno.ENOENT: GONE,
    errno.ELOOP: LOOP,
    errno.ENAMETOOLONG: NAME,
}

#: What libraries say where memory is short and no MemoryError is raised.
NO_MEMORY = re.compile(
    r"can(?:'|no)t allocate memory|out of memory|failed to map segment|can't start new thread|"
    r"cannot create a thread|bad_alloc",
    re.IGNORECASE,
)

#: Beginnings of names of variables that the libraries below read.
VARIABLES = tuple(
    (
        "BLIS_ CUBLAS_ CUDA_ CUDNN_ DASK_ GOMP_ H5PY_ HDF5_ JOBLIB_ KMP_ LIBROSA_ LOKY_ MATPLOTLIB MKL_ "
        "MPL NUMBA_ NUMEXPR_ NUMPY_ OMP_ OPENBLAS_ ORT_ POOCH_ PYTORCH_ SCIPY_ SKLEARN_ SOURCE_DATE_EPOCH "
        "TF_ TMPDIR TORCH TQDM_"
    ).split()
)

#: Of these, those of which a wrong value would be complained of in each process, or end in a crash.
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
MOST_THREADS = 4096

#: Of HDF5's ways to a file, those that read and write the files of ``cache``.
HDF5_DRIVERS = ("", "sec2", "stdio")

#: Characters of ours that a Latin-1 or ASCII terminal does not have, in its own.
SPELLED = {
    "–": "-",
    "—": "-",
    "…": "...",
    "→": "->",
    "×": "x",
    "·": "*",
    "±": "+-",
    "−": "-",
    "≥": ">=",
    "≤": "<=",
    "’": "'",
}


def line(error: Exception) -> str:
    """What went wrong and what helps, on one line (an ``InputError`` says itself how many it needs)."""
    if isinstance(error, InputError):
        return str(error)
    if variable := refused_variable(error):
        return (
            f"the environment variable {variable}={os.environ[variable]!r} is refused ({first_line(error)}); expected a "
            f"value that the library which reads it takes: set that, or unset {variable}"
        )
    if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
        return f"out of memory ({first_line(error)}). {MEMORY}"
    if isinstance(error, OSError):
        reason = error.strerror or first_line(error)
        return f"{file_of(error) or 'reading or writing'}: {reason}. {REMEDIES.get(error.errno or 0, DISK)}"
    if str(error).startswith(ROUND := "Symlink loop from "):  # of Path.resolve
        return f"{str(error).removeprefix(ROUND)}: {LOOP}"
    if "no locator available" in str(error):
        return (
            f"numba finds no folder for its kernels ({first_line(error)}); expected one that can be written: "
            "NUMBA_CACHE_DIR=folder"
        )
    return fault(error)


def first_line(error: BaseException) -> str:
    text = (isinstance(error, OSError) and error.strerror) or str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def file_of(error: OSError) -> str:
    """The file that ``error`` is about: the one it names, else the one that was open where it arose."""
    name = error.filename if isinstance(error.filename, str | bytes | os.PathLike) else ""
    if not name:
        for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
            names = [getattr(v, "name", None) for v in frame.f_locals.values() if isinstance(v, io.IOBase)]
            name = next((name for name in names if isinstance(name, str)), "")
            if name:
                break
    path = Path(os.fsdecode(name))
    # Files are written under another name first; the one that they get is the one that people know.
    return str(path.with_name(re.sub(r"^\.(.+)\.\d+\.(?:tmp|old)$", r"\1", path.name))) if path.name else ""


def refused_variable(error: Exception) -> str:
    """The library's variable that an error is about: by its name, its value in quotes, or a path below its value."""
    if isinstance(error, Warning) and "PYTHONWARNINGS" in os.environ:
        return "PYTHONWARNINGS"
    text = f"{error} {error.filename}" if isinstance(error, OSError) else str(error)
    for name, value in os.environ.items():
        if name.startswith(VARIABLES):
            quoted = re.escape(value)
            is_value = value and re.search(rf"(['\"`]){quoted}\1", text)
            is_word = len(value) > 2 and re.search(rf"(?<![\w./-]){quoted}(?![\w.-])", text)
            if name in text or is_value or is_word:
                return name
    return ""


def check_variables() -> None:
    """``InputError`` for numbers of threads that are none; other values of numba's that it refuses become errors as well."""
    for name in THREADS:
        numbers = [part.strip() for part in os.environ.get(name, "").split(",")]  # one a level of nesting
        if numbers != [""] and not all(
            part.isascii() and part.isdecimal() and 0 < int(part[:9]) <= MOST_THREADS for part in numbers
        ):
            raise InputError(
                f"the environment variable {name}={os.environ[name]!r}: expected a whole number of threads from 1 "
                f"to {MOST_THREADS}: set that, or unset {name}"
            )
    if (driver := os.environ.get("HDF5_DRIVER", "sec2")) not in HDF5_DRIVERS:  # the library would crash
        raise InputError(
            f"the environment variable HDF5_DRIVER={driver!r}: expected one of {', '.join(filter(None, HDF5_DRIVERS))}, "
            "which write one ordinary file: set that, or unset HDF5_DRIVER"
        )
    for name in OF_LLVM:
        if reason := refused_by_llvm(name):
            raise InputError(
                f"the environment variable {name}={os.environ[name]!r} is refused ({reason}); expected a value that "
                f"LLVM knows, such as {OF_LLVM[name][1]}: set that, or unset {name}"
            )
    numba_is_strict()


OURS = "this is a fault of ours"


def fault(error: Exception) -> str:
    """A line for what nobody foresaw; the traceback goes into a file of its own."""
    text = "".join(traceback.format_exception(error))
    whose, place = in_a_file(text)
    if not whose:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "pipeline" in frame.filename]
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    sentence = f"{whose or OURS}: {type(error).__name__}{place}: {first_line(error)}"
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="audio-rkd-fault-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.write(f"{sys.argv}\n{text}")
    except OSError:
        return f"{sentence}; the traceback could not be written anywhere. Please report this line"
    report = ";" if whose else ". Please report it with that file;"
    return f"{sentence}; the traceback is in {file.name}{report} what was finished is kept"


def in_a_file(text: str) -> tuple[str, str]:
    """Of the loss, or the file of a user's own, in which a traceback ends: that it failed, and the line; empty where it is in none.

    By its text, because the traceback of another process is nothing else.
    """
    from pipeline import losses, plugins  # here alone: the losses' folder is read

    with suppress(OSError):  # the error may be that no file can be opened
        folders, names = set(map(str, losses.__path__)), losses.names()
        for file, line in reversed(re.findall(r'File "(.+)", line (\d+)', text)):
            path = Path(file)
            kind, word = plugins.plugin_of(file) or ("", "")
            if not kind and str(path.parent) in folders and path.stem in names:
                kind, word = "losses", "loss"
            if kind:
                may = f"pipeline/{kind}/__init__.py says what its file may do"
                return f"the {word} {path.stem} failed ({may})", f" at {path.name}:{line}"
    return "", ""


def tell(text: str) -> None:
    """One line on standard error, or a list below it (``INDENT``), if anybody is still there."""
    with suppress(OSError, ValueError):
        click.echo(INDENT.join(map(one_line, text.split(INDENT))), err=True)


def tell_where(error: Exception) -> None:
    """With ``-v``: the traceback."""
    context = click.get_current_context(silent=True)
    if context and context.meta.get(LEVEL) == "verbose":
        with suppress(OSError, ValueError):
            click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Bad input is one line and exit code 1; a signal to stop is 128 and its number; so ends, in silence, what nobody reads any more."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except KeyboardInterrupt as stop:
        stopped(stop)
    except Exception as error:
        if signals.received:  # whatever the signal broke
            stopped(error if isinstance(error, InputError) else None)
        nobody_reads = isinstance(error, OSError) and unread()
        if nobody_reads and isinstance(error, BrokenPipeError):  # else it is of a pipe of our own, to a worker
            sys.exit(UNREAD)
        tell(f"error: {line(error)}")
        tell_where(error)
        sys.exit(1)


def unread() -> bool:
    """Whether who read standard output or error is gone (``| head``). What cannot be written there is dropped."""
    gone = False
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # streams of a caller's own may have no number
            state = select.poll()
            state.register(stream.fileno(), 0)
            gone |= bool(state.poll(0))  # asked for nothing, it tells only that nobody is there
            try:
                stream.flush()
            except OSError:  # also of a full disk: the interpreter would try again when it ends, with words of its own
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return gone


def stopped(stop: BaseException | None) -> None:
    """The end of a command that was asked to stop; none of its processes is left."""
    signals.say_no_more()
    words = isinstance(stop, KeyboardInterrupt) and str(stop)
    tell(f"stopped. {words or 'The same command goes on where it was.'}")
    if signals.received:
        signals.kill_children()
    sys.exit(signals.exit_code())


def spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    """What a terminal's encoding does not have: in other characters, or its number; bytes of a file's name as they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":
        return bytes([ord(letter) - 0xDC00]), error.start + 1
    return SPELLED.get(letter, letter.encode("ascii", "backslashreplace").decode()), error.start + 1


codecs.register_error("spelled", spelled)
