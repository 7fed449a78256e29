"""Where things stand, and the next command."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import config, working_folder
from pipeline.commands.options import settings_options
from pipeline.corpus import is_there
from pipeline.corpus.opening import absent, chosen

SECTION = "First steps"
ORDER = 11
EXAMPLES = ("status", "status --dataset esc50")


@click.command()
@settings_options
def status(dataset: str, data: Path | None, preset: str, overrides: tuple[str, ...]) -> None:
    """Where things stand: corpus, caches, runs, and the next command."""
    from pipeline.report import status as standing  # torch: --help does without

    name, root = chosen(dataset, data)
    if data is not None and not is_there(name, root):
        raise absent(name, root)
    for line in working_folder.lines():
        click.echo(f"defaults  {line}")
    click.echo(standing.status(dataset, data, config.read(preset, overrides)))
