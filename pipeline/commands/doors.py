"""Options of other commands that are ``audio-rkd check`` of something: printed as that call, so that everyone learns it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from pipeline.config import InputError


def check(places: Sequence[Path], *, stop: bool = True) -> None:
    """``audio-rkd check`` of ``places``, each finding on stderr. With ``stop`` the last of them is an ``InputError``."""
    from pipeline.report import check as checking  # numpy and h5py: --help does without

    click.echo(f"audio-rkd check {shlex.join(map(str, places))}", err=True)
    findings = checking.check(places).findings
    for finding in findings[:-1] if stop else findings:
        click.echo(finding.line(), err=True)
    if findings and stop:
        raise InputError(findings[-1].line())
