"""The paper's Table 4: CIFAR-100."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline import config, places
from pipeline.commands.chosen import chosen_archive, logged
from pipeline.commands.options import (
    archive_options,
    generations_option,
    pack_options,
    set_option,
)

SECTION = "The stages"
ORDER = 28
EXAMPLES = ("table4 --losses none --losses angle --seeds 0-2", "table4 --preset strong --device cuda")


@click.command()
@click.option("--preset", default="paper", help="paper, strong, or a TOML file.")
@set_option("teacher.epochs=10")
@generations_option
@click.option(
    "--losses",
    multiple=True,
    help="Only these rows, for example none and angle; may be repeated; default: all.",
)
@pack_options
@archive_options
def table4(
    preset: str,
    overrides: tuple[str, ...],
    generations: int,
    losses: tuple[str, ...],
    archive: Path | None,
    no_checksum: bool,
    split_seed: int,
    validation: int | None,
    log: str | None,
    **how: Any,
) -> None:
    """Table 4 of the paper: CIFAR-100, ResNet-56 teaching itself, ensembles of three generations."""
    from pipeline.experiments import generations as chains  # torch, both: --help does without
    from pipeline.report import generations as tables
    from pipeline.report.paper import TABLE4

    mixes = [chains.chain_mix(text) for text in losses or [row.mix for row in TABLE4 if row.mix]]
    short = preset in ("paper", "strong")
    settings = config.read(f"cifar-{preset}" if short else preset, overrides)
    for mix in mixes:
        mix.require(settings.teacher, "teacher")
    settings = chains.chain_settings(settings, "teacher")
    source = chains.of_archive(chosen_archive(archive, no_checksum, split_seed, validation))
    with logged(log, source.name):
        chains.train(source, settings, mixes, generations=generations, folds=(0,), **how)
    click.echo(tables.table4(places.runs(), places.reports(), source.name, generations=generations))
