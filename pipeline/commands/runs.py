"""The runs that there are, one per line."""

from __future__ import annotations

import json
import shutil
import sys

import click

from pipeline import places
from pipeline.commands.options import Renamed, corpus_option, json_option
from pipeline.commands.types import Numbers

SECTION = "Looking at what there is"
ORDER = 32
EXAMPLES = ("runs", "runs --losses angle,area --folds 1-3", "runs --status unfinished --json")

STATUSES = ("trained", "outputs untrained", "did not train", "failed", "unfinished")


@click.command()
@corpus_option
@click.option("--losses", "--mix", "mix", cls=Renamed, help="Only this mix, for example angle,area, or teacher.")
@click.option(
    "--folds", "--fold", "folds", cls=Renamed, type=Numbers(), help="Only these held-out folds, for example 1,2 or 1-3."
)
@click.option("--seeds", "--seed", "seeds", cls=Renamed, type=Numbers(), help="Only these seeds.")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs in this state.")
@json_option
def runs(
    corpus: str | None,
    mix: str | None,
    folds: tuple[int, ...] | None,
    seeds: tuple[int, ...] | None,
    status: str | None,
    as_json: bool,
) -> None:
    """The runs that there are, finished or not, one per line."""
    from pipeline.report import listing  # torch: --help does without

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    listed = listing.listing(places.runs(), corpus, mix=mix, folds=folds or (), seeds=seeds or (), status=status)
    click.echo(json.dumps(listed.records(), indent=2) if as_json else listing.listing_text(listed, width))
