"""Folders that are lists: the modules of a package that define a thing of their own name."""

from __future__ import annotations

import importlib.util
import pkgutil
import re


def named(package: str, kinds: str = "def") -> tuple[str, ...]:
    """The modules of ``package`` that define a top-level function of their own name, sorted.

    ``kinds``: "def", or "def|class" where a class will do too. They are told by their text, so that nothing is imported
    that may never be used.
    """
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return tuple(sorted({m.name for m in modules if not m.ispkg and defines(package, m.name, kinds)}))


def defines(package: str, name: str, kinds: str = "def") -> bool:
    return re.search(rf"^(?:{kinds}) {re.escape(name)}\(", source(package, name), re.MULTILINE) is not None


def source(package: str, name: str) -> str:
    """The text of a module; empty where it has none (compiled) or none that can be read."""
    spec = importlib.util.find_spec(f"{package}.{name}")
    try:
        return getattr(spec and spec.loader, "get_source", lambda _: None)(f"{package}.{name}") or ""
    except (ImportError, SyntaxError, ValueError):
        return ""
