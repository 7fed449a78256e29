"""The table of all finished runs, and a page."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import places
from pipeline.commands.chosen import runs_of
from pipeline.commands.options import corpus_options, losses_option

SECTION = "Looking at what there is"
ORDER = 31
EXAMPLES = ("report", "report --losses soft --losses angle,area", "report --dataset synthetic --no-page")


@click.command()
@corpus_options
@losses_option
@click.option("--page/--no-page", default=True, help="Also the page with the pictures.")
def report(dataset: str, data: Path | None, losses: tuple[str, ...], page: bool) -> None:
    """The table of all finished runs of a corpus: printed, as Markdown, CSV and LaTeX, and a page, in reports/."""
    from pipeline import report as tables  # torch, both: --help does without
    from pipeline.losses import LossMix

    for text in losses:
        LossMix.parse(text)
    name, corpus = runs_of(dataset, data)
    wanted = losses or None
    whole = tables.contents(places.runs(), name, mixes=wanted) if page else None
    click.echo(tables.report(places.runs(), places.reports(), name, mixes=wanted, whole=whole))
    if page:
        from pipeline.figures.embeddings import remembered  # h5py and joblib: --no-page does without
        from pipeline.report import page as pages

        audio = {clip.name: clip.path for clip in corpus.clips} if corpus else {}
        path = pages.write(
            places.runs(), places.reports(), name, mixes=wanted, embeddings=remembered, audio=audio, whole=whole
        )
        click.echo(f"page: {path}")
