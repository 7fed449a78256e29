"""The commands, one file each: a click command of the file's name. The folder is the list; nothing registers.

To add a command, add a file. Its first line is what ``audio-rkd --help`` says of it. ``SECTION`` (a title of that help),
``ORDER`` (a number: its place there; a section stands where its first command does) and ``EXAMPLES`` (calls without the
program's name, for ``audio-rkd COMMAND --help``) are optional. All of it is read from the file's text: a command is
imported when it is called, or asked for its own help. What is heavy (numpy, torch, librosa) it imports inside its
function, so that ``--help``, a usage error and a finished stage answer at once.

Begin with ``ensemble``, then ``group`` and ``options`` (what several commands share). Imports: everything below.
"""

from __future__ import annotations

import ast
import importlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from pipeline import modules


class Description(NamedTuple):
    """What a command's file says of it."""

    words: str
    section: str
    order: float
    examples: tuple[str, ...]


#: What a file may say of its command, and how.
KINDS: dict[str, type | tuple[type, ...]] = {"SECTION": str, "ORDER": (int, float), "EXAMPLES": (tuple, list)}

#: Title of the help where a file names none.
OTHERS = "Other commands"


def names() -> tuple[str, ...]:
    """The names of all commands, in the order of their help; ``_`` of a file's name is ``-``."""
    return tuple(name for commands in sections().values() for name in commands)


def exists(name: str) -> bool:
    """Whether ``name`` is one of ``names()``, without reading the files of the others."""
    module = name.replace("-", "_")
    return "_" not in name and module.isidentifier() and modules.defines(__name__, module)


def load(name: str) -> click.Command:
    """The command of that name (one of ``names()``), with its examples."""
    module = name.replace("-", "_")
    from pipeline.commands import common, completing

    command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), module)
    description = described(module)
    command.short_help = description.words
    calls = [f"  audio-rkd {call}" for call in description.examples]
    command.epilog = "\n".join(["\b", "Examples:", *calls]) if calls else None
    completing.complete(command, name)
    return common.with_options(command)


def sections() -> dict[str, dict[str, str]]:
    """Title → command → a few words, in the order of the help."""
    descriptions = {name: described(name) for name in modules.named(__name__)}
    titles: dict[str, dict[str, str]] = {}
    for name, description in sorted(descriptions.items(), key=lambda item: (item[1].order, item[0])):
        titles.setdefault(description.section, {})[name.replace("_", "-")] = description.words
    return titles


def described(module: str) -> Description:
    """What the file of a command says of it, without importing it; one that cannot be read says so in its place."""
    text = modules.source(__name__, module)
    try:
        tree = ast.parse(text)
        constants = dict(constant for node in tree.body for constant in assigned(node))
        for name, value in constants.items():
            if not isinstance(value, KINDS[name]):
                raise ValueError(f"{name} = {value!r}")
    except (SyntaxError, ValueError) as error:
        return Description(f"({module}.py cannot be read: {error})", OTHERS, math.inf, ())
    words = (ast.get_docstring(tree) or "").partition("\n")[0].removesuffix(".")
    section, order = constants.get("SECTION", OTHERS), constants.get("ORDER", math.inf)
    return Description(words, section, order, tuple(constants.get("EXAMPLES", ())))


def assigned(node: ast.stmt) -> Iterator[tuple[str, Any]]:
    """The constants that a statement of a module defines: name and value. ``ValueError`` for one that is computed."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if isinstance(target, ast.Name) and target.id in KINDS:
            yield target.id, ast.literal_eval(node.value)
