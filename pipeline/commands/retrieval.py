"""Recall@K of the held-out embeddings."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import places
from pipeline.commands.chosen import runs_of
from pipeline.commands.options import corpus_options, json_option, losses_option
from pipeline.commands.showing import show

SECTION = "Looking at what there is"
ORDER = 37
EXAMPLES = ("retrieval", "retrieval --layer hidden --losses angle,area")


@click.command()
@corpus_options
@click.option(
    "--layer",
    type=click.Choice(["embedding", "hidden"]),
    default="embedding",
    help="Of the students: the flattened layer, or the one behind it. A teacher's is its embedding.",
)
@losses_option
@json_option
def retrieval(dataset: str, data: Path | None, layer: str, losses: tuple[str, ...], as_json: bool) -> None:
    """Recall@1, 2, 4, 8 of the embeddings of the held-out clips: teacher, students, and what no training made."""
    from pipeline.losses import LossMix  # torch, both: --help does without
    from pipeline.report import retrieval as recalls

    for text in losses:
        LossMix.parse(text)
    name, _ = runs_of(dataset, data)
    show(
        recalls.report(places.runs(), places.cache(), places.reports(), name, layer=layer, mixes=losses),
        as_json,
        nl=False,
    )
