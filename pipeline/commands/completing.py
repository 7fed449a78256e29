"""What a shell offers for the word that is typed: losses behind the last comma or sign of a mix, presets, experiments, spaces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

#: Ends of a mix's text behind which a term begins.
TERM = re.compile(r"^(.*[,+])?(\w*)$")


def losses() -> Iterable[str]:
    from pipeline.losses import library

    return library.names()


def presets() -> Iterable[str]:
    from pipeline import presets as shipped

    return (*shipped.names(), *map(str, sorted(Path().glob("*.toml"))))


def experiments() -> Iterable[str]:
    from pipeline.experiments import files

    return files.names()


def spaces() -> Iterable[str]:
    from pipeline.search import space

    return space.names()


#: (command, parameter) → its words; "" is every command.
WORDS: dict[tuple[str, str], Callable[[], Iterable[str]]] = {
    ("", "losses"): losses,
    ("", "preset"): presets,
    ("runs", "mix"): losses,
    ("experiment", "name"): experiments,
    ("search", "space"): spaces,
}


def beginning(words: Callable[[], Iterable[str]], incomplete: str) -> list[CompletionItem]:
    """Those that go on as what is typed; in a mix behind its last comma."""
    typed = TERM.match(incomplete) if words is losses else None
    ahead, last = (typed[1] or "", typed[2]) if typed else ("", incomplete)
    return [CompletionItem(ahead + word) for word in words() if word.startswith(last)]


def complete(command: click.Command, name: str) -> None:
    """Let the parameters of a command complete."""
    for parameter in command.params:
        key = str(parameter.name)
        if words := WORDS.get((name, key)) or WORDS.get(("", key)):
            parameter.shell_complete = lambda _context, incomplete, words=words: beginning(words, incomplete)  # type: ignore
