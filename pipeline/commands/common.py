"""Options of the group that every command takes too, behind its name: ``--root``, ``-q``, ``-v``."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import click

from pipeline import __version__, places, plugins, working_folder
from pipeline.commands.defaults import rooted
from pipeline.commands.errors import INDENT, LEVEL

#: The number of the file of standard error.
STDERR = 2

#: What lines begin with that are shown in any case.
ERRORS = ("error: ", "stopped. ", "Error: ", "Usage: ")


def set_root(context: click.Context, _option: click.Parameter, root: Path | None) -> None:
    if root is not None:
        context.with_resource(rooted(str(root), "--root"))


def set_level(context: click.Context, option: click.Parameter, is_set: bool) -> None:
    if not is_set:
        return
    level = str(option.name)
    if context.meta.setdefault(LEVEL, level) != level:
        raise click.UsageError("-q and -v exclude each other; expected one of them", context)
    context.with_resource(quiet() if level == "quiet" else verbose())


def options(*, hidden: bool = False) -> list[click.Option]:
    """``hidden``: they are taken, and not shown in the help."""
    how: dict[str, Any] = {"expose_value": False, "hidden": hidden, "is_eager": True}
    return [
        click.Option(
            ["--root"],
            type=click.Path(path_type=Path),
            callback=set_root,
            metavar="DIR",
            help="Where cache, runs, reports and exports lie; default: AUDIO_RKD_ROOT, rkd.toml, the working folder.",
            **how,
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            callback=set_level,
            help="Results and errors alone: no notes, no progress. Results and exit codes are the same.",
            **how,
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            callback=set_level,
            help="Also, on standard error: versions, folders, settings of rkd.toml, plugins, time taken, and where an error arose.",
            **how,
        ),
    ]


def with_options(command: click.Command) -> click.Command:
    """``command`` with them, hidden."""
    names = {parameter.name for parameter in command.params}
    command.params += [option for option in options(hidden=True) if option.name not in names]
    return command


class ErrorsOnly:
    """Standard error without all that is no error. The lines of a list below an error are part of it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.rest, self.passes = stream, "", False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"{type(text).__name__}: expected text")
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.passes = line.startswith(ERRORS) or (self.passes and line.startswith(INDENT.lstrip("\n")))
            if self.passes:
                self.stream.write(f"{line}\n")
        return len(text)


@contextmanager
def quiet() -> Iterator[None]:
    """Other processes, and libraries that are not Python's, write to the file itself: it leads nowhere meanwhile."""
    before = sys.stderr
    with ExitStack() as stack:
        with suppress(OSError, ValueError):  # there may be none
            kept = os.dup(STDERR)
            stack.callback(os.close, kept)
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), STDERR)
            stack.callback(os.dup2, kept, STDERR)
        errors = ErrorsOnly(over(before, kept) if file_of(before) == STDERR else before)
        sys.stderr = errors  # type: ignore[assignment]
        try:
            yield
        finally:
            if sys.stderr is errors:  # not what somebody put there since, where this ends late
                sys.stderr = before


def file_of(stream: TextIO) -> int:
    """The number of a stream's file; -1 of one that has none."""
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return -1


def over(stream: TextIO, number: int) -> TextIO:
    """A stream like this one to another file."""
    return open(number, "w", encoding=stream.encoding, errors=stream.errors, buffering=1, closefd=False)


@contextmanager
def verbose() -> Iterator[None]:
    started = time.monotonic()
    for line in surroundings():
        click.echo(line, err=True)
    try:
        yield
    finally:
        click.echo(f"took {time.monotonic() - started:.1f} s", err=True)


def surroundings() -> list[str]:
    """Versions, folders, and what stands in place of options that are not given."""
    root = places.root()
    files = [f"plugin {path}" for folder in plugins.folders() for _, path in plugins.plugins_of(folder)]
    return [
        f"audio-rkd {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        f"working folder {Path.cwd()}" + (f", root {root}" if root != Path() else ""),
        *working_folder.lines(),
        *files,
    ]
