"""What a mix can set of a loss: its keyword-only arguments, with what each takes.

An argument says what it takes by its type: ``float`` (a number above 0; also without a type), ``int`` (a whole number of at
least 1), ``bool`` (true or false), ``Literal["a", "b"]`` (one of these words), and ``Annotated[float, "[0, 1)"]`` or
``Annotated[int, "[2, 10]"]``: a number in that interval, with ``[`` and ``]`` for an end that belongs to it, ``inf`` for none;
``float | Literal["learned"]`` with a number as default: a number, or one of these words.

A ``float`` may change from epoch to epoch (``@T=10..1``): the loss then gets a tensor without axes, of the epoch's number.
Every loss has the options of ``EVERY`` besides, which the mix understands and the loss never sees.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline import modules
from pipeline.config import InputError
from pipeline.losses.library import PACKAGE, constant, has, load, module, suggestion
from pipeline.losses.schedule import Ramp

Value = float | str | bool | Ramp

#: The functions of a loss's file that are called once, before the first epoch; ``adapter`` besides.
BEFORE = ("reduced", "constants")


@dataclass(frozen=True)
class Option:
    """What a mix can set: the loss's default, and what it takes: words, true and false, or numbers of an interval."""

    default: Value
    choices: tuple[Value, ...] = ()
    """All that it may be; empty: any number of the interval, or any word where the default is one."""
    whole: bool = False
    interval: str = "(0, inf)"
    beside: tuple[str, ...] = ()
    """Words that it may be in place of a number."""

    @property
    def words(self) -> tuple[str, ...]:
        """The choices as a mix writes them."""
        return tuple(map(shown, self.choices))

    @property
    def number(self) -> bool:
        """Whether it may be any number of the interval."""
        return not self.choices and not isinstance(self.default, str)

    @property
    def expected(self) -> str:
        """What it takes, in words."""
        if self.words:
            return f"one of {', '.join(self.words)}"
        kind = "a whole number" if self.whole else "a number"
        low, high, least, most = bounds(self.interval)
        above = f"of at least {low:g}" if least else f"above {low:g}"
        below = "" if math.isinf(high) else f" and at most {high:g}" if most else f" and below {high:g}"
        number = f"{kind} {above}{below}" if not math.isinf(low) else f"{kind}{below.removeprefix(' and')}"
        return " or ".join([number, *self.beside])

    @property
    def ramps(self) -> bool:
        """Whether it may change from epoch to epoch."""
        return self.number and not self.whole

    @property
    def ramp(self) -> str:
        """A ramp that it takes, for example."""
        low, high, _, _ = bounds(self.interval)
        if (self.contains(10) and self.contains(1)) or not math.isfinite(high - low):
            return "10..1"
        return f"{shown(low + (high - low) * 3 / 4)}..{shown(low + (high - low) / 4)}"

    def contains(self, number: float) -> bool:
        low, high, least, most = bounds(self.interval)
        inside = (low < number or (least and low == number)) and (number < high or (most and number == high))
        return (
            inside and math.isfinite(number) and (not self.whole or number == int(number))
        ) or number == self.default


#: What a mix can set of every loss.
EVERY = {
    "from": Option(0, whole=True, interval="[0, inf)"),
    "until": Option(math.inf, whole=True, interval="[1, inf)"),
    "warm": Option(1, whole=True, interval="[1, inf)"),
    "rows": Option("all", ("all", "labelled", "unlabelled")),
    "views": Option(1, whole=True, interval="[1, 2]"),
}


def bounds(interval: str) -> tuple[float, float, bool, bool]:
    """``"[0, 1)"`` → (0.0, 1.0, True, False): both ends, and whether they belong to it. ``ValueError`` for anything else."""
    match = re.fullmatch(r"\s*([\[(])([^,]+),([^,]+)([\])])\s*", interval)
    if not match or not (ends := (float(match[2]), float(match[3])))[0] < ends[1]:
        raise ValueError(f"{interval!r} is no interval, for example '[0, 1)'")
    return *ends, match[1] == "[", match[4] == "]"


def options(name: str) -> dict[str, Option]:
    """Of a loss, what a mix can set, by name, without ``EVERY``. Raises ``InputError`` for a default that no text can name."""
    return dict(options_of(name, modules.state(f"{PACKAGE}.{name}")))


@functools.cache
def options_of(name: str, _state: modules.State) -> dict[str, Option]:
    """``options`` of a file as it is: they are asked for at every turn."""
    try:
        arguments = list(written(name))
    except (modules.Computed, KeyError):
        arguments = list(imported(name))
    if taken := [key for key, _, _ in arguments if key in EVERY]:
        raise InputError(f"loss {name}: {taken[0]} is an option of every loss; expected another name for its argument")
    return {key: option(f"loss {name}: {key}", default, hint) for key, default, hint in arguments}


def taken_before(name: str) -> set[str]:
    """What the functions of a loss's file take that are called once, before the first epoch; an adapter that comes with a word of an
    option alone is that word's."""
    functions = [*BEFORE, *(["adapter"] if constant(name, "ADAPTS", None) is None else [])]
    return {argument for function in functions if has(name, function) for argument in arguments_of(name, function)}


def arguments_of(name: str, function: str) -> list[str]:
    """The names of what a function of a loss's file takes, by its text where that tells."""
    try:
        node = modules.bound(f"{PACKAGE}.{name}")[function]
    except (modules.Computed, KeyError):
        node = None
    if isinstance(node, ast.FunctionDef):
        return [each.arg for each in (*node.args.args, *node.args.kwonlyargs)]
    return list(inspect.signature(getattr(module(name), function)).parameters)


