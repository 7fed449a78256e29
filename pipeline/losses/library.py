"""Which losses there are, and what their files say of themselves.

What a file says is read from its text, so that whoever only names losses (a finished stage, a table) does not wait for
torch. A file that computes what it says is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from pipeline import modules
from pipeline.config import InputError
from pipeline.spelling import suggestion as suggestion

PACKAGE = "pipeline.losses"


def names() -> tuple[str, ...]:
    """The names of all losses: the modules of this folder that define a function of their own name."""
    return modules.named(PACKAGE)


def require(name: str) -> None:
    """``InputError`` that suggests the nearest name where there is no loss of this one."""
    if name not in names():
        raise InputError(f"unknown loss {name!r}{suggestion(name, names())} (there are {', '.join(names())})")


def module(name: str) -> ModuleType:
    """The module of a loss. Raises ``InputError`` that suggests the nearest name."""
    require(name)
    return importlib.import_module(f"{PACKAGE}.{name}")


def load(name: str) -> Callable[..., Any]:
    """The loss function of that name. Raises ``InputError`` that suggests the nearest name."""
    function: Callable[..., Any] = getattr(module(name), name)
    return function


def constant(name: str, constant: str, default: Any) -> Any:
    """What a loss's file says under a name in capitals, or its function of that name, else ``default``."""
    require(name)
    try:
        return modules.constant(f"{PACKAGE}.{name}", constant)
    except KeyError:
        return default
    except modules.Computed:
        return getattr(module(name), constant, default)


def has(name: str, constant: str) -> bool:
    """Whether a loss's file defines a name, for example a function ``adapter``."""
    require(name)
    try:
        return constant in modules.bound(f"{PACKAGE}.{name}")
    except modules.Computed:
        return hasattr(module(name), constant)


def summary(name: str) -> str:
    """The first line of a loss's file."""
    text = modules.docstring(f"{PACKAGE}.{name}")
    return text.strip().partition("\n")[0] or "no formula given"


def reads(name: str, options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The student's outputs that a loss reads; None: it does not say, so it may be any.

    ``READS`` of its file; the option ``layer``, where it has one, stands in place of the first of them.
    """
    outputs = output_names(name, "READS", options)
    if outputs and "layer" in options:
        return (str(options["layer"]), *outputs[1:])
    return outputs


def teacher_reads(name: str, options: Mapping[str, Any] | None = None) -> tuple[str, ...] | None:
    """The teacher's outputs that a loss reads: ``TEACHER`` of its file, else the same as of the student; (): none."""
    return output_names(name, "TEACHER" if has(name, "TEACHER") else "READS", options or {})


def output_names(name: str, where: str, options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What a file says under ``READS`` or ``TEACHER``."""
    outputs = by_option(name, where, None, options)
    if outputs is None:
        return None
    if not isinstance(outputs, tuple | list) or not all(isinstance(output, str) for output in outputs):
        raise InputError(
            f"loss {name}: {where} = {outputs!r}; expected names of outputs, for example ('logits',), or () for none"
        )
    return tuple(outputs)


def by_option(name: str, which: str, default: Any, options: Mapping[str, Any]) -> Any:
    """What a loss's file says under a name in capitals. Where it depends on an option, that option's words, the default first,
    stand each before their value, as ``OPTION=WORD`` where another option has the word too."""
    value = constant(name, which, default)
    if not isinstance(value, Mapping):
        return value
    words = {*options.values(), *(f"{option}={word}" for option, word in options.items())}
    return value[next((word for word in value if word in words), next(iter(value)))]


def network(name: str, options: Mapping[str, Any]) -> str:
    """The student's network that a loss needs: ``NETWORK`` of its file; "": any."""
    return str(by_option(name, "NETWORK", "", options))


def forms(name: str) -> dict[str, str]:
    """Published combinations of a loss with other options → whose they are: ``FORMS`` of its file; none where it says nothing."""
    told: dict[str, str] = constant(name, "FORMS", {})
    return told


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
