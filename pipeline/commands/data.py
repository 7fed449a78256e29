"""Fetch a data set."""

from __future__ import annotations

import sys

import click

from pipeline import places

SECTION = "The stages"
ORDER = 21
EXAMPLES = ("data --dataset urbansound8k", "data --dataset esc50 --yes")

FETCHED = ("urbansound8k", "esc50", "esc10", "cifar100")


@click.command()
@click.option("--dataset", type=click.Choice(FETCHED), required=True, help="Which one.")
@click.option("--url", help="Another place to fetch the same archive from.")
@click.option("--yes", is_flag=True, help="Do not ask after size and licence were shown.")
def data(dataset: str, url: str | None, yes: bool) -> None:
    """Fetch a data set into data/: size and licence first; resumes, verifies the checksum, unpacks in full or not at all."""
    from pipeline.corpus.fetch import fetch  # requests and pooch: --help does without

    fetch(dataset, places.data(), url=url, confirm=None if yes else confirmed, say=click.echo)


def confirmed(question: str) -> bool:
    """The answer of whoever sits there; ``UsageError`` where nobody does, behind size and licence."""
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to say yes to size and licence: give --yes")
    return click.confirm(question)