def idle(name: str, given: Mapping[str, Value]) -> dict[str, tuple[str, ...]]:
    """The options that do nothing beside those ``given``, each with what it waits for, by ``WITH`` of a loss's file."""
    settings = {key: option.default for key, option in options(name).items()} | dict(given)
    chosen = {f"{key}={shown(value)}" for key, value in settings.items()}
    waiting: dict[str, tuple[str, ...]] = constant(name, "WITH", {})
    return {key: beside for key, beside in waiting.items() if not chosen & set(beside)}


def adapts(name: str, given: Mapping[str, Any]) -> bool:
    """Whether a loss brings an adapter beside the options ``given``: where its file says ``ADAPTS`` only with one of these."""
    with_options: tuple[str, ...] | None = constant(name, "ADAPTS", None)
    if with_options is None:
        return has(name, "adapter")
    settings = {key: option.default for key, option in options(name).items()} | dict(given)
    return any(f"{key}={shown(value)}" in with_options for key, value in settings.items())


def definition(name: str, of: str = "") -> ast.FunctionDef | None:
    """A loss's function, or another one ``of`` its file, as it is written out; None where only importing it tells what it is."""
    try:
        function = modules.bound(f"{PACKAGE}.{name}")[of or name]
    except (modules.Computed, KeyError):
        return None
    return function if isinstance(function, ast.FunctionDef) and not function.decorator_list else None


def masked(name: str) -> bool:
    """Whether a loss takes the clips that count itself, by an argument ``rows`` before its options."""
    if function := definition(name):
        return "rows" in [argument.arg for argument in function.args.args]
    parameter = inspect.signature(load(name)).parameters.get("rows")
    return parameter is not None and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def written(name: str) -> Iterator[tuple[str, Any, Any]]:
    """(argument, default, type) of the keyword-only arguments of a loss, by its text."""
    module, function = f"{PACKAGE}.{name}", definition(name)
    if function is None:
        raise modules.Computed
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults):
        value = inspect.Parameter.empty if default is None else modules.value(default, module)
        hint = modules.annotation(argument.annotation, module)
        if isinstance(value, str) and hint is Any and argument.annotation is not None:
            raise modules.Computed
        yield argument.arg, value, hint


def imported(name: str) -> Iterator[tuple[str, Any, Any]]:
    """The same by importing it."""
    function = load(name)
    hints = typing.get_type_hints(function, include_extras=True)
    for key, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            yield key, parameter.default, hints.get(key, Any)


def option(place: str, default: Any, hint: Any) -> Option:
    """The option of an argument's default and type. ``InputError`` for a default or an interval that does not serve."""
    if not isinstance(default, int | float | str):
        given = "has no default" if default is inspect.Parameter.empty else f"= {default!r}"
        raise InputError(f"{place} {given}; expected a number, a word, True or False as the default of an option")
    interval: str | None = None
    beside: tuple[str, ...] = ()
    for part in parts(hint):
        if typing.get_origin(part) is Literal:
            if default in typing.get_args(part):
                return Option(default, typing.get_args(part))
            beside = typing.get_args(part)
        if isinstance(part, str):
            interval = part
    if isinstance(default, bool):
        return Option(default, (True, False))
    if isinstance(default, str):
        return Option(default)
    whole = int in parts(hint) and float not in parts(hint)
    try:
        bounds(interval := interval or ("[1, inf)" if whole else "(0, inf)"))
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None
    return Option(default if whole else float(default), whole=whole, interval=interval, beside=beside)


def parts(hint: Any) -> list[Any]:
    """The types that a type is made of: of a union each, of ``Annotated`` the type and what is said of it."""
    if hasattr(hint, "__metadata__"):
        return [*parts(hint.__origin__), *hint.__metadata__]
    if typing.get_origin(hint) is not None and typing.get_origin(hint) is not Literal:
        return [inner for part in typing.get_args(hint) for inner in parts(part)]
    return [hint]


def read(text: str, option: Option, name: str, key: str, part: str) -> Value:
    """The value that a text gives to the option ``key`` of a loss. ``part`` of a mix stands in the error's line."""
    if option.choices:
        if text not in option.words:
            near = suggestion(text, option.words)
            raise InputError(f"{part!r}: unknown {key} {text!r}{near}; expected {option.expected}")
        return option.choices[option.words.index(text)]
    if not option.number or text in option.beside:
        return text
    ends = numbers(text)
    ramps = option.ramps and not (len(ends) > 1 and key in taken_before(name))
    if not all(map(option.contains, ends)) or (len(ends) > 1 and not ramps):
        ramp = f", or a ramp such as {option.ramp}" if ramps else " (and no ramp)" if len(ends) > 1 else ""
        raise InputError(f"{part!r}: option {key} of {name} is {text!r}; expected {option.expected}{ramp}")
    if option.whole and math.isfinite(ends[0]):
        return int(ends[0])
    return ends[0] if ends[0] == ends[-1] else Ramp(*ends)


def numbers(text: str) -> tuple[float, ...]:
    """The number of a text, or the two of a ramp ``first..last``; NaN for what is none."""
    if "..." in text:  # where a point ends and a ramp begins, only a reader could guess
        return (math.nan,)
    ends = text.split("..") if ".." in text else [text]
    return tuple(map(number_of, ends)) if len(ends) <= 2 else (math.nan,)


def number_of(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def shown(value: Value) -> str:
    """As short as it can be read back exactly, without the plus sign of an exponent."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, Ramp):
        return f"{shown(value.first)}..{shown(value.last)}"
    short = f"{value:g}"
    return re.sub(r"e\+?(-?)0*", r"e\1", short if float(short) == value else repr(value))
