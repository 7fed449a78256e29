"""Commands about data sets: fetch one, verify one."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.commands.options import AUTO, FOLDER
from pipeline.corpus import DATASETS

FETCHED = ("urbansound8k", "esc50", "esc10", "cifar100")


@click.command()
@click.option("--dataset", type=click.Choice(FETCHED), required=True, help="Which one.")
@click.option("--url", help="Another place to fetch the same archive from.")
@click.option("--yes", is_flag=True, help="Do not ask after size and licence were shown.")
def data(dataset: str, url: str | None, yes: bool) -> None:
    """Fetch a data set into data/: size and licence first; resumes, verifies the checksum, unpacks in full or not at all."""
    from pipeline.corpus.fetch import fetch
    from pipeline.files import DATA

    fetch(dataset, DATA, url=url, confirm=None if yes else asked, say=click.echo)


def asked(question: str) -> bool:
    """The answer of whoever sits there; ``UsageError`` where nobody does, behind size and licence."""
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to say yes to size and licence: give --yes")
    return click.confirm(question)


@click.command()
@click.option(
    "--dataset",
    type=click.Choice(["auto", *DATASETS, "cifar100"]),
    default="auto",
    show_default=True,
    help=AUTO,
)
@click.option("--data", type=click.Path(path_type=Path), help=FOLDER)
def verify(dataset: str, data: Path | None) -> None:
    """Count clips, folds and classes; compare lengths with the annotations; name unreadable and extra files."""
    from pipeline.corpus import opening
    from pipeline.corpus import verification as checks
    from pipeline.files import DATA

    if dataset == "cifar100":
        from pipeline.images.cifar import find_cifar100
        from pipeline.images.verification import verify_cifar100

        found = verify_cifar100(data or find_cifar100(DATA))
    else:
        name, root = opening.chosen(dataset, data)
        found = checks.verify(root, name)
    click.echo("\n".join(found.lines()))
    if found.problems:
        sys.exit(1)
