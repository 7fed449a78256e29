"""Folders that are lists: the modules of a package that define a thing of their own name, and what their text tells.

All of it is read from the files' text, so that nothing is imported that may never be used; torch alone takes a second.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import os
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union

#: Names in other projects are not looked up.
PROJECT = __name__.partition(".")[0]

#: What tells the states of a file or folder apart.
State = tuple[Any, ...]


class Computed(Exception):
    """What a name means is not told by the text: the module has to be imported."""


def named(package: str, kinds: str = "def") -> tuple[str, ...]:
    """The modules of ``package`` that define a top-level function of their own name, sorted.

    ``kinds``: "def", or "def|class" where a class will do too. Folders that are added to the package's ``__path__`` count.
    """
    folders = tuple(map(str, importlib.import_module(package).__path__))
    return listed(package, kinds, folders, tuple(map(state_of_folder, folders)))


@functools.cache
def listed(package: str, kinds: str, folders: tuple[str, ...], _states: State) -> tuple[str, ...]:
    """``named`` of folders as they are."""
    modules = pkgutil.iter_modules(folders)
    return tuple(sorted({m.name for m in modules if not m.ispkg and defines(package, m.name, kinds)}))


def state_of_folder(folder: str) -> State:
    try:
        return Path(folder).stat().st_mtime_ns, *sorted(file.name for file in os.scandir(folder))
    except OSError:
        return ()


def defines(package: str, name: str, kinds: str = "def") -> bool:
    return re.search(rf"^(?:{kinds})[ \t]+{re.escape(name)}[ \t]*\(", source(package, name), re.MULTILINE) is not None


def source(package: str, name: str) -> str:
    """The text of a module; empty where it has none (compiled) or none that can be read."""
    spec = importlib.util.find_spec(f"{package}.{name}")
    try:
        return getattr(spec and spec.loader, "get_source", lambda _: None)(f"{package}.{name}") or ""
    except (ImportError, SyntaxError, ValueError):
        return ""


def bound(module: str) -> Mapping[str, ast.AST]:
    """What the text of a module binds at its top: name → the assigned expression, or the statement (def, class, import).

    Raises ``Computed`` where a statement may bind what its text does not tell, for example ``if`` or ``import *``.
    """
    package, _, name = module.rpartition(".")
    return bindings(package, name, state(module))


def state(module: str) -> State:
    """What changes when the file of a module does: its place, time and size; () where it is no file of its package's folders."""
    package, _, name = module.rpartition(".")
    for folder in importlib.import_module(package).__path__:
        try:
            stat = (file := Path(folder, f"{name}.py")).stat()
        except OSError:
            continue
        return str(file), stat.st_mtime_ns, stat.st_size
    return ()


@functools.cache
def bindings(package: str, name: str, _state: State) -> Mapping[str, ast.AST]:
    names: dict[str, ast.AST] = {}
    try:
        tree = ast.parse(source(package, name))
    except (SyntaxError, ValueError, RecursionError):
        raise Computed from None  # importing it says what is wrong
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if alias.name == "*":
                    raise Computed
                names[alias.asname or alias.name.partition(".")[0]] = node
        elif isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            names |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names |= {node.target.id: node.value} if node.value else {}
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) and not for_types_only(node):
            raise Computed
    if "__getattr__" in names:
        raise Computed
    return names


def for_types_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") and not node.orelse


def docstring(module: str) -> str:
    """The text at the top of a module, empty where it has none or cannot be read."""
    package, _, name = module.rpartition(".")
    try:
        return ast.get_docstring(ast.parse(source(package, name))) or ""
    except (SyntaxError, ValueError, RecursionError):
        return ""


def constant(module: str, name: str) -> Any:
    """The value that the text of ``module`` gives to ``name``, itself or by importing it from a module of this project.

    Raises ``KeyError`` where the text does not bind the name, ``Computed`` where it does not tell the value.
    """
    return value(bound(module)[name], module, name)


def value(node: ast.AST, module: str, name: str = "") -> Any:
    """What an expression of ``module``, or what it imports as ``name``, is: numbers, text, tuples, lists, names of these."""
    inner, _ = followed(node, module, name)
    try:
        return ast.literal_eval(inner)  # type: ignore[arg-type]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise Computed from None


def annotation(node: ast.AST | None, module: str) -> Any:
    """The type that an annotation of ``module`` names: float, int, bool, str, ``Literal``, ``Annotated``, unions; else ``Any``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return annotation(ast.parse(node.value, mode="eval").body, module)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return Union[annotation(node.left, module), annotation(node.right, module)]  # noqa: UP007 (of values)
    if isinstance(node, ast.Subscript):
        head = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if head == "Literal":
            return Literal[tuple(value(part, module) for part in parts)]
        if head == "Annotated":
            return Annotated[annotation(parts[0], module), *(value(part, module) for part in parts[1:])]
    if isinstance(node, ast.Name):
        if node.id not in bound(module):
            return {"float": float, "int": int, "bool": bool, "str": str}.get(node.id, Any)
        try:
            return annotation(*followed(node, module))
        except Computed:
            return Any
    return Any


def followed(node: ast.AST, module: str, name: str = "") -> tuple[ast.AST, str]:
    """What a name stands for, as an expression and the module where it is written; other expressions as they are.

    Raises ``Computed`` for what is no expression there: functions, classes, modules, what other projects define.
    """
    if isinstance(node, ast.Name):
        return followed(bound(module).get(node.id, node.ctx), module, node.id)
    if isinstance(node, ast.ImportFrom):
        other = node.module if not node.level and node.module else ""
        original = {alias.asname or alias.name: alias.name for alias in node.names}[name]
        if other.partition(".")[0] != PROJECT or original not in bound(other):
            raise Computed
        return followed(bound(other)[original], other, original)
    if not isinstance(node, ast.expr):
        raise Computed
    return node, module
