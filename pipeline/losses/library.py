"""Which losses there are, and what their files say of themselves."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.config import InputError

PACKAGE = "pipeline.losses"


def names() -> tuple[str, ...]:
    """The names of all losses: the modules of this folder that define a function of their own name."""
    folders = tuple(map(str, importlib.import_module(PACKAGE).__path__))
    return listed(folders, tuple(Path(folder).stat().st_mtime_ns for folder in folders))


@functools.cache
def listed(folders: tuple[str, ...], _states: tuple[int, ...]) -> tuple[str, ...]:
    """``names`` of folders as they are: reading every file for each term of a mix would take its time."""
    return tuple(sorted({info.name for info in pkgutil.iter_modules(folders) if defines(info.name)}))


def defines(name: str) -> bool:
    """Whether the module ``name`` has a function of its own name; by its text, so that nothing is imported."""
    spec = find_spec(f"{PACKAGE}.{name}")
    text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    return re.search(rf"^def {re.escape(name)}\(", text, re.MULTILINE) is not None


def module(name: str) -> ModuleType:
    """The module of a loss. Raises ``InputError`` that suggests the nearest name."""
    if name not in names():
        raise InputError(f"unknown loss {name!r}{suggestion(name, names())} (there are {', '.join(names())})")
    return importlib.import_module(f"{PACKAGE}.{name}")


def load(name: str) -> Callable[..., Any]:
    """The loss function of that name. Raises ``InputError`` that suggests the nearest name."""
    function: Callable[..., Any] = getattr(module(name), name)
    return function


def suggestion(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def constant(name: str, constant: str, default: Any) -> Any:
    """What a loss's file says under a name in capitals, else ``default``."""
    return getattr(module(name), constant, default)


def reads(name: str, options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The student's outputs that a loss reads; None: it does not say, so it may be any.

    ``READS`` of its file; the option ``layer``, where it has one, stands in place of the first of them.
    """
    outputs = output_names(name, "READS")
    if outputs and "layer" in options:
        return (str(options["layer"]), *outputs[1:])
    return outputs


def teacher_reads(name: str) -> tuple[str, ...] | None:
    """The teacher's outputs that a loss reads: ``TEACHER`` of its file, else the same as of the student; (): none."""
    return output_names(name, "TEACHER" if hasattr(module(name), "TEACHER") else "READS")


def output_names(name: str, where: str) -> tuple[str, ...] | None:
    outputs = constant(name, where, None)
    if outputs is None:
        return None
    if not isinstance(outputs, tuple | list) or not all(isinstance(output, str) for output in outputs):
        raise InputError(
            f"loss {name}: {where} = {outputs!r}; expected names of outputs, for example ('logits',), or () for none"
        )
    return tuple(outputs)


def fewest(name: str) -> int:
    """The fewest clips of a batch that a loss can learn from: ``ROWS`` of its file, else 1."""
    rows = constant(name, "ROWS", 1)
    if type(rows) is not int or rows < 1:
        raise InputError(f"loss {name}: ROWS = {rows!r}; expected a whole number of clips, 1 or more")
    return rows


def draws(name: str, batch: int) -> int:
    """How many uniform numbers a loss draws for each clip of a batch: ``DRAWS`` of its file, else 0; "batch": ``batch``."""
    each = constant(name, "DRAWS", 0)
    if each == "batch":
        return batch
    if type(each) is not int or each < 0:
        raise InputError(f"loss {name}: DRAWS = {each!r}; expected a whole number of draws a clip, or 'batch'")
    return each
