"""Results on standard output: as text, or with ``--json`` as JSON and nothing else. Messages go to standard error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


def show(told: str, as_json: bool, *, nl: bool = True) -> None:
    """What a command has to say: its text, or the same as data (``pipeline.report.told``)."""
    if as_json:
        click.echo(as_text(told.data))  # type: ignore[attr-defined]
    else:
        click.echo(told, nl=nl)


def as_text(data: Mapping[str, Any]) -> str:
    from pipeline.report import told  # the report's folder: other commands do without

    return told.as_text(data)


def require_explain(explain: bool, as_json: bool) -> None:
    """``UsageError`` for ``--json`` of a command that trains."""
    if as_json and not explain:
        raise click.UsageError("--json is of what --explain prints; expected it with --explain")
