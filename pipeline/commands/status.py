"""Where things stand, and the next command."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import config, working_folder
from pipeline.commands.options import json_option, settings_options
from pipeline.commands.showing import as_text
from pipeline.corpus import is_there
from pipeline.corpus.opening import absent, chosen

SECTION = "First steps"
ORDER = 11
EXAMPLES = ("status", "status --dataset esc50")


@click.command()
@settings_options
@json_option
def status(dataset: str, data: Path | None, preset: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Where things stand: corpus, caches, runs, and the next command."""
    from pipeline.report import status as standing  # torch: --help does without

    name, root = chosen(dataset, data)
    if data is not None and not is_there(name, root):
        raise absent(name, root)
    usual = working_folder.lines()
    told = standing.status(dataset, data, config.read(preset, overrides))
    if as_json:
        click.echo(as_text({**told.data, "defaults": usual}))
    else:
        click.echo("\n".join([*(f"defaults  {line}" for line in usual), told]))
