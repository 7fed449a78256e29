"""The command line as a whole: which commands there are, its help, signals, and what a terminal can print."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from pipeline import commands, label_sets, signals, working_folder
from pipeline.commands import ahead, common, defaults
from pipeline.commands.errors import check_variables, clear_errors, tell
from pipeline.config import InputError


class Commands(Mapping[str, click.Command]):
    """Name → command, each imported when it is looked up."""

    def __getitem__(self, name: str) -> click.Command:
        if not commands.exists(name):
            raise KeyError(name)
        return commands.load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(commands.names())

    def __len__(self) -> int:
        return len(commands.names())


class Group(click.Group):
    """All commands of ``pipeline.commands``; bad input of any ends in one line instead of a traceback."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += common.options()
        self.commands = Commands()  # type: ignore[assignment]  # click only reads it where nothing is added

    def main(self, *args: Any, **kwargs: Any) -> Any:
        open_closed_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="spelled")
        with signals.stoppable(), clear_errors():
            check_variables()
            try:
                return super().main(*args, **kwargs)
            finally:
                sys.stdout.flush()  # not when the interpreter ends, which says in its own words what fails then

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with clear_errors():  # here too: click would take Ctrl-C for its own
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            named = working_folder.defaults()
            ctx.with_resource(defaults.in_force(named))
        except InputError:
            if not ctx.resilient_parsing:  # a shell that completes a word is told nothing
                raise
            named = {}
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            ctx.with_resource(label_sets.commanded(name))
            ctx.default_map = {**(ctx.default_map or {}), name: defaults.of_command(name, named)}
        if ahead.VARIABLE in os.environ:
            ahead.check_goals(name)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        with clear_errors():
            lines = damage_met()  # of what ran before in this process
            try:
                answer = super().invoke(ctx)
            finally:  # also before the line of another error
                tell_unchecked()
                lines = damage_met()
                for line in lines:
                    tell(f"error: {line}")
            return sys.exit(1) if lines else answer

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, words in commands.sections().items():
            with formatter.section(title):
                formatter.write_dl(list(words.items()))


def damage_met() -> list[str]:
    """What was damaged and done without."""
    damage = sys.modules.get("pipeline.runs.damage")
    return damage.told() if damage else []


def open_closed_streams() -> None:
    """Streams that were closed by whoever started this (``2>&-``, a scheduler) lead nowhere.

    Else the next files that are opened get their numbers, and what libraries write to standard error goes into those.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        if (handle := os.open(os.devnull, os.O_RDWR)) != number:
            os.dup2(handle, number)
            os.close(handle)
        stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def tell_unchecked() -> None:
    """Says in one line that runs were read which could not be checked; where no run was read nothing is imported."""
    seal = sys.modules.get("pipeline.runs.seal")
    if seal and (line := seal.told()):
        click.echo(line, err=True)
